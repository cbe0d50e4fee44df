//! What the process takes from others and from itself: as other processes find it, and as a
//! confined thread does.

mod confined;
mod doctor;

use std::{
    fs,
    io::{self, BufRead, BufReader, Write},
    os::unix::{
        fs::{PermissionsExt, chown, fchown},
        process::{CommandExt, ExitStatusExt},
    },
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::harness::{Gateway, OPERATOR, Provider, request};

/// A user that owns nothing.
const STRANGER: u32 = 65_534;

/// A folder with the program and a configuration in it, all of it a user's.
pub struct Home {
    folder: TempDir,
    user: Option<u32>,
}

impl Home {
    /// Of a user without rights, if the tests may choose; else of the one that runs them.
    pub fn new() -> Self {
        let user = rustix::process::geteuid().is_root().then_some(STRANGER);
        let folder = tempfile::tempdir().expect("a folder");
        let home = Self { folder, user };
        fs::copy(env!("CARGO_BIN_EXE_keyferry"), home.program()).expect("a copy");
        let listeners = "listeners: [{bind: '127.0.0.1:0', resources: [gateway, admin, health]}]";
        fs::write(home.path().join("keyferry.yaml"), format!("data_dir: data\n{listeners}\n"))
            .expect("a file");
        for path in [home.path().to_owned(), home.program(), home.path().join("keyferry.yaml")] {
            chown(&path, user, user).expect("its owner");
        }
        home
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    fn program(&self) -> PathBuf {
        self.path().join("keyferry")
    }

    /// A command that its user runs here.
    pub fn run(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.path()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        for name in ["KEYFERRY_CONFIG", "KEYFERRY_URL", "KEYFERRY_TOKEN", "KEYFERRY_OPERATOR_TOKEN"] {
            command.env_remove(name);
        }
        if let Some(user) = self.user {
            command.uid(user).gid(user);
        }
        command
    }

    /// Has the database elsewhere.
    fn database(&self, path: &Path) {
        let file = self.path().join("keyferry.yaml");
        let before = fs::read_to_string(&file).expect("a file");
        let storage = format!("storage: {{url: 'sqlite://{}'}}\n", path.display());
        fs::write(&file, before + &storage).expect("a file");
    }

    /// The program, run by its user.
    pub fn keyferry(&self, arguments: &[&str]) -> Command {
        let mut command = self.run(self.program());
        command.args(arguments).args(["--config", "keyferry.yaml"]);
        command
    }
}

/// A process that is ended with the test.
pub struct Running {
    pub child: Child,
    pub url: String,
    /// What it said until it had started.
    pub said: String,
    lines: BufReader<std::process::ChildStderr>,
}

impl Running {
    /// Reads what it says until it says where it listens.
    fn wait_until_started(&mut self) {
        loop {
            let begin = self.said.len();
            let more = self.lines.read_line(&mut self.said).expect("text");
            assert!(more > 0, "it does not start: {}", self.said);
            if let Ok(line) = serde_json::from_str::<Value>(&self.said[begin..])
                && line["event"] == "started"
            {
                let listeners = line["listeners"].as_str().expect("listeners");
                listeners.trim_matches(['[', ']', '"']).clone_into(&mut self.url);
                return;
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts a gateway and waits until it says where it listens.
pub fn start(command: &mut Command) -> Running {
    let mut child = spawn(command);
    let lines = BufReader::new(child.stderr.take().expect("piped"));
    let mut running = Running { child, url: String::new(), said: String::new(), lines };
    running.wait_until_started();
    running
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Starts a command. Its program may be a copy that a child of another test still holds open.
pub fn spawn(command: &mut Command) -> Child {
    loop {
        match command.spawn() {
            Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy => {
                std::thread::sleep(Duration::from_millis(20));
            }
            started => return started.expect("it starts"),
        }
    }
}

fn output(command: &mut Command) -> Output {
    let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    spawn(command).wait_with_output().expect("it runs")
}

/// What `/proc` says about a process: one file of it.
fn proc(pid: u32, file: &str) -> String {
    fs::read_to_string(format!("/proc/{pid}/{file}")).expect("a process")
}

fn field(status: &str, name: &str) -> String {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("{name} in {status}")).trim().to_owned()
}

#[tokio::test]
async fn a_running_gateway_has_given_up_what_it_does_not_need() {
    let provider = Provider::right().await;
    let gateway = Gateway::before(&provider).await;
    let tasks = fs::read_dir(format!("/proc/{}/task", gateway.pid())).expect("threads");
    let threads: Vec<u32> = tasks
        .map(|task| task.expect("a thread").file_name().to_string_lossy().parse().expect("a number"))
        .collect();
    assert!(threads.len() > 1);
    for thread in threads {
        let status = proc(gateway.pid(), &format!("task/{thread}/status"));
        assert_eq!(field(&status, "NoNewPrivs"), "1", "{status}");
        assert_eq!(field(&status, "Seccomp"), "2", "{status}");
        let held = u64::from_str_radix(&field(&status, "CapEff"), 16).expect("a number");
        assert_eq!(held & !keyferry::harden::KEPT_CAPABILITIES.bits(), 0, "{status}");
        assert_eq!(field(&status, "CapInh"), "0000000000000000");
        assert_eq!(field(&status, "Umask"), "0077");
    }
    let limits = proc(gateway.pid(), "limits");
    let limit = |name: &str| -> Vec<String> {
        let line = limits.lines().find_map(|line| line.strip_prefix(name)).expect("a limit");
        line.split_whitespace().map(str::to_owned).collect()
    };
    assert_eq!(limit("Max core file size")[..2], ["0", "0"]);
    let locked = limit("Max locked memory");
    assert_eq!(locked[0], locked[1], "all that the system allows");
    let log = gateway.log();
    let said = log.lines().find(|line| line.contains("\"event\":\"confined\"")).unwrap_or_else(|| {
        log.lines().find(|line| line.contains("\"event\":\"not_confined\"")).expect("it says what holds")
    });
    let said: Value = serde_json::from_str(said).expect("JSON");
    assert_eq!(said["syscalls"], "whole", "{said}");
}

#[test]
fn another_process_of_the_same_user_cannot_look_into_it() {
    let home = Home::new();
    let gateway = start(&mut home.keyferry(&["serve"]));
    // A process that does not forbid it can be looked into: else the test would show nothing.
    let mut open = home.run("sleep");
    let mut control = open.arg("60").spawn().expect("it starts");
    let look = |pid: u32, file: &str| {
        let path = format!("/proc/{pid}/{file}");
        output(home.run("head").args(["-c", "0", &path]))
    };
    for file in ["mem", "environ", "maps"] {
        assert!(
            look(control.id(), file).status.success(),
            "{file}: {}",
            text(&look(control.id(), file).stderr)
        );
        let refused = look(gateway.child.id(), file);
        assert!(!refused.status.success() && text(&refused.stderr).contains("Permission denied"), "{file}");
    }
    let _ = control.kill();
    let _ = control.wait();
    let core = home.path().join("core");
    let mut gcore = home.run("gcore");
    gcore.arg("-o").arg(&core).arg(gateway.child.id().to_string());
    match gcore.output() {
        Ok(refused) => assert!(!refused.status.success(), "{}", text(&refused.stdout)),
        Err(_) => eprintln!("gcore is not installed: not tried"),
    }
    let cores = fs::read_dir(home.path()).expect("a folder").filter_map(Result::ok);
    assert_eq!(cores.filter(|entry| entry.file_name().to_string_lossy().starts_with("core")).count(), 0);
}

#[test]
fn a_command_that_waits_for_a_key_cannot_be_looked_into() {
    let home = Home::new();
    let mut add = home.run(home.program());
    add.args(["credential", "add", "--tenant", "acme", "--provider", "openai"]).stdin(Stdio::piped());
    let mut child = spawn(&mut add);
    let deadline = Instant::now() + Duration::from_secs(10);
    while field(&proc(child.id(), "status"), "NoNewPrivs") != "1" {
        assert!(Instant::now() < deadline, "it is not hardened");
        std::thread::sleep(Duration::from_millis(5));
    }
    let refused = output(home.run("head").args(["-c", "0", &format!("/proc/{}/mem", child.id())]));
    assert!(text(&refused.stderr).contains("Permission denied"), "{}", text(&refused.stderr));
    let _ = child.kill();
    let _ = child.wait();
}

#[test]
fn a_limit_that_most_secrets_do_not_fit_into_is_warned_of() {
    let home = Home::new();
    let limited = |kib: &str| {
        let mut shell = home.run("sh");
        shell.args(["-c", &format!("ulimit -l {kib} && exec ./keyferry serve --config keyferry.yaml")]);
        start(&mut shell).said.clone()
    };
    let said = limited("64");
    assert!(said.contains("\"event\":\"secrets_not_locked\""), "{said}");
    assert!(!said.contains("\"event\":\"secrets_locked\""), "{said}");
    let said = limited("1024");
    assert!(said.contains("\"event\":\"secrets_locked\""), "{said}");
}

#[test]
fn a_database_that_a_link_leads_to_is_made_where_it_leads() {
    let home = Home::new();
    let there = home.path().join("there");
    fs::create_dir(&there).expect("a folder");
    chown(&there, home.user, home.user).expect("its owner");
    std::os::unix::fs::symlink(there.join("new.db"), home.path().join("link.db")).expect("a link");
    home.database(&home.path().join("link.db"));
    drop(start(&mut home.keyferry(&["serve"])));
    assert!(there.join("new.db").exists());
}

#[test]
fn a_database_among_what_belongs_to_others_is_warned_of() {
    let home = Home::new();
    let database = PathBuf::from(format!("/tmp/keyferry-test-{}.db", std::process::id()));
    home.database(&database);
    let gateway = start(&mut home.keyferry(&["serve"]));
    let said = gateway.said.clone();
    drop(gateway);
    for ending in ["db", "db-wal", "db-shm", "lock"] {
        let _ = fs::remove_file(database.with_extension(ending));
    }
    let line = said.lines().find(|line| line.contains("\"event\":\"folder_shared\""));
    assert!(line.is_some_and(|line| line.contains("\"/tmp\"")), "{said}");
    let doctor = text(&output(&mut home.keyferry(&["doctor"])).stdout);
    assert!(doctor.lines().any(|line| line.starts_with("warn  database_folder")), "{doctor}");
}

#[test]
fn a_crash_leaves_no_core() {
    let home = Home::new();
    let mut shell = home.run("sh");
    shell.args(["-c", "ulimit -S -c $(ulimit -H -c); exec ./keyferry serve --config keyferry.yaml"]);
    let mut gateway = start(&mut shell);
    let pid = rustix::process::Pid::from_child(&gateway.child);
    rustix::process::kill_process(pid, rustix::process::Signal::ABORT).expect("it runs");
    let ended = gateway.child.wait().expect("it ends");
    assert_eq!(ended.signal(), Some(6));
    assert!(!ended.core_dumped());
    for folder in [home.path().to_owned(), home.path().join("data")] {
        for entry in fs::read_dir(folder).expect("a folder") {
            let name = entry.expect("an entry").file_name().to_string_lossy().into_owned();
            assert!(!name.starts_with("core"), "{name}");
        }
    }
}

#[tokio::test]
async fn the_operators_token_comes_from_a_file_or_a_descriptor() {
    let home = Home::new();
    let file = home.path().join("operator");
    fs::write(&file, format!("{OPERATOR}\n")).expect("a file");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("a mode");
    for (path, input) in [("operator", ""), ("/dev/fd/0", OPERATOR), ("/proc/self/fd/0", OPERATOR)] {
        let _ = fs::remove_dir_all(home.path().join("data"));
        let (reader, mut writer) = std::io::pipe().expect("a pipe");
        // As if its user had made it: a descriptor is opened anew, with the rights of whoever opens it.
        fchown(&reader, home.user, home.user).expect("its owner");
        writer.write_all(input.as_bytes()).expect("it fits");
        drop(writer);
        let mut serve = home.keyferry(&["serve"]);
        let gateway = start(serve.env("KEYFERRY_OPERATOR_TOKEN_FILE", path).stdin(reader));
        let bearer = format!("Bearer {OPERATOR}");
        let tenants = format!("{}/api/v1/tenants", gateway.url);
        request("GET", &tenants, &[("authorization", &bearer)], b"").await.expect(200);
        request("GET", &tenants, &[("authorization", "Bearer wrong")], b"").await.expect(401);
        // Root may look.
        if let Ok(environment) = fs::read(format!("/proc/{}/environ", gateway.child.id())) {
            assert!(!text(&environment).contains(OPERATOR), "{path}");
        }
    }
}

#[test]
fn a_token_that_is_given_twice_or_not_at_all_refuses_the_start() {
    let home = Home::new();
    let empty = home.path().join("empty");
    fs::write(&empty, "\n").expect("a file");
    fs::set_permissions(&empty, fs::Permissions::from_mode(0o644)).expect("a mode");
    let file = "KEYFERRY_OPERATOR_TOKEN_FILE";
    for (environment, said) in [
        (&[(file, "empty")][..], "nothing came from empty"),
        (&[(file, "not-there")], "cannot read not-there"),
        (&[(file, "empty"), ("KEYFERRY_OPERATOR_TOKEN", OPERATOR)], "are both set"),
    ] {
        let refused = output(home.keyferry(&["serve"]).envs(environment.iter().copied()));
        assert_eq!(refused.status.code(), Some(1), "{environment:?}");
        assert!(text(&refused.stderr).contains(said), "{said}: {}", text(&refused.stderr));
        assert!(!home.path().join("data").exists(), "nothing is made before all is checked");
    }
}
