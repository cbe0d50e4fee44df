//! A PostgreSQL on a free port of loopback, in a folder of its own, gone with the process that started it.

use std::{
    fs,
    io::{self, Write},
    net::{Ipv4Addr, TcpListener},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rcgen::{CertificateParams, KeyPair};
use rustix::process::{Pid, Signal, kill_process};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor, PgConnection, postgres::PgConnectOptions};

use crate::programs::Programs;

const USER: &str = "keyferry";
/// With what a URL must escape.
const PASSWORD: &str = "not: a@secret/";
const ESCAPED: &str = "not%3A%20a%40secret%2F";

/// Keeps the server until its own input ends, which is when the process of the test ends, however it
/// does. A line makes it stop the server, or start it, or both; the folder goes last.
const WATCHER: &str = r#"
folder=$1
shift
start() { "$@" </dev/null >>"$folder/log" 2>&1 & server=$!; }
start "$@"
while read -r line; do
    if [ "$line" != start ]; then
        kill -INT $server
        wait $server
    fi
    if [ "$line" != stop ]; then start "$@"; fi
done
kill -QUIT $server
wait $server
rm -rf "$folder"
"#;

/// A server.
pub struct Postgres {
    folder: PathBuf,
    port: u16,
    watcher: Child,
    input: Option<ChildStdin>,
    databases: AtomicU32,
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.signal(Signal::CONT);
        drop(self.input.take());
        let _ = self.watcher.wait();
    }
}

