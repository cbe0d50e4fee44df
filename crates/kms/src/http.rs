//! One HTTPS call to a root that lives behind HTTP, and nothing that outlives it.
//!
//! Every call opens a connection of its own and closes it. A pooled connection would keep its
//! buffers, and with them the key that went through; here every buffer is freed, and so wiped by the
//! program's allocator, before the call returns. Roots are asked rarely, so this costs little.
//!
//! The host comes from the operator's configuration and from nowhere else. A private address is the
//! normal case for a key-management system, so addresses are not judged as those of providers are.
//! There are no redirects and no proxies from the environment: the token goes to the one host.

use std::{
    future::Future,
    io::{self, BufReader},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::{Either, select};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header, uri::Authority};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use keyferry_core::port::root::RootError;
use keyferry_envelope::SecretBytes;
use rustls::{ClientConfig, RootCertStore, client::Resumption};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, lookup_host},
    time::timeout,
};
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

use crate::file;

/// What a root's call may take, from the lookup to the last byte. Whoever waits for the root is
/// promised an answer within 5 s; what is left of these is for them.
const DEADLINE: Duration = Duration::from_millis(4_800);
/// What one address may take to accept, so that a dead first one leaves time for the next.
const CONNECT: Duration = Duration::from_millis(1_500);
/// The longest answer.
const MAX_BODY: usize = 64 * 1024;
/// The longest head of an answer.
const MAX_HEAD: usize = 16 * 1024;

/// Where AWS hands out credentials: ECS, EKS and EC2.
const METADATA: [IpAddr; 5] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 2)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 23)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
];

/// Why a root's address or authority cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// It is not `https://host[:port]`.
    #[error("expected `https://host` or `https://host:port`, without path, query or user")]
    Address,
    /// Plain text to somewhere else than this machine.
    #[error("plain http is for loopback addresses only: use https")]
    Plaintext,
    /// The authority's file cannot be read.
    #[error("{0} cannot be read: {1}")]
    CaFile(PathBuf, io::Error),
    /// The authority's file holds no certificate.
    #[error("{0} holds no certificate in PEM form")]
    Ca(PathBuf),
    /// There is an authority, and nobody to prove anything.
    #[error("plain http proves no name: take this away, or use https")]
    CaUnused,
}

impl EndpointError {
    /// Whether it is about the authority, and not about the address.
    pub const fn is_about_ca(&self) -> bool {
        matches!(self, Self::CaFile(..) | Self::Ca(_) | Self::CaUnused)
    }
}

/// Where a root is, and how it proves that it is there.
pub(crate) struct Endpoint {
    authority: Authority,
    host: String,
    port: u16,
    /// `None`: plain text, which is for addresses that do not leave the machine.
    tls: Option<Tls>,
    /// Whether such an address is one.
    is_local: fn(IpAddr) -> bool,
}

struct Tls {
    connector: TlsConnector,
    name: ServerName<'static>,
}

/// One request.
pub(crate) struct Call<'a> {
    pub(crate) method: Method,
    /// Path and query, encoded.
    pub(crate) path: &'a str,
    /// All headers but `host`, `connection` and `content-length`.
    pub(crate) headers: HeaderMap,
    pub(crate) body: SecretBytes,
}

/// What came back.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    /// It may hold a key.
    pub(crate) body: SecretBytes,
}

/// The port that an address names, or that its scheme stands for; `None` if it is no address.
pub fn port_of(address: &str) -> Option<u16> {
    let (secure, authority) = taken_apart(address)?;
    Some(authority.port_u16().unwrap_or(if secure { 443 } else { 80 }))
}

/// Judges an address, and whether it goes with an authority. Opens no file.
pub(crate) fn judge(address: &str, ca: Option<&Path>) -> Result<(), EndpointError> {
    let judged = Judged::new(address, |ip| ip.is_loopback())?;
    if ca.is_some() && !judged.secure { Err(EndpointError::CaUnused) } else { Ok(()) }
}

