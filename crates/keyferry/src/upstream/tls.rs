//! TLS towards providers: the built-in roots, the name of the provider, nothing from the environment.

use std::{io, path::Path, sync::Arc};

use keyferry_core::net::host::ProviderHost;
use rustls::{ClientConfig, RootCertStore, client::Resumption};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

/// Why the trusted certificates cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The extra authority's file is no certificate.
    #[error("holds no certificate in PEM form")]
    Pem,
    /// rustls does not take it.
    #[error("{0}")]
    Rustls(#[from] rustls::Error),
}

/// Proves the names of providers.
#[derive(Clone)]
pub(super) struct Tls(TlsConnector);

impl Tls {
    /// With the Mozilla roots, and one more authority if there is one.
    pub(super) fn new(extra_ca: Option<&Path>) -> Result<Self, TrustError> {
        let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        if let Some(path) = extra_ca {
            let certs = CertificateDer::pem_file_iter(path).map_err(|_| TrustError::Pem)?;
            let mut found = false;
            for cert in certs {
                roots.add(cert.map_err(|_| TrustError::Pem)?)?;
                found = true;
            }
            if !found {
                return Err(TrustError::Pem);
            }
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        // HTTP/1.1 only: in HTTP/2 the header with the key would be compressed together with others, in a library.
        // No tickets: they would tie tenants together at the provider.
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.resumption = Resumption::disabled();
        Ok(Self(TlsConnector::from(Arc::new(config))))
    }

    /// Shakes hands; the certificate must be valid for exactly this host.
    pub(super) async fn connect(
        &self,
        host: &ProviderHost,
        tcp: TcpStream,
    ) -> io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(host.as_str().to_owned())
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        self.0.connect(name, tcp).await
    }
}
