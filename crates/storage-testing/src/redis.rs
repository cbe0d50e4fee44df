//! A private Redis or Valkey: a process of its own on a Unix socket, gone when the test ends, also when that is killed.

use std::{
    env,
    fs::Permissions,
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Child, ChildStdin, Command, Stdio},
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use redis::{ConnectionLike, FromRedisValue};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// Databases of one server: each test takes one of its own.
const DATABASES: usize = 4096;

/// Runs the server, tells its process id, and kills it when the standard input ends: with the test, however that ends.
const WATCH: &str = r#""$@" </dev/null >/dev/null 2>&1 & echo $!; read -r _; kill -9 $!; wait"#;

/// A running server; killed when dropped.
pub struct RedisServer {
    program: PathBuf,
    options: Vec<String>,
    folder: TempDir,
    port: Option<u16>,
    running: Mutex<Option<Running>>,
}

struct Running {
    watch: Child,
    /// Closed to end it.
    input: Option<ChildStdin>,
    pid: Pid,
}

impl RedisServer {
    /// Starts one that forgets nothing while it runs and everything when it ends, or says on standard error that the
    /// test is skipped.
    pub fn start(test: &str) -> Option<Self> {
        Self::with(test, &[])
    }

    /// The same with more options.
    pub fn with(test: &str, options: &[&str]) -> Option<Self> {
        let program = program(test)?;
        let server = Self::made(program, options, None);
        assert!(server.run(), "the Redis server starts");
        Some(server)
    }

    /// One that listens on a free port of the loopback address as well; `{port}` in the options becomes this port.
    pub fn on_a_port(test: &str, options: &[&str]) -> Option<Self> {
        let program = program(test)?;
        // If somebody was faster with the port, it ends.
        for _ in 0..5 {
            let port =
                TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port").port();
            let server = Self::made(program.clone(), options, Some(port));
            if server.run() {
                return Some(server);
            }
        }
        panic!("the Redis server does not start");
    }

    fn made(program: PathBuf, options: &[&str], port: Option<u16>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::set_permissions(folder.path(), Permissions::from_mode(0o700)).expect("ours");
        let number = port.unwrap_or(0).to_string();
        let options = options.iter().map(|option| option.replace("{port}", &number)).collect();
        Self { program, options, folder, port, running: Mutex::default() }
    }

    /// Starts the process; `false` if it has ended instead of answering.
    fn run(&self) -> bool {
        let mut command = Command::new("sh");
        command.arg("-c").arg(WATCH).arg("watch").arg(&self.program);
        let takes_port = self.options.iter().any(|option| option == "--port");
        if !takes_port {
            command.arg("--port").arg(self.port.unwrap_or(0).to_string());
        }
        command
            .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .args(["--maxmemory-policy", "noeviction", "--databases", &DATABASES.to_string()])
            .args(["--repl-diskless-sync-delay", "0"])
            .arg("--unixsocket")
            .arg(self.socket())
            .arg("--dir")
            .arg(self.folder.path())
            .args(&self.options)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut watch = command.spawn().expect("a shell");
        let input = watch.stdin.take();
        let mut line = String::new();
        BufReader::new(watch.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
        let pid = line.trim().parse().ok().and_then(Pid::from_raw).expect("a process id");
        *self.running() = Some(Running { watch, input, pid });
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(10) {
            if self.is_answering() {
                return true;
            }
            if has_ended(pid) {
                break;
            }
            thread::sleep(Duration::from_millis(20));
        }
        self.kill();
        false
    }

    fn is_answering(&self) -> bool {
        // One that asks for a password answers too.
        let client = redis::Client::open(self.url(0)).expect("a URL");
        client.get_connection().is_ok_and(|mut connection| {
            let answer = redis::cmd("PING").query::<redis::Value>(&mut connection);
            answer.is_ok() || answer.is_err_and(|error| error.code() == Some("NOAUTH"))
        })
    }

    /// The path of its socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("redis.sock")
    }

    /// A folder that lives as long as it.
    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// Its port, if it has one.
    pub fn port(&self) -> u16 {
        self.port.expect("it listens on a port")
    }

    /// The URL of its socket.
    pub fn url(&self, db: usize) -> String {
        format!("unix://{}?db={db}", self.socket().display())
    }

    /// Kills it. What it knew is gone.
    pub fn kill(&self) {
        if let Some(running) = self.running().take() {
            end(running);
        }
    }

    /// Starts it again after it was killed.
    pub fn start_again(&self) {
        self.kill();
        assert!(self.run(), "the Redis server starts again");
    }

    /// Stops it where it is: its socket takes connections, and nobody answers.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn running(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn signal(&self, signal: Signal) {
        let running = self.running();
        kill_process(running.as_ref().expect("it runs").pid, signal).expect("it is there");
    }

    /// A connection of its own, without the gateway's code.
    pub fn client(&self, db: usize) -> RedisClient {
        let client = redis::Client::open(self.url(db)).expect("a URL");
        RedisClient(client.get_connection().expect("it answers"))
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Its parent, which waits for other things, has not taken notice yet.
fn has_ended(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    stat.is_ok_and(|stat| stat.contains(") Z "))
}

fn end(mut running: Running) {
    drop(running.input.take());
    let _ = running.watch.wait();
}

/// Asks a server.
pub struct RedisClient(redis::Connection);

impl RedisClient {
    /// Sends a command, as one would type it, and reads the answer.
    pub fn ask<T: FromRedisValue>(&mut self, command: &str) -> T {
        self.try_ask(command).unwrap_or_else(|error| panic!("{command}: {error}"))
    }

    /// The same where the server may refuse.
    pub fn try_ask<T: FromRedisValue>(&mut self, command: &str) -> redis::RedisResult<T> {
        let mut words = command.split(' ');
        let mut command = redis::cmd(words.next().unwrap_or_default());
        for word in words {
            command.arg(word);
        }
        command.query(&mut self.0)
    }

    /// One field of `INFO`.
    pub fn info(&mut self, section: &str, field: &str) -> Option<String> {
        let info: String = self.ask(&format!("INFO {section}"));
        info.lines().find_map(|line| Some(line.strip_prefix(field)?.strip_prefix(':')?.to_owned()))
    }

    /// Whether the connection still stands.
    pub fn is_open(&self) -> bool {
        self.0.is_open()
    }
}

/// A database of its own on the server that all tests of this process share: its URL. `None` where there is no server.
pub fn fresh_database(test: &str) -> Option<String> {
    static SHARED: OnceLock<Option<RedisServer>> = OnceLock::new();
    static NEXT: AtomicUsize = AtomicUsize::new(1);
    let Some(server) = SHARED.get_or_init(|| RedisServer::start(test)) else {
        program(test);
        return None;
    };
    let db = NEXT.fetch_add(1, Ordering::Relaxed);
    assert!(db < DATABASES, "there are more tests than databases");
    Some(server.url(db))
}

/// The server's program, or nothing and a word on standard error.
fn program(test: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    let found = ["redis-server", "valkey-server"]
        .iter()
        .flat_map(|name| env::split_paths(&path).map(move |folder| folder.join(name)))
        .find(|file| file.is_file());
    if found.is_none() {
        // Past the test harness, which would keep it to itself.
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED {test}: there is no `redis-server` and no `valkey-server` on the PATH"
        );
    }
    found
}
