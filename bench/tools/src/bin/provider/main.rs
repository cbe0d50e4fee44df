//! A provider that answers as OpenAI does, on one thread, for as little as it can: what it costs itself is said with every
//! figure. It refuses a request that does not have the key, so that whoever measures a gateway also sees that the key was put in.
//!
//! `provider --key KEY [--listen ADDRESS] [--cert FILE --cert-key FILE]` prints its port.

mod connection;
mod replies;

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    io::{self, Write as _},
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context;
use bench_tools::flags::Flags;
use connection::{Connection, Next, Pipe};
use mio::{Events, Interest, Poll, Token, net::TcpListener};
use replies::Replies;
use rustls::{ServerConfig, ServerConnection};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

const LISTENER: Token = Token(usize::MAX);

fn main() -> anyhow::Result<()> {
    let flags = Flags::read(&["listen", "key", "cert", "cert-key"])?;
    let listen: SocketAddr = flags.or("listen", "127.0.0.1:0".parse()?)?;
    let listener = TcpListener::bind(listen)?;
    println!("{}", listener.local_addr()?.port());
    io::stdout().flush()?;
    let key: String = flags.need("key")?;
    let tls = flags.text("cert").map(|cert| tls(cert, &flags.need::<String>("cert-key")?)).transpose()?;
    Provider {
        poll: Poll::new()?,
        listener,
        tls,
        replies: Replies::new(&key),
        connections: Vec::new(),
        free: Vec::new(),
        flowing: VecDeque::new(),
        waiting: BinaryHeap::new(),
    }
    .run()
}

fn tls(cert: &str, key: &str) -> anyhow::Result<Arc<ServerConfig>> {
    let chain = CertificateDer::pem_file_iter(cert)?.collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_file(key)?;
    let mut config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

struct Provider {
    poll: Poll,
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    replies: Replies,
    connections: Vec<Option<Connection>>,
    free: Vec<usize>,
    /// Streams whose next event can go out: one event each, and then it is the next one's turn.
    flowing: VecDeque<(usize, u64)>,
    /// Those that wait, by when their time comes.
    waiting: BinaryHeap<Reverse<(Instant, usize, u64)>>,
}

impl Provider {
    fn run(mut self) -> anyhow::Result<()> {
        self.poll.registry().register(&mut self.listener, LISTENER, Interest::READABLE)?;
        let mut events = Events::with_capacity(1024);
        loop {
            match self.poll.poll(&mut events, self.timeout()) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                polled => polled?,
            }
            for event in &events {
                if event.token() == LISTENER {
                    self.accept()?;
                } else {
                    self.serve(event.token().0);
                }
            }
            self.wake();
            for _ in 0..self.flowing.len() {
                let Some((index, number)) = self.flowing.pop_front() else { break };
                if self.is(index, number) {
                    self.serve_flow(index);
                }
            }
        }
    }

    fn timeout(&self) -> Option<Duration> {
        if !self.flowing.is_empty() {
            return Some(Duration::ZERO);
        }
        let Reverse((due, ..)) = self.waiting.peek()?;
        Some(due.saturating_duration_since(Instant::now()))
    }

    fn wake(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        let now = Instant::now();
        while let Some(Reverse((due, index, number))) = self.waiting.peek().copied() {
            if due > now {
                break;
            }
            self.waiting.pop();
            self.flowing.push_back((index, number));
        }
    }

    fn is(&self, index: usize, number: u64) -> bool {
        self.connections[index].as_ref().is_some_and(|connection| connection.number == number)
    }

    fn accept(&mut self) -> anyhow::Result<()> {
        loop {
            let mut stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error).context("accept"),
            };
            stream.set_nodelay(true)?;
            let index = self.free.pop().unwrap_or_else(|| {
                self.connections.push(None);
                self.connections.len() - 1
            });
            let interest = Interest::READABLE | Interest::WRITABLE;
            self.poll.registry().register(&mut stream, Token(index), interest)?;
            let session = self.tls.clone().map(ServerConnection::new).transpose()?.map(Box::new);
            self.connections[index] = Some(Connection::new(Pipe::new(stream, session)));
        }
    }

    fn serve(&mut self, index: usize) {
        let Some(connection) = self.connections[index].as_mut() else { return };
        let next = connection.ready(&mut self.replies);
        self.then(index, &next);
    }

    fn serve_flow(&mut self, index: usize) {
        let Some(connection) = self.connections[index].as_mut() else { return };
        let next = connection.flow(&mut self.replies);
        self.then(index, &next);
    }

    fn then(&mut self, index: usize, next: &anyhow::Result<Next>) {
        let Some(connection) = self.connections[index].as_ref() else { return };
        match *next {
            Ok(Next::Nothing) => {}
            Ok(Next::Now) => self.flowing.push_back((index, connection.number)),
            Ok(Next::In(wait)) => {
                self.waiting.push(Reverse((Instant::now() + wait, index, connection.number)));
            }
            Ok(Next::Closed) | Err(_) => {
                self.connections[index] = None;
                self.free.push(index);
            }
        }
    }
}
