//! A proxy that does nothing: what is asked goes to one address, what is answered comes back, connections are kept. So much
//! does any gateway cost that stands on hyper and tokio as they are; what another one costs beyond it is its own work.
//!
//! `bench-proxy ADDRESS` prints its port.

use std::{env, error::Error, io::Write as _, time::Duration};

use http_body_util::{Either, Empty};
use hyper::{
    Request, Response, StatusCode, Uri, body::Bytes, body::Incoming, header, http::uri::PathAndQuery,
    server::conn::http1, service::service_fn,
};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use tokio::net::TcpListener;

type Upstream = Client<HttpConnector, Incoming>;
type Body = Either<Incoming, Empty<Bytes>>;
type Fault = Box<dyn Error + Send + Sync>;

/// They are about one connection, not about the message (RFC 9110, 7.6.1).
const OF_THE_CONNECTION: [header::HeaderName; 5] =
    [header::CONNECTION, header::TE, header::TRAILER, header::TRANSFER_ENCODING, header::UPGRADE];

fn main() -> Result<(), Fault> {
    let to = env::args().nth(1).ok_or("bench-proxy ADDRESS")?;
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(serve(to))
}

async fn serve(to: String) -> Result<(), Fault> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?.port());
    std::io::stdout().flush()?;
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let upstream: Upstream = Client::builder(TokioExecutor::new())
        .pool_idle_timeout(Duration::from_secs(60))
        .pool_timer(TokioTimer::new())
        .build(connector);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let (upstream, to) = (upstream.clone(), to.clone());
        tokio::spawn(async move {
            let service = service_fn(|request| pass(request, &upstream, &to));
            // A client that went away is nobody's fault.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn pass(
    mut request: Request<Incoming>,
    upstream: &Upstream,
    to: &str,
) -> Result<Response<Body>, Fault> {
    let path = request.uri().path_and_query().map_or("/", PathAndQuery::as_str);
    *request.uri_mut() = Uri::builder().scheme("http").authority(to).path_and_query(path).build()?;
    request.headers_mut().remove(header::HOST);
    for name in OF_THE_CONNECTION {
        request.headers_mut().remove(name);
    }
    let Ok(mut response) = upstream.request(request).await else {
        let mut response = Response::new(Either::Right(Empty::new()));
        *response.status_mut() = StatusCode::BAD_GATEWAY;
        return Ok(response);
    };
    for name in OF_THE_CONNECTION {
        response.headers_mut().remove(name);
    }
    Ok(response.map(Either::Left))
}
