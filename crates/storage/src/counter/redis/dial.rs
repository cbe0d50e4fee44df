//! Opens the stream to a Redis: TCP, TLS for the host's name, or a Unix socket.
//!
//! The address comes from the operator's configuration and from nowhere else, so it is not judged as those of providers
//! are. TLS is made here and not in the Redis library, so that there is one provider of cryptography.

use std::{path::Path, pin::Pin, sync::Arc};

use rustls::{ClientConfig, RootCertStore, client::Resumption};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream, lookup_host},
};
use tokio_rustls::TlsConnector;

use super::{
    RedisError,
    address::{Place, RedisAddress},
};

pub(super) trait Stream: AsyncRead + AsyncWrite + Send {}
impl<S: AsyncRead + AsyncWrite + Send> Stream for S {}

/// Knows the way.
pub(super) struct Dialler {
    pub(super) address: RedisAddress,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl Dialler {
    /// `ca` is the only authority to trust; without it the public ones are.
    pub(super) fn new(address: RedisAddress, ca: Option<&Path>) -> Result<Self, RedisError> {
        let tls = match &address.place {
            Place::Tcp { host, tls: true, .. } => {
                let name = ServerName::try_from(host.clone()).map_err(|_| RedisError::Name)?;
                Some((connector(ca)?, name))
            }
            _ if ca.is_some() => return Err(RedisError::CaWithoutTls),
            _ => None,
        };
        Ok(Self { address, tls })
    }

    /// The one who calls has the deadline.
    pub(super) async fn dial(&self) -> Result<Pin<Box<dyn Stream>>, RedisError> {
        match &self.address.place {
            Place::Unix(path) => {
                let stream = UnixStream::connect(path).await;
                Ok(Box::pin(stream.map_err(|_| RedisError::Away("nobody listens at its socket"))?))
            }
            Place::Tcp { host, port, .. } => {
                let tcp = connect(host, *port).await?;
                let Some((connector, name)) = &self.tls else { return Ok(Box::pin(tcp)) };
                let shaken = connector.connect(name.clone(), tcp).await;
                let failed = |error: std::io::Error| match error.kind() {
                    // What rustls itself says against the other side comes as this.
                    std::io::ErrorKind::InvalidData => RedisError::Tls,
                    _ => RedisError::Away("the TLS handshake was broken off"),
                };
                Ok(Box::pin(shaken.map_err(failed)?))
            }
        }
    }
}

async fn connect(host: &str, port: u16) -> Result<TcpStream, RedisError> {
    let addresses = lookup_host((host, port)).await;
    for address in addresses.map_err(|_| RedisError::Away("its name cannot be resolved"))? {
        #[expect(
            clippy::disallowed_methods,
            reason = "a counter store is not a provider: see the module's head"
        )]
        let dialled = TcpStream::connect(address).await;
        if let Ok(tcp) = dialled {
            let _ = tcp.set_nodelay(true);
            return Ok(tcp);
        }
    }
    Err(RedisError::Away("it accepts no connection"))
}

fn connector(ca: Option<&Path>) -> Result<TlsConnector, RedisError> {
    let mut roots = RootCertStore::empty();
    match ca {
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(path) => {
            for cert in CertificateDer::pem_file_iter(path).map_err(|_| RedisError::Ca)? {
                roots.add(cert.map_err(|_| RedisError::Ca)?).map_err(|_| RedisError::Ca)?;
            }
        }
    }
    if roots.is_empty() {
        return Err(RedisError::Ca);
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has the cipher suites of TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    Ok(TlsConnector::from(Arc::new(config)))
}
