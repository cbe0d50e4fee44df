//! The sidecar: who may connect, what a frame may be, where its socket may lie, and that a key is
//! never sent in another way than sealed.

mod place;
mod sealed;

use std::{
    fs,
    io::{Read, Write},
    os::unix::{
        fs::{MetadataExt, PermissionsExt, chown},
        net::UnixStream,
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{Gateway, OPERATOR, Provider, a_key, command};

/// A gateway that nobody runs.
const NO_GATEWAY: &str = "http://127.0.0.1:1";

/// A stored key that nobody has.
const A_CREDENTIAL: &str = "cred_01k8zq5v7d3m9x2n4b6c8f0gth";

/// A running sidecar. It is killed when this is dropped.
struct Sidecar {
    child: Child,
    folder: TempDir,
}

impl Sidecar {
    /// Starts one with these options, and waits until it serves.
    fn start(gateway: &str, options: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("a mode");
        Self::start_in(folder, gateway, options)
    }

    fn start_in(folder: TempDir, gateway: &str, options: &[&str]) -> Self {
        let log = fs::File::create(folder.path().join("log")).expect("a file");
        let child = sidecar(folder.path(), gateway, options).stderr(log).spawn().expect("it starts");
        let mut sidecar = Self { child, folder };
        sidecar.wait_for("sidecar_started");
        sidecar
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("keys.sock")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).expect("a log")
    }

    fn wait_for(&mut self, event: &str) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !self.log().contains(event) {
            assert!(self.child.try_wait().expect("a child").is_none(), "it ended: {}", self.log());
            assert!(Instant::now() < deadline, "no {event}: {}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(self.socket()).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(15))).expect("a limit");
        stream
    }

    /// Sends bytes and reads the answer.
    fn send(&self, bytes: &[u8]) -> Value {
        let mut stream = self.connect();
        // Whoever may not ask is answered before it has written.
        let _ = stream.write_all(bytes);
        answer(&mut stream)
    }

    /// Asks for something, in a frame as it should be.
    fn ask(&self, request: &Value) -> Value {
        self.send(&frame(request.to_string().as_bytes()))
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).expect("it runs");
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The command, with its socket and its token in a folder.
fn sidecar(folder: &Path, gateway: &str, options: &[&str]) -> Command {
    let token = folder.join("token");
    if !token.exists() {
        keyferry_kms_testing::write_private(&token, OPERATOR);
    }
    let mut command = command();
    command.args(["sidecar", "--gateway", gateway, "--token-file"]).arg(token);
    command.arg("--socket").arg(folder.join("keys.sock")).args(options).current_dir(folder);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command
}

/// Runs one that is expected not to start, and answers what it says.
fn refused(folder: &Path, gateway: &str, options: &[&str]) -> String {
    let mut child = sidecar(folder, gateway, options).stderr(Stdio::piped()).spawn().expect("it starts");
    let deadline = Instant::now() + Duration::from_secs(10);
    while child.try_wait().expect("a child").is_none() {
        if Instant::now() > deadline {
            let _ = child.kill();
            panic!("it serves");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    text(&output.stderr)
}

fn frame(body: &[u8]) -> Vec<u8> {
    [&u32::try_from(body.len()).expect("short").to_be_bytes(), body].concat()
}

fn answer(stream: &mut UnixStream) -> Value {
    let mut head = [0; 4];
    stream.read_exact(&mut head).expect("an answer");
    let mut body = vec![0; u32::from_be_bytes(head) as usize];
    stream.read_exact(&mut body).expect("an answer");
    let mut rest = Vec::new();
    // What was sent and not read makes the kernel say "reset" after the answer.
    let _ = stream.read_to_end(&mut rest);
    assert!(rest.is_empty(), "one answer, then the end");
    serde_json::from_slice(&body).expect("JSON")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[track_caller]
fn is_refused(answer: &Value, code: &str) {
    assert_eq!((&answer["ok"], &answer["code"]), (&json!(false), &json!(code)), "{answer}");
}

fn a_test() -> Value {
    json!({"op": "test", "tenant": "acme", "credential": A_CREDENTIAL})
}

/// A credential test through the socket, by a user.
fn as_user(user: u32, group: u32, socket: &Path, program: &Path) -> Output {
    let mut command = Command::new(program);
    command.args(["credential", "test", "--tenant", "acme", A_CREDENTIAL, "--sidecar"]).arg(socket);
    command.uid(user).gid(group).stdout(Stdio::piped()).stderr(Stdio::piped());
    crate::harden::spawn(&mut command).wait_with_output().expect("it runs")
}

#[tokio::test]
async fn a_stored_key_is_tested_through_the_gateway() {
    let provider = Provider::right().await;
    let gateway = Gateway::before(&provider).await;
    let tenant = gateway.tenant_with_key("openai", &a_key("sk-")).await;
    let (url, id, credential) = (gateway.url(), tenant.id.clone(), tenant.credential_id.clone());
    let tested = tokio::task::spawn_blocking(move || {
        let sidecar = Sidecar::start(&url, &["--tenant", &id]);
        let answer = sidecar.ask(&json!({"op": "test", "credential": credential}));
        assert_eq!((&answer["ok"], &answer["status"]), (&json!(true), &json!("ok")), "{answer}");
        is_refused(
            &sidecar.ask(&json!({"op": "test", "tenant": "other", "credential": credential})),
            "forbidden",
        );
        is_refused(&sidecar.ask(&json!({"op": "test", "credential": A_CREDENTIAL})), "not_found");
        let mut command = command();
        command.args(["credential", "test", "--tenant", &id, &credential, "--json", "--sidecar"]);
        command.arg(sidecar.socket()).output().expect("it runs")
    });
    let tested = tested.await.expect("no panic");
    let said: Value = serde_json::from_slice(&tested.stdout).expect("JSON");
    assert_eq!((&said["status"], said.get("ok")), (&json!("ok"), None), "{said}");
}

#[test]
fn a_frame_that_is_none_is_refused() {
    let sidecar = Sidecar::start(NO_GATEWAY, &[]);
    let key = a_key("sk-proj-");
    for (bytes, code) in [
        (frame(b"{}"), "invalid_request"),
        (frame(b"[]"), "invalid_request"),
        (frame(&[0xff; 100]), "invalid_request"),
        (frame(format!("{{\"op\":\"{key}\"}}").as_bytes()), "invalid_request"),
        (
            frame(format!("{{\"op\":\"test\",\"tenant\":\"acme\",\"credential\":\"{key}/\"}}").as_bytes()),
            "invalid_request",
        ),
        (vec![0, 0, 0, 0], "invalid_request"),
        (vec![0, 0, 0x40, 1], "request_too_large"),
        (vec![0xff; 4], "request_too_large"),
        ([&[0xff, 0xff, 0xff, 0xff][..], &[b'x'; 4096]].concat(), "request_too_large"),
    ] {
        let answer = sidecar.send(&bytes);
        is_refused(&answer, code);
        assert!(!answer.to_string().contains(&key[8..]), "{answer}");
    }
    // The longest one is read.
    let mut longest = a_test().to_string().into_bytes();
    longest.resize(16 * 1024, b' ');
    is_refused(&sidecar.send(&frame(&longest)), "BYOK_SERVICE_UNAVAILABLE");
    // Who is still writing what is too long sees the answer, and not a connection that breaks.
    let mut long = sidecar.connect();
    long.write_all(&frame(&vec![b'x'; 4 << 20])).expect("it is taken");
    is_refused(&answer(&mut long), "request_too_large");
    let mut broken = sidecar.connect();
    broken.write_all(&frame(b"{}")[..5]).expect("it reads");
    broken.shutdown(std::net::Shutdown::Write).expect("it is open");
    is_refused(&answer(&mut broken), "invalid_request");
    assert!(!sidecar.log().contains(&key[8..]), "{}", sidecar.log());
    is_refused(&sidecar.ask(&a_test()), "BYOK_SERVICE_UNAVAILABLE");
}

#[test]
fn a_slow_writer_is_given_5_seconds_and_64_of_them_all_places() {
    let sidecar = Sidecar::start(NO_GATEWAY, &[]);
    let begun = Instant::now();
    let mut slow = sidecar.connect();
    let silent: Vec<UnixStream> = (0..63).map(|_| sidecar.connect()).collect();
    // A byte now and then does not make the time longer.
    let mut dripping = slow.try_clone().expect("the same socket");
    let drip = std::thread::spawn(move || {
        for byte in frame(&[b' '; 100]) {
            if dripping.write_all(&[byte]).is_err() {
                break;
            }
            std::thread::sleep(Duration::from_millis(500));
        }
    });
    let mut waiting = sidecar.connect();
    waiting.write_all(&frame(a_test().to_string().as_bytes())).expect("the kernel keeps it");
    waiting.set_read_timeout(Some(Duration::from_secs(1))).expect("a limit");
    assert!(waiting.read(&mut [0]).is_err(), "all places are taken");
    waiting.set_read_timeout(Some(Duration::from_secs(15))).expect("a limit");
    let refusal = answer(&mut slow);
    is_refused(&refusal, "invalid_request");
    assert!(
        refusal["detail"].as_str().is_some_and(|detail| detail.contains("within 5 seconds")),
        "{refusal}"
    );
    let took = begun.elapsed();
    assert!((Duration::from_millis(4900)..Duration::from_secs(8)).contains(&took), "{took:?}");
    is_refused(&answer(&mut waiting), "BYOK_SERVICE_UNAVAILABLE");
    drop(silent);
    drip.join().expect("no panic");
}

#[test]
fn only_whom_the_policy_names_is_served() {
    let own = rustix::process::geteuid().as_raw();
    let other = (own + 41).to_string();
    let sidecar = Sidecar::start(NO_GATEWAY, &["--allow-uid", &other]);
    // The owner reaches the socket, and is not named. What it sends is not read.
    is_refused(&sidecar.ask(&a_test()), "forbidden");
    is_refused(&sidecar.send(&[0xff; 4]), "forbidden");
    is_refused(&answer(&mut sidecar.connect()), "forbidden");
    assert!(sidecar.log().contains("\"event\":\"peer_refused\""), "{}", sidecar.log());
    assert!(!sidecar.log().contains("frame_refused"), "{}", sidecar.log());
    let own = own.to_string();
    let both = Sidecar::start(NO_GATEWAY, &["--allow-uid", &other, "--allow-uid", &own]);
    is_refused(&both.ask(&a_test()), "BYOK_SERVICE_UNAVAILABLE");
}

#[test]
fn the_file_system_lets_through_whom_the_policy_names() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("only root can become other users: not tried");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let program = folder.path().join("keyferry");
    fs::copy(env!("CARGO_BIN_EXE_keyferry"), &program).expect("a copy");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("a mode");
    let said = |output: &Output| text(&output.stderr);
    let closed = Sidecar::start(NO_GATEWAY, &[]);
    let output = as_user(50_001, 50_001, &closed.socket(), &program);
    assert!(said(&output).contains("Permission denied"), "{}", said(&output));
    let open = Sidecar::start(NO_GATEWAY, &["--allow-uid", "50001", "--allow-gid", "50009"]);
    for (user, group) in [(50_001, 50_001), (50_002, 50_009)] {
        let output = as_user(user, group, &open.socket(), &program);
        assert!(said(&output).contains("The gateway does not answer"), "{user} {group}: {}", said(&output));
    }
    for (user, group) in [(50_002, 50_001), (50_009, 50_002), (65_534, 65_534)] {
        let output = as_user(user, group, &open.socket(), &program);
        assert!(said(&output).contains("Permission denied"), "{user} {group}: {}", said(&output));
    }
    is_refused(&open.ask(&a_test()), "forbidden");
}

#[test]
fn sigterm_ends_it_and_takes_the_socket_away() {
    let mut sidecar = Sidecar::start(NO_GATEWAY, &[]);
    let mut under_way = sidecar.connect();
    let request = frame(a_test().to_string().as_bytes());
    under_way.write_all(&request[..10]).expect("it reads");
    std::thread::sleep(Duration::from_millis(100));
    sidecar.signal(rustix::process::Signal::TERM);
    sidecar.wait_for("draining");
    let deadline = Instant::now() + Duration::from_secs(5);
    while sidecar.socket().exists() {
        assert!(Instant::now() < deadline, "the socket stays");
        std::thread::sleep(Duration::from_millis(5));
    }
    under_way.write_all(&request[10..]).expect("it still reads");
    is_refused(&answer(&mut under_way), "BYOK_SERVICE_UNAVAILABLE");
    assert_eq!(sidecar.child.wait().expect("it ends").code(), Some(0), "{}", sidecar.log());
}

#[test]
fn it_is_hardened_like_the_gateway() {
    let sidecar = Sidecar::start(NO_GATEWAY, &[]);
    let status = fs::read_to_string(format!("/proc/{}/status", sidecar.child.id())).expect("a process");
    for line in ["NoNewPrivs:\t1", "Seccomp:\t2"] {
        assert!(status.contains(line), "{status}");
    }
    assert!(sidecar.log().contains("confined\""), "{}", sidecar.log());
}

#[test]
fn it_does_not_talk_to_strangers_in_plaintext() {
    let folder = tempfile::tempdir().expect("a folder");
    for gateway in ["http://gateway.example", "http://10.0.0.1:8484", "http://localhost:8484"] {
        assert!(refused(folder.path(), gateway, &[]).contains("loopback"), "{gateway}");
    }
    for gateway in ["gateway.example", "ftp://127.0.0.1", "https://gateway.example/path"] {
        assert!(refused(folder.path(), gateway, &[]).contains("--gateway"), "{gateway}");
    }
    assert!(!folder.path().join("keys.sock").exists());
}
