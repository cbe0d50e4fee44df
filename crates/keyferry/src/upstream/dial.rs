//! Dialling: the only place in the program that opens a connection to the outside.
//!
//! resolve → every address public, or none is used → connect to one of exactly these → the peer is
//! that one → TLS for the host's name. There is no second lookup between judging and connecting.

use std::{collections::HashMap, io, net::SocketAddr, time::Duration};

use keyferry_core::net::host::ProviderHost;
use tokio::{net::TcpStream, time::timeout};

use super::{UpstreamError, resolve::Names, stream::Stream, tls::Tls};
use crate::config;

/// The port of HTTPS. There is no other.
const HTTPS: u16 = 443;

/// Opens connections to providers.
pub(super) struct Dialer {
    names: Names,
    tls: Tls,
    overrides: HashMap<ProviderHost, Override>,
    connect_timeout: Duration,
}

#[derive(Clone, Copy)]
struct Override {
    address: SocketAddr,
    plaintext: bool,
}

impl Dialer {
    pub(super) fn new(upstream: &config::Upstream, tls: Tls) -> Self {
        let overrides = upstream
            .dial
            .iter()
            .map(|dial| (dial.host.clone(), Override { address: dial.address, plaintext: dial.plaintext }));
        Self {
            names: Names::new(&upstream.nameservers),
            tls,
            overrides: overrides.collect(),
            connect_timeout: upstream.connect_timeout,
        }
    }

    /// A connection to a provider's host that has proven its name.
    pub(super) async fn dial(&self, host: &ProviderHost) -> Result<Stream, UpstreamError> {
        timeout(self.connect_timeout, self.dial_within(host))
            .await
            .unwrap_or(Err(UpstreamError::Timeout("connecting")))
    }

    async fn dial_within(&self, host: &ProviderHost) -> Result<Stream, UpstreamError> {
        let tcp = match self.overrides.get(host) {
            Some(Override { address, plaintext }) => {
                let tcp = connect(*address).await.map_err(UpstreamError::Connect)?;
                if *plaintext {
                    return Ok(Stream::Plain(tcp));
                }
                tcp
            }
            None => self.connect_public(host).await?,
        };
        let tls = self.tls.connect(host, tcp).await.map_err(UpstreamError::Tls)?;
        Ok(Stream::Tls(Box::new(tls)))
    }

    async fn connect_public(&self, host: &ProviderHost) -> Result<TcpStream, UpstreamError> {
        let addresses = self.names.addresses(host).await?;
        // A share of the time for each, so that a dead first address leaves time for the next.
        let patience = self.connect_timeout / u32::try_from(addresses.len().clamp(1, 4)).unwrap_or(1);
        let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for ip in addresses {
            let address = SocketAddr::new(ip, HTTPS);
            match timeout(patience, connect(address)).await {
                Ok(Ok(tcp)) => return Ok(tcp),
                Ok(Err(error)) => last = error,
                Err(_) => last = io::Error::from(io::ErrorKind::TimedOut),
            }
        }
        if last.kind() == io::ErrorKind::TimedOut {
            return Err(UpstreamError::Timeout("connecting"));
        }
        Err(UpstreamError::Connect(last))
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the one place")]
async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let tcp = TcpStream::connect(address).await?;
    if tcp.peer_addr()? != address {
        return Err(io::Error::other("connected to another peer than was dialled"));
    }
    tcp.set_nodelay(true)?;
    Ok(tcp)
}