/// The parts of an address that may be called.
struct Judged {
    secure: bool,
    authority: Authority,
    host: String,
    name: ServerName<'static>,
}

impl Judged {
    fn new(address: &str, is_local: fn(IpAddr) -> bool) -> Result<Self, EndpointError> {
        let (secure, authority) = taken_apart(address).ok_or(EndpointError::Address)?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(host.clone()).map_err(|_| EndpointError::Address)?;
        if !secure && host != "localhost" && !host.parse().is_ok_and(is_local) {
            return Err(EndpointError::Plaintext);
        }
        Ok(Self { secure, authority, host, name })
    }
}

impl Endpoint {
    /// Judges an address; `ca` is the only authority to trust, without it the public ones are.
    pub(crate) fn new(address: &str, ca: Option<&Path>) -> Result<Self, EndpointError> {
        Self::with_local(address, ca, |ip| ip.is_loopback())
    }

    /// The same for what hands credentials to containers and machines: the host answers at these
    /// link-local addresses, in plain text.
    pub(crate) fn metadata(address: &str) -> Result<Self, EndpointError> {
        Self::with_local(address, None, |ip| ip.is_loopback() || METADATA.contains(&ip))
    }

    fn with_local(
        address: &str,
        ca: Option<&Path>,
        is_local: fn(IpAddr) -> bool,
    ) -> Result<Self, EndpointError> {
        let Judged { secure, authority, host, name } = Judged::new(address, is_local)?;
        let port = authority.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let tls = if secure { Some(Tls { connector: connector(ca)?, name }) } else { None };
        Ok(Self { authority, host, port, tls, is_local })
    }

    /// What stands in the header `host`.
    pub(crate) fn authority(&self) -> &str {
        self.authority.as_str()
    }

    /// Makes one call. Whatever the status, the answer is an answer: [`fault`] judges it.
    pub(crate) async fn call(&self, call: Call<'_>) -> Result<Answer, RootError> {
        in_time(Box::pin(self.call_on_new_connection(call))).await
    }

    async fn call_on_new_connection(&self, call: Call<'_>) -> Result<Answer, RootError> {
        let request = self.request(call)?;
        let tcp = self.connect().await?;
        match &self.tls {
            None => exchange(tcp, request).await,
            Some(Tls { connector, name }) => {
                let shaken = connector.connect(name.clone(), tcp).await;
                exchange(shaken.map_err(|_| away("the TLS handshake failed"))?, request).await
            }
        }
    }

    fn request(&self, call: Call<'_>) -> Result<Request<Full<Bytes>>, RootError> {
        let unsendable = || RootError::Denied("the request cannot be written as HTTP".to_owned());
        let body = Full::new(Bytes::from_owner(Wiped(call.body)));
        let mut request = Request::new(body);
        *request.method_mut() = call.method;
        *request.uri_mut() = call.path.parse::<Uri>().map_err(|_| unsendable())?;
        *request.headers_mut() = call.headers;
        let host = HeaderValue::from_str(self.authority.as_str()).map_err(|_| unsendable())?;
        request.headers_mut().insert(header::HOST, host);
        request.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        Ok(request)
    }

    async fn connect(&self) -> Result<TcpStream, RootError> {
        let addresses = lookup_host((self.host.as_str(), self.port)).await;
        for address in addresses.map_err(|_| away("its name cannot be resolved"))? {
            if self.tls.is_none() && !(self.is_local)(address.ip()) {
                return Err(away("its name is not a loopback address"));
            }
            #[expect(clippy::disallowed_methods, reason = "a root is not a provider: see the module's head")]
            let dialled = timeout(CONNECT, TcpStream::connect(address)).await;
            if let Ok(Ok(tcp)) = dialled {
                let _ = tcp.set_nodelay(true);
                return Ok(tcp);
            }
        }
        Err(away("it accepts no connection"))
    }
}

