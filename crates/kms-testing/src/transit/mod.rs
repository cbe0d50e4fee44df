//! A small server that speaks Transit, with real cryptography and with bad days on order. What it
//! answers is compared with a real OpenBao in `same_as_openbao`.

mod engine;
mod http;
mod policy;
mod state;
mod token;

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls_pki_types::PrivateKeyDer;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;

use self::state::State;

/// The token that may do everything.
pub const ROOT: &str = "root";

/// How the server's day is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Day {
    Fine,
    /// It answers after four seconds.
    Slow,
    /// It takes the request and says nothing.
    Silent,
    /// It answers half of what it says it will, and no more.
    Stalling,
    Sealed,
    Throttling,
    Failing,
    Denying,
    /// As a standby that cannot forward.
    Redirecting,
    Html,
    TruncatedJson,
    WrongBase64,
    /// 31 bytes in place of 32.
    ShortKey,
    Huge,
    ResetInBody,
    NotHttp,
    /// As a server from before there was associated data.
    Unbinding,
}

/// What all connections share.
struct Shared {
    state: Mutex<State>,
    day: Mutex<Day>,
    requests: AtomicUsize,
    connections: AtomicUsize,
}

/// A running server.
pub struct Transit {
    shared: Arc<Shared>,
    address: SocketAddr,
    tls: Option<TlsAcceptor>,
    accepting: Option<JoinHandle<()>>,
    _folder: Option<tempfile::TempDir>,
    ca: Option<PathBuf>,
}

impl Transit {
    /// In plain text on loopback.
    pub async fn start() -> Self {
        Self::start_with(None, None, None).await
    }

    /// Behind TLS, with a certificate for `127.0.0.1` by an authority of its own.
    pub async fn start_tls() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (acceptor, ca) = certified(folder.path());
        Self::start_with(Some(acceptor), Some(folder), Some(ca)).await
    }

    async fn start_with(
        tls: Option<TlsAcceptor>,
        folder: Option<tempfile::TempDir>,
        ca: Option<PathBuf>,
    ) -> Self {
        let shared = Arc::new(Shared {
            state: Mutex::new(State::new(ROOT)),
            day: Mutex::new(Day::Fine),
            requests: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
        });
        let any = "127.0.0.1:0".parse().expect("an address");
        let mut server = Self { shared, address: any, tls, accepting: None, _folder: folder, ca };
        server.up().await;
        server
    }

    /// Listens, where it did before.
    pub async fn up(&mut self) {
        let listener = TcpListener::bind(self.address).await.expect("the address is free");
        self.address = listener.local_addr().expect("bound");
        self.accepting = Some(tokio::spawn(accept(listener, self.tls.clone(), Arc::clone(&self.shared))));
    }

    /// Closes the listener: connections are refused.
    pub async fn down(&mut self) {
        if let Some(accepting) = self.accepting.take() {
            accepting.abort();
            let _ = accepting.await;
        }
    }

    pub fn address(&self) -> String {
        format!("{}://{}", if self.tls.is_some() { "https" } else { "http" }, self.address)
    }

    /// The authority's certificate.
    pub fn ca(&self) -> Option<&Path> {
        self.ca.as_deref()
    }

    pub fn has(&self, day: Day) {
        *self.shared.day.lock().expect("not poisoned") = day;
    }

    /// Requests whose head was read.
    pub fn requests(&self) -> usize {
        self.shared.requests.load(Ordering::SeqCst)
    }

    /// Connections that were accepted.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Transit {
    fn drop(&mut self) {
        if let Some(accepting) = &self.accepting {
            accepting.abort();
        }
    }
}

