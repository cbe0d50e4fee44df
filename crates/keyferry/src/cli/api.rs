//! The admin API of a running gateway, as the commands use it.

use std::time::Duration;

use anyhow::{Context, anyhow, bail, ensure};
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, Uri, header, uri::Scheme};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use keyferry_envelope::SecretBytes;
use serde_json::Value;
use tokio::net::TcpStream;

use super::secret;

/// Where the gateway is, and as whom to talk to it.
#[derive(clap::Args)]
pub(super) struct Gateway {
    /// The gateway's address.
    #[arg(long, env = "KEYFERRY_URL", default_value = "http://127.0.0.1:8484", value_name = "URL")]
    url: String,
    /// A file with the token. Else KEYFERRY_TOKEN or KEYFERRY_OPERATOR_TOKEN of the environment.
    #[arg(long, value_name = "FILE")]
    token_file: Option<std::path::PathBuf>,
    /// Print JSON.
    #[arg(long)]
    pub(super) json: bool,
}

impl Gateway {
    fn token(&self) -> anyhow::Result<SecretBytes> {
        if let Some(path) = &self.token_file {
            return secret::from_file(path);
        }
        for name in ["KEYFERRY_TOKEN", "KEYFERRY_OPERATOR_TOKEN"] {
            if let Some(token) = secret::from_env(name)? {
                return Ok(token);
            }
        }
        bail!("no token: set KEYFERRY_TOKEN or KEYFERRY_OPERATOR_TOKEN, or use --token-file FILE")
    }

    /// Calls an operation below `/api/v1` and reads its JSON.
    pub(super) fn call(&self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        let bytes = body.map(Value::to_string).unwrap_or_default();
        self.call_with(method, path, SecretBytes::new(bytes.into_bytes()))
    }

    /// The same with a body that holds a key.
    pub(super) fn call_with(&self, method: Method, path: &str, body: SecretBytes) -> anyhow::Result<Value> {
        let token = self.token()?;
        super::runtime()?.block_on(async {
            let request = Request::builder().method(method).uri(format!("/api/v1{path}"));
            let answer = send(&self.url, Some(&token), request, body.expose().to_vec().into()).await?;
            read(answer).await
        })
    }
}

/// The segment of a path that a person gave.
pub(super) fn segment(text: &str) -> anyhow::Result<&str> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    ensure!(!text.is_empty() && text.bytes().all(plain), "an id has only the characters A-Z a-z 0-9 . _ -");
    Ok(text)
}

/// Sends one request on a connection of its own.
pub(crate) async fn send(
    url: &str,
    token: Option<&SecretBytes>,
    request: http::request::Builder,
    body: Bytes,
) -> anyhow::Result<Response<Incoming>> {
    let url: Uri = url.parse().context("the gateway's address is not a URL")?;
    let host = url.host().context("the gateway's address has no host")?;
    let secure = match url.scheme() {
        Some(scheme) if *scheme == Scheme::HTTP => false,
        Some(scheme) if *scheme == Scheme::HTTPS => true,
        _ => bail!("the gateway's address must begin with http:// or https://"),
    };
    let port = url.port_u16().unwrap_or(if secure { 443 } else { 80 });
    let has_body = !body.is_empty();
    let mut request = request.header(header::HOST, format!("{host}:{port}")).body(Full::new(body))?;
    if has_body {
        request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    if let Some(token) = token {
        let mut value = HeaderValue::from_bytes(&[b"Bearer ", token.expose()].concat())
            .map_err(|_| anyhow!("the token has characters that no token has"))?;
        value.set_sensitive(true);
        request.headers_mut().insert(header::AUTHORIZATION, value);
    }
    let tcp =
        connect(host, port).await.with_context(|| format!("no gateway answers at {url}: is it running?"))?;
    let answer =
        if secure { exchange(tls(host, tcp).await?, request).await } else { exchange(tcp, request).await };
    answer.context("the gateway broke off")
}

#[expect(
    clippy::disallowed_methods,
    reason = "a command talks to the gateway its user named, not to a provider"
)]
async fn connect(host: &str, port: u16) -> anyhow::Result<TcpStream> {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    Ok(tokio::time::timeout(Duration::from_secs(5), TcpStream::connect((host, port))).await??)
}

async fn tls(host: &str, tcp: TcpStream) -> anyhow::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = rustls_pki_types::ServerName::try_from(host.to_owned())?;
    Ok(tokio_rustls::TlsConnector::from(std::sync::Arc::new(config)).connect(name, tcp).await?)
}

async fn exchange<T>(io: T, request: Request<Full<Bytes>>) -> hyper::Result<Response<Incoming>>
where
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(io)).await?;
    tokio::spawn(async move {
        let _ = connection.await;
    });
    sender.send_request(request).await
}

/// Reads an answer of the admin API; its failure becomes ours.
pub(super) async fn read(answer: Response<Incoming>) -> anyhow::Result<Value> {
    let status = answer.status();
    let bytes = answer.into_body().collect().await.context("the gateway broke off")?.to_bytes();
    let body: Value =
        if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).unwrap_or_default() };
    if status.is_success() {
        return Ok(body);
    }
    match (body["detail"].as_str(), body["code"].as_str()) {
        (Some(detail), Some(code)) => bail!("{detail} ({code})"),
        _ => bail!("the gateway answered {status}"),
    }
}
