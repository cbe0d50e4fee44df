//! The real program, as a process in a folder of its own.

use std::{
    fmt::Write as _,
    io::Read,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, mpsc},
    thread::JoinHandle,
    time::Duration,
};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use super::{
    PATIENCE, Provider,
    client::{self, Reply},
    until,
};

/// The operator's token of every gateway here.
pub const OPERATOR: &str = "operator-token-of-the-tests";

/// The hosts of the providers that are built in.
const HOSTS: [&str; 3] = ["api.openai.com", "api.anthropic.com", "generativelanguage.googleapis.com"];

/// How a gateway is started.
#[derive(Clone, Default)]
pub struct Options {
    yaml: String,
    upstream: Vec<String>,
    dial: Vec<(String, SocketAddr, bool)>,
    env: Vec<(String, String)>,
    resources: Option<String>,
    quiet: bool,
    /// Another program than the one that was built for the tests.
    pub binary: Option<PathBuf>,
}

impl Options {
    /// Every built-in provider is this one, without TLS.
    pub fn to(provider: &Provider) -> Self {
        HOSTS.iter().fold(Self::default(), |options, host| options.dial(host, provider.address, true))
    }

    /// A host is dialled here.
    pub fn dial(mut self, host: &str, address: SocketAddr, plaintext: bool) -> Self {
        self.dial.retain(|(known, ..)| known != host);
        self.dial.push((host.to_owned(), address, plaintext));
        self
    }

    /// A line below `upstream:`, such as `idle_timeout: 1s`.
    pub fn upstream(mut self, line: &str) -> Self {
        self.upstream.push(line.to_owned());
        self
    }

    /// More of the configuration, from the first column on (not `upstream:`, `listeners:` or `data_dir:`).
    pub fn yaml(mut self, text: &str) -> Self {
        self.yaml.push_str(text);
        self.yaml.push('\n');
        self
    }

    /// The `listeners:` section, instead of the two usual ones on free ports.
    pub fn listeners(mut self, text: &str) -> Self {
        self.resources = Some(text.to_owned());
        self
    }

    /// Logs less than everything, for tests that ask thousands of times.
    pub fn quiet(mut self) -> Self {
        self.quiet = true;
        self
    }

    /// An environment variable.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    fn write(&self, dir: &Path) -> String {
        let mut text = format!("data_dir: {}\n", dir.join("data").display());
        text.push_str(self.resources.as_deref().unwrap_or(
            "listeners:\n  - {bind: 127.0.0.1:0, resources: [gateway, admin, health]}\n  - {bind: 127.0.0.1:0, resources: [metrics, health]}\n",
        ));
        text.push_str("\nupstream:\n  connect_timeout: 2s\n");
        for line in &self.upstream {
            let _ = writeln!(text, "  {line}");
        }
        text.push_str("  dial:\n");
        for (host, address, plaintext) in &self.dial {
            let _ = writeln!(text, "    - {{host: {host}, address: \"{address}\", plaintext: {plaintext}}}");
        }
        if self.dial.is_empty() {
            text.push_str("    []\n");
        }
        text.push_str(&self.yaml);
        text
    }
}

/// The program, ready to be given a command.
pub fn command() -> Command {
    command_of(Path::new(env!("CARGO_BIN_EXE_keyferry")))
}

fn command_of(binary: &Path) -> Command {
    let mut command = Command::new(binary);
    for name in ["KEYFERRY_CONFIG", "KEYFERRY_URL", "KEYFERRY_TOKEN", "KEYFERRY_OPERATOR_TOKEN"] {
        command.env_remove(name);
    }
    command
}

/// A running gateway. It is killed when this is dropped.
pub struct Gateway {
    child: Child,
    folder: TempDir,
    binary: PathBuf,
    env: Vec<(String, String)>,
    level: &'static str,
    log: Arc<Mutex<Vec<u8>>>,
    /// Reads what the process writes until it has ended.
    reading: Option<JoinHandle<()>>,
    ports: Vec<u16>,
}

/// A tenant with a stored key and two tokens.
#[derive(Clone, Debug)]
pub struct Tenant {
    pub id: String,
    pub caller_token: String,
    pub admin_token: String,
    pub credential_id: String,
}