/// A certificate, and the authority that it needs.
fn certified(folder: &Path) -> (TlsAcceptor, PathBuf) {
    let ca_key = KeyPair::generate().expect("a key");
    let mut ca_params = CertificateParams::new(Vec::new()).expect("parameters");
    ca_params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_cert = ca_params.self_signed(&ca_key).expect("a certificate");
    let ca = folder.join("ca.pem");
    std::fs::write(&ca, ca_cert.pem()).expect("written");

    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("parameters");
    let cert = params.signed_by(&key, &Issuer::new(ca_params, ca_key)).expect("a certificate");
    let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .expect("a certificate with its key");
    (TlsAcceptor::from(Arc::new(config)), ca)
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, shared: Arc<Shared>) {
    let mut serving = tokio::task::JoinSet::new();
    while let Ok((tcp, _)) = listener.accept().await {
        shared.connections.fetch_add(1, Ordering::SeqCst);
        let (tls, shared) = (tls.clone(), Arc::clone(&shared));
        serving.spawn(async move {
            // How a connection ends is seen from the other side.
            let _ = match tls {
                None => serve_plain(tcp, &shared).await,
                Some(tls) => match tls.accept(tcp).await {
                    Ok(stream) => serve(stream, &shared).await.map(drop),
                    Err(error) => Err(error),
                },
            };
        });
    }
}

async fn serve_plain(tcp: TcpStream, shared: &Shared) -> io::Result<()> {
    let tcp = serve(tcp, shared).await?;
    if *shared.day.lock().expect("not poisoned") == Day::ResetInBody {
        tcp.set_zero_linger()?;
    }
    Ok(())
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, shared: &Shared) -> io::Result<S> {
    let request = http::read(&mut stream).await?;
    shared.requests.fetch_add(1, Ordering::SeqCst);
    let day = *shared.day.lock().expect("not poisoned");
    let answer = || shared.state.lock().expect("not poisoned").answer(&request);
    let reply = match day {
        Day::Fine => answer(),
        Day::Unbinding => {
            let mut unbound = request.clone();
            unbound.forget(&["associated_data", "context"]);
            shared.state.lock().expect("not poisoned").answer(&unbound)
        }
        Day::Slow => {
            tokio::time::sleep(Duration::from_secs(4)).await;
            answer()
        }
        Day::Silent => std::future::pending().await,
        Day::Sealed => http::Reply::error(503, "Vault is sealed"),
        Day::Throttling => {
            http::Reply::error(429, "request path \"transit/decrypt/kek\": rate limit quota exceeded")
        }
        Day::Failing => http::Reply::error(500, "internal error"),
        Day::Denying => http::Reply::error(403, "permission denied"),
        Day::WrongBase64 => with_data(answer(), &json!({"plaintext": "%%%%", "ciphertext": "vault:v1:%%%%"})),
        Day::ShortKey => {
            let short = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==";
            with_data(answer(), &json!({"plaintext": short, "ciphertext": "vault:v1:AAAA"}))
        }
        raw => {
            http::write_raw(&mut stream, &badly(raw)).await?;
            if raw == Day::Stalling {
                std::future::pending::<()>().await;
            }
            return Ok(stream);
        }
    };
    http::write(&mut stream, &reply).await?;
    Ok(stream)
}

/// The same answer with other values of the members that it has.
fn with_data(mut reply: http::Reply, other: &Value) -> http::Reply {
    let data = reply.body.as_mut().and_then(|body| body["data"].as_object_mut());
    for (name, value) in data.into_iter().flatten() {
        if let Some(other) = other.get(name) {
            value.clone_from(other);
        }
    }
    reply
}

/// Bytes that no server in good health sends.
fn badly(day: Day) -> Vec<u8> {
    let ok = |length: usize, body: &str| {
        format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}")
    };
    let text = match day {
        Day::Stalling | Day::ResetInBody => ok(900, r#"{"data":{"plaintext":"AAAA"#),
        Day::Redirecting => {
            "HTTP/1.1 307 Temporary Redirect\r\nlocation: http://127.0.0.1:1/v1/x\r\ncontent-length: 0\r\n\r\n"
                .to_owned()
        }
        Day::Html => ok(28, "<html><h1>Welcome</h1></html"),
        Day::TruncatedJson => ok(26, r#"{"data":{"plaintext":"AAAA"#),
        Day::Huge => ok(1 << 20, &"x".repeat(1 << 20)),
        _ => "220 mail.example ESMTP\r\n".to_owned(),
    };
    text.into_bytes()
}
