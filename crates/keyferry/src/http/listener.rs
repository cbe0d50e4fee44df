//! Listeners: where connections come from.

use std::{io, path::Path, sync::Arc, time::Duration};

use keyferry_envelope::Entropy;
use rustix::process::geteuid;
use rustls::ServerConfig;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::timeout,
};
use tokio_rustls::TlsAcceptor;

use super::{
    connection::Served,
    rinsed::Rinsed,
    route::{App, ClientAddr},
};
use crate::{
    config::{Bind, Listener, ListenerTls, Resources},
    lifecycle::{Phase, Phases},
    socket::{self, Place, SocketError, policy::Policy},
    workers::Posts,
};

/// Connections a listener serves at once.
const MAX_CONNECTIONS: usize = 16 * 1024;
/// For a TLS handshake to end.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// Why a listener cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The address cannot be bound.
    #[error("listeners[{0}].bind")]
    Bind(usize, #[source] io::Error),
    /// The socket cannot be made at its place.
    #[error("listeners[{0}].bind")]
    Socket(usize, #[source] SocketError),
    /// The certificate or its key cannot be used.
    #[error("listeners[{0}].tls: {1}")]
    Tls(usize, String),
}

/// A listener that is bound and not yet served.
pub struct Bound {
    socket: Socket,
    tls: Option<TlsAcceptor>,
    resources: Resources,
    /// As it is shown at start.
    pub address: String,
}

enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener, #[expect(dead_code, reason = "removes the socket when it is dropped")] Place),
}

/// Binds a listener.
pub async fn bind(index: usize, listener: &Listener, entropy: &dyn Entropy) -> Result<Bound, BindError> {
    let bind_error = |error| BindError::Bind(index, error);
    let tls =
        listener.tls.as_ref().map(acceptor).transpose().map_err(|error| BindError::Tls(index, error))?;
    let (socket, address) = match &listener.bind {
        Bind::Tcp(address) => {
            let socket = TcpListener::bind(address).await.map_err(bind_error)?;
            let scheme = if tls.is_some() { "https" } else { "http" };
            let address = format!("{scheme}://{}", socket.local_addr().map_err(bind_error)?);
            (Socket::Tcp(socket), address)
        }
        Bind::Unix(path) => {
            let made = unix(path, entropy).map_err(|error| BindError::Socket(index, error))?;
            (made, format!("unix:{}", path.display()))
        }
    };
    Ok(Bound { socket, tls, resources: listener.resources, address })
}

/// A socket for its owner only.
fn unix(path: &Path, entropy: &dyn Entropy) -> Result<Socket, SocketError> {
    let own = Policy::new(&[], &[], geteuid().as_raw());
    let socket::Socket { listener, place } = socket::bind(path, &own, entropy)?;
    let listener = listener.set_nonblocking(true).and_then(|()| UnixListener::from_std(listener));
    Ok(Socket::Unix(listener.map_err(|error| SocketError::Io(path.to_owned(), error))?, place))
}

fn acceptor(tls: &ListenerTls) -> Result<TlsAcceptor, String> {
    let cert = |error| format!("{}: {error}", tls.cert.display());
    let chain = CertificateDer::pem_file_iter(&tls.cert)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| cert(error.to_string()))?;
    let key =
        PrivateKeyDer::from_pem_file(&tls.key).map_err(|error| format!("{}: {error}", tls.key.display()))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| cert(error.to_string()))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| cert(error.to_string()))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.max_early_data_size = 0;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// A connection on its way to the worker that will serve it, known to no runtime.
#[expect(clippy::disallowed_types, reason = "one that was accepted: it opens none")]
enum Accepted {
    Tcp(std::net::TcpStream),
    Unix(std::os::unix::net::UnixStream),
}

impl Bound {
    /// Accepts connections until the drain begins, and hands them to the workers. Each holds `alive` as long as it is served.
    pub async fn serve(self, app: Arc<App>, posts: Posts, mut phases: Phases, alive: mpsc::Sender<()>) {
        let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        // A listener that only tells how things are does so to the end, and nobody waits for it.
        let takes_requests = self.resources.gateway || self.resources.admin;
        let until = if takes_requests { Phase::Draining } else { Phase::Ending };
        let alive = takes_requests.then_some(alive);
        loop {
            // Beyond the limit, connections wait in the kernel's queue.
            let Ok(permit) = Arc::clone(&room).acquire_owned().await else { break };
            let accepted = tokio::select! {
                accepted = self.accept() => accepted,
                _ = phases.wait_for(|phase| *phase >= until) => break,
            };
            match accepted {
                Ok((stream, client)) => {
                    let served = Served {
                        app: Arc::clone(&app),
                        serves: self.resources,
                        client,
                        until,
                        phases: phases.clone(),
                        posts: posts.clone(),
                    };
                    let serving = serve_one(served, stream, self.tls.clone(), permit, alive.clone());
                    if takes_requests {
                        posts.serve(serving);
                    } else {
                        // How things are is told also while workers are held up.
                        tokio::spawn(serving);
                    }
                }
                Err(error) => {
                    // Out of descriptors, or a client that went away in the queue.
                    tell_of_failure(&error);
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        }
    }

    async fn accept(&self) -> io::Result<(Accepted, ClientAddr)> {
        match &self.socket {
            Socket::Tcp(socket) => {
                let (stream, address) = socket.accept().await?;
                stream.set_nodelay(true)?;
                let client =
                    ClientAddr { ip: Some(address.ip().to_canonical()), over_tls: self.tls.is_some() };
                Ok((Accepted::Tcp(stream.into_std()?), client))
            }
            Socket::Unix(socket, _) => {
                let client = ClientAddr { ip: None, over_tls: self.tls.is_some() };
                Ok((Accepted::Unix(socket.accept().await?.0.into_std()?), client))
            }
        }
    }
}

fn tell_of_failure(error: &io::Error) {
    tracing::warn!(event = "accept_failed", %error);
}

async fn serve_one(
    served: Served,
    stream: Accepted,
    tls: Option<TlsAcceptor>,
    _permit: OwnedSemaphorePermit,
    _alive: Option<mpsc::Sender<()>>,
) {
    match stream {
        Accepted::Tcp(stream) => match TcpStream::from_std(stream) {
            Ok(stream) => serve_stream(served, stream, tls).await,
            Err(error) => tell_of_failure(&error),
        },
        Accepted::Unix(stream) => match UnixStream::from_std(stream) {
            Ok(stream) => serve_stream(served, stream, tls).await,
            Err(error) => tell_of_failure(&error),
        },
    }
}

async fn serve_stream<T>(served: Served, stream: T, tls: Option<TlsAcceptor>)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    match tls {
        None => served.run(stream).await,
        // In a box, since it takes more: where there is no TLS, it would take that all the same.
        Some(tls) => Box::pin(serve_tls(served, stream, tls)).await,
    }
}

async fn serve_tls<T>(served: Served, stream: T, tls: TlsAcceptor)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    if let Ok(Ok(stream)) = timeout(HANDSHAKE, tls.accept(Rinsed(stream))).await {
        served.run(stream).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the future takes that a function of five makes.
    fn room<A, B, C, D, E, F: Future>(_: fn(A, B, C, D, E) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn a_connection_without_tls_takes_little_room_whatever_others_take() {
        assert!(room(serve_one) <= 3 * 1024, "{}", room(serve_one));
    }
}