impl Postgres {
    /// The server that all tests of a program share; or says that there is none, for `test`.
    pub async fn shared(test: &str) -> Option<&'static Self> {
        static SHARED: OnceLock<Option<Postgres>> = OnceLock::new();
        let server = SHARED.get_or_init(|| Self::begin(&["max_connections=200"]));
        let server = server.as_ref().or_else(|| skipped(test))?;
        server.ready().await;
        Some(server)
    }

    /// A server of one test, with settings of its own.
    pub async fn alone(test: &str, settings: &[&str]) -> Option<Self> {
        let server = Self::begin(settings).or_else(|| skipped(test))?;
        server.ready().await;
        Some(server)
    }

    fn begin(settings: &[&str]) -> Option<Self> {
        let programs = Programs::find()?;
        let folder = tempfile::tempdir().expect("a folder").keep();
        programs.give(&folder);
        certify(&folder, &programs);
        let password = folder.join("password");
        write_private(&password, PASSWORD, &programs);
        let made = programs
            .command("initdb")
            .args(["--username", USER, "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync"])
            .arg("--pwfile")
            .arg(password)
            .arg(folder.join("data"))
            .output()
            .expect("initdb starts");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
        let port = port.expect("a free port").port();
        let mut watcher = Self::command(&programs, &folder, port, settings)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell");
        let input = watcher.stdin.take();
        Some(Self { folder, port, watcher, input, databases: AtomicU32::new(0) })
    }

    fn command(programs: &Programs, folder: &Path, port: u16, settings: &[&str]) -> Command {
        let mut command = programs.command("sh");
        command.args(["-c", WATCHER, "watcher"]).arg(folder).arg(programs.path("postgres"));
        command.arg("-D").arg(folder.join("data"));
        let socket = format!("unix_socket_directories={}", folder.display());
        let port = format!("port={port}");
        let key = format!("ssl_key_file={}", folder.join("key.pem").display());
        let certificate = format!("ssl_cert_file={}", folder.join("ca.pem").display());
        let own = [
            &port,
            "listen_addresses=127.0.0.1",
            &socket,
            "ssl=on",
            &key,
            &certificate,
            // Whatever is lost when the machine stops, the test is too.
            "fsync=off",
            "shared_buffers=16MB",
        ];
        for setting in own.iter().chain(settings) {
            command.args(["-c", setting]);
        }
        command
    }

    /// Waits until it answers.
    pub async fn ready(&self) {
        let begun = Instant::now();
        while self.connect("postgres").await.is_err() {
            assert!(begun.elapsed() < Duration::from_secs(60), "it does not answer:\n{}", self.log());
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// What it wrote to its log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// The URL of a new database.
    pub async fn new_database(&self) -> String {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let mut connection = self.connect("postgres").await.expect("it answers");
        let create = AssertSqlSafe(format!("CREATE DATABASE {name}"));
        connection.execute(create).await.expect("a database");
        connection.close().await.expect("closed");
        self.url(&name)
    }

    /// The URL of a database.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://{USER}:{ESCAPED}@127.0.0.1:{}/{database}", self.port)
    }

    /// The same by the way of a Unix socket.
    pub fn socket_url(&self, database: &str) -> String {
        let (folder, port) = (self.folder.display(), self.port);
        format!("postgres:///{database}?host={folder}&port={port}&user={USER}&password={ESCAPED}")
    }

    /// What its certificate is checked by; it is for `localhost` alone.
    pub fn ca(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// A connection of the test's own.
    pub async fn connect(&self, database: &str) -> Result<PgConnection, sqlx::Error> {
        self.url(database).parse::<PgConnectOptions>()?.connect().await
    }

    /// Stops it where it is: its port stays open, and nobody answers.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Ends it and starts it again.
    pub async fn restart(&mut self) {
        let before = self.pid();
        self.tell("again");
        self.wait_for(|pid| pid.is_some() && pid != before);
        self.ready().await;
    }

    /// Ends it, until it is started.
    pub fn stop(&mut self) {
        self.tell("stop");
        self.wait_for(|pid| pid.is_none());
    }

    /// Starts it after it was stopped.
    pub async fn start(&mut self) {
        self.tell("start");
        self.wait_for(|pid| pid.is_some());
        self.ready().await;
    }

    fn tell(&mut self, word: &str) {
        let input = self.input.as_mut().expect("a watcher");
        input.write_all(format!("{word}\n").as_bytes()).expect("it listens");
    }

    fn wait_for(&self, is_so: impl Fn(Option<Pid>) -> bool) {
        let begun = Instant::now();
        while !is_so(self.pid()) {
            assert!(
                begun.elapsed() < Duration::from_secs(60),
                "it does not do as it is told:\n{}",
                self.log()
            );
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn pid(&self) -> Option<Pid> {
        let file = fs::read_to_string(self.folder.join("data/postmaster.pid")).ok()?;
        Pid::from_raw(file.lines().next()?.parse().ok()?)
    }

    /// To the server and to each of its processes.
    fn signal(&self, signal: Signal) {
        let Some(server) = self.pid() else { return };
        // The server first: it starts no other process meanwhile.
        for process in [server].into_iter().chain(children(server)) {
            // One may have ended by itself.
            let _ = kill_process(process, signal);
        }
    }
}

fn children(parent: Pid) -> Vec<Pid> {
    let parent = parent.as_raw_nonzero().to_string();
    let processes = fs::read_dir("/proc").expect("processes").flatten();
    let is_child = |path: PathBuf| {
        let stat = fs::read_to_string(path.join("stat")).ok()?;
        // Behind the name, which may hold anything: the state, and then the parent.
        let (_, rest) = stat.rsplit_once(") ")?;
        (rest.split(' ').nth(1) == Some(&parent)).then_some(())
    };
    let numbered =
        processes.filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path())));
    numbered.filter_map(|(pid, path)| is_child(path).and_then(|()| Pid::from_raw(pid))).collect()
}

fn certify(folder: &Path, programs: &Programs) {
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec!["localhost".to_owned()]).expect("parameters");
    let certificate = params.self_signed(&key).expect("a certificate");
    write_private(&folder.join("key.pem"), &key.serialize_pem(), programs);
    write_private(&folder.join("ca.pem"), &certificate.pem(), programs);
}

fn write_private(path: &Path, content: &str, programs: &Programs) {
    fs::write(path, content).expect("written");
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("set");
    programs.give(path);
}

fn skipped<T>(test: &str) -> Option<T> {
    // Not by a macro: the test harness would keep it to itself.
    let _ = writeln!(io::stderr(), "skipped: {test}: PostgreSQL is not installed (postgresql)");
    None
}