/// Ends what asks a root when its time is over. For operations of more than one call.
pub(crate) async fn in_time<T>(
    asking: impl Future<Output = Result<T, RootError>> + Send,
) -> Result<T, RootError> {
    timeout(DEADLINE, asking).await.unwrap_or_else(|_| Err(away("it did not answer in time")))
}

/// What a status says about the root, whatever the body says; `None` where the body must be read.
pub(crate) fn fault(status: StatusCode) -> Option<RootError> {
    match status.as_u16() {
        401 | 403 => Some(RootError::Denied(format!("it answered {}", status.as_u16()))),
        429 => Some(away("it is throttling")),
        300..=399 => Some(away("it answered with a redirect, which is not followed")),
        500..=599 => Some(away(&format!("it answered {}", status.as_u16()))),
        _ => None,
    }
}

pub(crate) fn away(words: &str) -> RootError {
    RootError::Away(words.to_owned())
}

/// Scheme and authority of an address that has nothing else.
fn taken_apart(address: &str) -> Option<(bool, Authority)> {
    let (secure, rest) = match address.split_once("://")? {
        ("https", rest) => (true, rest),
        ("http", rest) => (false, rest),
        _ => return None,
    };
    let authority: Authority = rest.strip_suffix('/').unwrap_or(rest).parse().ok()?;
    let port_is_one = match authority.port_u16() {
        Some(port) => port != 0,
        None => authority.as_str() == authority.host(),
    };
    (port_is_one && !authority.as_str().contains('@')).then_some((secure, authority))
}

fn connector(ca: Option<&Path>) -> Result<TlsConnector, EndpointError> {
    let mut roots = RootCertStore::empty();
    match ca {
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(path) => {
            let unreadable = |error| EndpointError::CaFile(path.to_owned(), error);
            let (file, _) = file::open(path).map_err(unreadable)?;
            let none = || EndpointError::Ca(path.to_owned());
            for cert in CertificateDer::pem_reader_iter(BufReader::new(file)) {
                roots.add(cert.map_err(|_| none())?).map_err(|_| none())?;
            }
            if roots.is_empty() {
                return Err(none());
            }
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has the cipher suites of TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // A ticket is a secret that would outlive the call.
    config.resumption = Resumption::disabled();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Sends and reads on a connection that is gone when this returns: it is driven here and not by a task
/// of its own, which would end some time later.
async fn exchange<S>(stream: S, request: Request<Full<Bytes>>) -> Result<Answer, RootError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(MAX_HEAD)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|_| away("the connection broke"))?;
    let asking = async move {
        let answer = sender.send_request(request).await.map_err(broken)?;
        let (head, body) = answer.into_parts();
        Ok(Answer { status: head.status, body: whole(body).await? })
    };
    match select(Box::pin(asking), Box::pin(connection)).await {
        Either::Left((answer, _connection)) => answer,
        // The other side has closed; what it said before may not have been read yet.
        Either::Right((_, asking)) => asking.await,
    }
}

fn broken(error: hyper::Error) -> RootError {
    if error.is_parse() { RootError::Garbage("it does not speak HTTP") } else { away("the connection broke") }
}

/// The body, in a buffer that never moves.
async fn whole(mut body: Incoming) -> Result<SecretBytes, RootError> {
    let mut read = Zeroizing::new(Vec::with_capacity(MAX_BODY));
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.map_err(broken)?.into_data() {
            if data.len() > MAX_BODY - read.len() {
                return Err(RootError::Garbage("the answer is too long"));
            }
            read.extend_from_slice(&data);
        }
    }
    Ok(SecretBytes::new(std::mem::take(&mut *read)))
}

/// Lends a secret to the HTTP library, which wipes it by dropping it.
struct Wiped(SecretBytes);

impl AsRef<[u8]> for Wiped {
    fn as_ref(&self) -> &[u8] {
        self.0.expose()
    }
}

#[cfg(test)]
mod tests;