impl Gateway {
    /// Starts a gateway and waits until it is ready.
    pub async fn start(options: Options) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("keyferry.yaml"), options.write(folder.path())).expect("a file");
        let log = Arc::new(Mutex::new(Vec::new()));
        let level = if options.quiet { "info" } else { "trace" };
        let binary = options.binary.unwrap_or_else(|| env!("CARGO_BIN_EXE_keyferry").into());
        let (child, reading) = spawn(&binary, folder.path(), &options.env, level, &log);
        let (env, reading, ports) = (options.env, Some(reading), Vec::new());
        let mut gateway = Self { child, folder, binary, env, level, log, reading, ports };
        gateway.wait_until_ready(0).await;
        gateway
    }

    /// A gateway whose built-in providers are all this one.
    pub async fn before(provider: &Provider) -> Self {
        Self::start(Options::to(provider)).await
    }

    /// Reads the ports from the log, from `begin` on, and asks until the gateway is ready.
    async fn wait_until_ready(&mut self, begin: usize) {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(ports) = ports_in(&self.log_from(begin)) {
                self.ports = ports;
                let url = format!("{}/readyz", self.metrics_url());
                until("the gateway is ready", || async {
                    (client::request("GET", &url, &[], b"").await.status() == 200).then_some(())
                })
                .await;
                return;
            }
            if let Some(status) = self.child.try_wait().expect("a child") {
                panic!("the gateway ended with {status}: {}", self.log_end());
            }
            sleep(Duration::from_millis(5)).await;
        }
        panic!("the gateway does not start: {}", self.log_end());
    }

    /// The program, ready to be given a command, in the surroundings that this gateway has.
    pub fn command(&self) -> Command {
        let mut command = command_of(&self.binary);
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Writes another `kms:` section, of one line, for the next start and for commands.
    pub fn set_kms(&self, line: &str) {
        let text = std::fs::read_to_string(self.config()).expect("a configuration");
        let mut lines: Vec<&str> = text.lines().filter(|line| !line.starts_with("kms:")).collect();
        lines.push(line);
        std::fs::write(self.config(), lines.join("\n")).expect("written");
    }

    /// Where the data plane and the control plane are.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port())
    }

    /// Where metrics and health are.
    pub fn metrics_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.last().expect("a listener"))
    }

    /// The first listener's port.
    pub fn port(&self) -> u16 {
        self.ports[0]
    }

    /// Every listener's port, in order.
    pub fn ports(&self) -> &[u16] {
        &self.ports
    }

    /// The folder: `keyferry.yaml`, and `data` in it.
    pub fn dir(&self) -> &Path {
        self.folder.path()
    }

    /// The configuration file.
    pub fn config(&self) -> PathBuf {
        self.dir().join("keyferry.yaml")
    }

    /// The database.
    pub fn database(&self) -> PathBuf {
        self.dir().join("data/keyferry.db")
    }

    /// Nobody reads what the process writes until this is dropped.
    pub fn hold_log(&self) -> mpsc::Sender<()> {
        let (hold, let_go) = mpsc::channel();
        let (begins, begun) = mpsc::channel();
        let log = Arc::clone(&self.log);
        std::thread::spawn(move || {
            let _held = log.lock().expect("not poisoned");
            begins.send(()).expect("somebody waits");
            let _ = let_go.recv();
        });
        begun.recv().expect("it is held");
        hold
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything the gateway wrote so far, over all starts.
    pub fn log(&self) -> String {
        self.log_from(0)
    }

    /// The first line with all of these in it, when it is there: what was logged before an answer may be read after it.
    pub async fn logged(&self, parts: &[&str]) -> String {
        until(&format!("a line with {parts:?}"), || async {
            let log = self.log();
            log.lines().find(|line| parts.iter().all(|part| line.contains(part))).map(str::to_owned)
        })
        .await
    }

    fn log_from(&self, begin: usize) -> String {
        String::from_utf8_lossy(&self.log.lock().expect("not poisoned")[begin..]).into_owned()
    }

    /// The last lines of it.
    pub fn log_end(&self) -> String {
        let log = self.log();
        let lines: Vec<String> = log
            .lines()
            .filter(|line| !line.contains("sqlx"))
            .map(|line| line.chars().take(600).collect())
            .collect();
        lines[lines.len().saturating_sub(6)..].join("\n")
    }

    /// Calls the control plane as the operator; `path` is below `/api/v1`.
    pub async fn operator(&self, method: &str, path: &str, body: &Value) -> Reply {
        self.admin(OPERATOR, method, path, body).await
    }

    /// Calls the control plane with a token.
    pub async fn admin(&self, token: &str, method: &str, path: &str, body: &Value) -> Reply {
        let bearer = format!("Bearer {token}");
        let mut headers = vec![("authorization", bearer.as_str())];
        let bytes = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        if !bytes.is_empty() {
            headers.push(("content-type", "application/json"));
        }
        client::request(method, &format!("{}/api/v1{path}", self.url()), &headers, &bytes).await
    }

    /// Posts JSON to the data plane with a token in `Authorization`.
    pub async fn post(&self, token: &str, path: &str, headers: &[(&str, &str)], body: &Value) -> Reply {
        let bearer = format!("Bearer {token}");
        let headers = [&[("authorization", bearer.as_str())], headers].concat();
        client::post_json(&format!("{}{path}", self.url()), &headers, body).await
    }

    /// A short chat with OpenAI.
    pub async fn chat(&self, token: &str) -> Reply {
        self.post(
            token,
            "/openai/v1/chat/completions",
            &[],
            &json!({"model": "gpt-4.1-mini", "messages": []}),
        )
        .await
    }

    /// Makes a tenant for which bring-your-own-key is on.
    pub async fn tenant(&self, id: &str) {
        let body = json!({"id": id, "name": id, "byok_enabled": true});
        self.operator("POST", "/tenants", &body).await.expect(201);
    }

    /// Issues a token.
    pub async fn token(&self, tenant: &str, body: &Value) -> String {
        let issued = self.operator("POST", &format!("/tenants/{tenant}/tokens"), body).await.expect(201);
        issued.json()["token"].as_str().expect("a token").to_owned()
    }

    /// Stores a key; answers the id of the credential.
    pub async fn store(&self, tenant: &str, provider: &str, key: &str) -> String {
        let body = json!({"provider": provider, "api_key": key});
        let stored =
            self.operator("POST", &format!("/tenants/{tenant}/credentials"), &body).await.expect(201);
        stored.json()["id"].as_str().expect("an id").to_owned()
    }

    /// A new tenant with a stored key, a token for callers and one for its admin.
    pub async fn tenant_with_key(&self, provider: &str, key: &str) -> Tenant {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let id = format!("tenant-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        self.tenant(&id).await;
        Tenant {
            credential_id: self.store(&id, provider, key).await,
            caller_token: self.token(&id, &json!({"role": "caller"})).await,
            admin_token: self.token(&id, &json!({"role": "tenant_admin"})).await,
            id,
        }
    }

    /// The newest usage row of a tenant, when it has at least this many.
    pub async fn usage_row(&self, tenant: &str, count: usize) -> Value {
        until("the usage row", || async {
            let rows = self.operator("GET", &format!("/tenants/{tenant}/usage/requests"), &Value::Null).await;
            let rows = rows.expect(200).json()["data"].as_array().cloned().expect("rows");
            (rows.len() >= count).then(|| rows[0].clone())
        })
        .await
    }

    /// Asks the gateway to stop.
    pub fn sigterm(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it runs");
    }

    /// Waits until the process has ended.
    pub async fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status;
            }
            assert!(Instant::now() < deadline, "the gateway does not end: {}", self.log_end());
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Whether the process is no more.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("a child").is_some()
    }

    /// Asks the gateway to stop and waits until it has.
    pub async fn sigterm_and_wait(&mut self) -> ExitStatus {
        self.sigterm();
        self.wait().await
    }

    /// Kills the gateway, as a crash would.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // Its last words must not come between those of the next one.
        if let Some(reading) = self.reading.take() {
            let _ = reading.join();
        }
    }

    /// Starts the gateway again in the same folder, after it ended or after killing it. The ports
    /// may be others.
    pub async fn restart(&mut self) {
        self.kill();
        let begin = self.log.lock().expect("not poisoned").len();
        let (child, reading) = spawn(&self.binary, self.folder.path(), &self.env, self.level, &self.log);
        (self.child, self.reading) = (child, Some(reading));
        self.wait_until_ready(begin).await;
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.kill();
    }
}

