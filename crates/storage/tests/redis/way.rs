//! The way from a gateway to a server, on which one can count, stop and cut each connection by itself.

use std::{
    io::{self, Read, Write},
    net::Shutdown,
    os::unix::net::{UnixListener, UnixStream},
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use keyferry_storage_testing::redis::RedisServer;

/// A socket that leads to a server. Connections that were made stay where they lead.
pub(crate) struct Way {
    folder: tempfile::TempDir,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    leads_to: Mutex<PathBuf>,
    connections: Mutex<Vec<Arc<Connection>>>,
}

/// One of a gateway, in the order in which they were made.
pub(crate) struct Connection {
    gateway: UnixStream,
    asked: AtomicUsize,
    stopped: AtomicBool,
    held: AtomicBool,
    ended: AtomicBool,
}

impl Way {
    pub(crate) fn to(server: &RedisServer) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let listener = UnixListener::bind(folder.path().join("way.sock")).expect("a socket");
        let shared = Arc::new(Shared { leads_to: Mutex::new(server.socket()), ..Shared::default() });
        let mine = Arc::clone(&shared);
        thread::spawn(move || {
            // One that leads nowhere is closed.
            while let Ok((gateway, _)) = listener.accept() {
                let _ = mine.lead(gateway);
            }
        });
        Self { folder, shared }
    }

    pub(crate) fn url(&self) -> String {
        format!("unix://{}", self.folder.path().join("way.sock").display())
    }

    /// From now on it leads to another one.
    pub(crate) fn turn_to(&self, server: &RedisServer) {
        *lock(&self.shared.leads_to) = server.socket();
    }

    /// Those that still stand.
    pub(crate) fn connections(&self) -> Vec<Arc<Connection>> {
        let mut all = lock(&self.shared.connections).clone();
        all.retain(|connection| !connection.has_ended());
        all
    }

    /// Waits until so many stand.
    pub(crate) fn wait_for(&self, wanted: usize) -> Vec<Arc<Connection>> {
        let begun = Instant::now();
        loop {
            let there = self.connections();
            if there.len() == wanted {
                return there;
            }
            assert!(begun.elapsed() < Duration::from_secs(5), "{} and not {wanted}", there.len());
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Shared {
    fn lead(&self, gateway: UnixStream) -> io::Result<()> {
        let server = UnixStream::connect(&*lock(&self.leads_to))?;
        let connection = Arc::new(Connection {
            gateway: gateway.try_clone()?,
            asked: AtomicUsize::new(0),
            stopped: AtomicBool::new(false),
            held: AtomicBool::new(false),
            ended: AtomicBool::new(false),
        });
        lock(&self.connections).push(Arc::clone(&connection));
        let (from, to) = (server.try_clone()?, gateway.try_clone()?);
        let answering = Arc::clone(&connection);
        thread::spawn(move || answering.pass_answers(from, to));
        thread::spawn(move || connection.pass_questions(gateway, server));
        Ok(())
    }
}

impl Connection {
    fn pass_answers(&self, mut server: UnixStream, mut gateway: UnixStream) {
        let mut bytes = [0; 4096];
        while let Ok(read @ 1..) = server.read(&mut bytes) {
            while self.held.load(Relaxed) {
                thread::sleep(Duration::from_millis(1));
            }
            if gateway.write_all(&bytes[..read]).is_err() {
                break;
            }
        }
        let _ = gateway.shutdown(Shutdown::Both);
    }

    fn pass_questions(&self, mut gateway: UnixStream, mut server: UnixStream) {
        let mut bytes = [0; 4096];
        while let Ok(read @ 1..) = gateway.read(&mut bytes) {
            self.asked.fetch_add(read, Relaxed);
            if !self.stopped.load(Relaxed) && server.write_all(&bytes[..read]).is_err() {
                break;
            }
        }
        let _ = server.shutdown(Shutdown::Both);
        self.ended.store(true, Relaxed);
    }

    /// How many bytes the gateway has sent.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Relaxed)
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Relaxed)
    }

    /// What is asked on it from now on comes nowhere.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Relaxed);
    }

    /// Keeps answers back, or lets them through.
    pub(crate) fn hold(&self, held: bool) {
        self.held.store(held, Relaxed);
    }

    /// Ends it.
    pub(crate) fn cut(&self) {
        let _ = self.gateway.shutdown(Shutdown::Both);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