fn spawn(
    binary: &Path,
    dir: &Path,
    env: &[(String, String)],
    level: &str,
    log: &Arc<Mutex<Vec<u8>>>,
) -> (Child, JoinHandle<()>) {
    let mut command = command_of(binary);
    command
        .args(["serve", "--log-level", level, "--config"])
        .arg(dir.join("keyferry.yaml"))
        .current_dir(dir)
        .env("KEYFERRY_OPERATOR_TOKEN", OPERATOR)
        .envs(env.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    let mut stderr = child.stderr.take().expect("piped");
    let log = Arc::clone(log);
    let reading = std::thread::spawn(move || {
        let mut bytes = [0; 16 * 1024];
        while let Ok(length @ 1..) = stderr.read(&mut bytes) {
            log.lock().expect("not poisoned").extend_from_slice(&bytes[..length]);
        }
    });
    (child, reading)
}

/// The ports of the line that says where the gateway listens.
fn ports_in(log: &str) -> Option<Vec<u16>> {
    let line = log.lines().find(|line| line.contains("\"event\":\"started\"") && line.ends_with('}'))?;
    let line: Value = serde_json::from_str(line).ok()?;
    let listeners = line["listeners"].as_str()?;
    let port = |address: &str| address.trim_matches(['"', ' ']).rsplit(':').next()?.parse().ok();
    Some(listeners.trim_matches(['[', ']']).split(',').filter_map(port).collect())
}
