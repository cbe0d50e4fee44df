//! Keys in every place and every wrong place, each of them unique; afterwards no piece of one is found anywhere.

mod control_plane;
mod data_plane;
mod document;
mod echoes;
mod offsets;
mod program;
mod search;

use std::{collections::HashMap, path::Path, sync::Mutex, time::Duration};

use keyferry_envelope::{Entropy, SystemEntropy};
use serde_json::{Value, json};
use tokio::time::timeout;

use self::search::Search;
use crate::{
    harness::{Answer, Connection, Gateway, Options, Provider, Seen, Tenant, command, request},
    ingress::UNLIMITED,
};

/// The usual beginnings of keys, each shorter than what is looked for: what all keys share is no piece of one.
const PREFIXES: [&str; 4] = ["sk-proj-", "sk-ant-", "AIzaSy", "gsk_"];

/// Random letters and digits.
fn random(length: usize) -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyzABCDEF23";
    let mut bytes = vec![0; length];
    SystemEntropy.fill(&mut bytes);
    bytes.iter().map(|byte| char::from(ALPHABET[usize::from(byte % 32)])).collect()
}

/// A gateway in which keys are lost on purpose, and all that came out of it.
struct Waters {
    gateway: Gateway,
    provider: Provider,
    tenant: Tenant,
    /// Each key and the way it went in.
    keys: Mutex<Vec<(String, String)>>,
    /// Each answer and what was asked.
    answers: Mutex<Vec<(String, Vec<u8>)>>,
}

impl Waters {
    async fn open() -> Self {
        Self::before(Provider::right().await).await
    }

    async fn before(provider: Provider) -> Self {
        let gateway = Gateway::start(
            Options::to(&provider).yaml(&UNLIMITED.replace("byok: {", "byok: {session: true, ")),
        )
        .await;
        let key = format!("sk-proj-{}", random(40));
        let tenant = gateway.tenant_with_key("openai", &key).await;
        let keys = Mutex::new(vec![("stored at the beginning".to_owned(), key)]);
        Self { gateway, provider, tenant, keys, answers: Mutex::default() }
    }

    /// A new key of some usual shape, to be lost in this way.
    fn key(&self, way: &str) -> String {
        let count = self.keys.lock().expect("not poisoned").len();
        self.key_like(way, PREFIXES[count % PREFIXES.len()])
    }

    /// A new key that begins like this.
    fn key_like(&self, way: &str, prefix: &str) -> String {
        let key = format!("{prefix}{}", random(40));
        self.keys.lock().expect("not poisoned").push((way.to_owned(), key.clone()));
        key
    }

    /// Keeps something that came out.
    fn keep(&self, what: &str, answer: Vec<u8>) {
        self.answers.lock().expect("not poisoned").push((what.to_owned(), answer));
    }

    /// Sends bytes on a connection of their own and keeps all that comes back.
    async fn say(&self, what: &str, bytes: &[u8]) -> Vec<u8> {
        let mut connection = Connection::open(self.gateway.port()).await;
        let _ = connection.try_send(bytes).await;
        let answer = timeout(Duration::from_secs(10), connection.rest()).await;
        let answer = answer.unwrap_or_else(|_| panic!("{what}: the connection stays open"));
        self.keep(what, answer.clone());
        answer
    }

    /// A request that ends its connection.
    async fn ask(&self, what: &str, line: &str, headers: &[(&str, &str)], body: &str) -> Vec<u8> {
        let mut text = format!("{line} HTTP/1.1\r\nhost: gw.example\r\nconnection: close\r\n");
        for (name, value) in headers {
            text.extend([name, ": ", value, "\r\n"]);
        }
        if !body.is_empty() || line.starts_with("POST") || line.starts_with("PATCH") {
            text.extend(["content-length: ", &body.len().to_string(), "\r\n"]);
        }
        self.say(what, format!("{text}\r\n{body}").as_bytes()).await
    }

    /// What a program printed.
    fn run(&self, what: &str, arguments: &[&str], env: &[(&str, &str)], input: &[u8]) {
        self.keep(what, printed(arguments, env, input));
    }

    /// Everything that can be seen of the gateway, by place.
    async fn everything(&self) -> Vec<(String, Vec<u8>)> {
        let mut places: Vec<(String, Vec<u8>)> = self.answers.lock().expect("not poisoned").clone();
        let metrics = request("GET", &format!("{}/metrics", self.gateway.metrics_url()), &[], b"").await;
        places.push(("metrics".to_owned(), metrics.expect(200).body));
        let config = self.gateway.config().display().to_string();
        places
            .push(("audit export".to_owned(), printed(&["audit", "export", "--config", &config], &[], b"")));
        let tenants = self.gateway.operator("GET", "/tenants?limit=1000", &Value::Null).await.expect(200);
        places.push(("tenants".to_owned(), tenants.body.clone()));
        for tenant in tenants.json()["data"].as_array().expect("a list") {
            let tenant = tenant["id"].as_str().expect("an id");
            for list in [
                "credentials",
                "tokens",
                "issuers",
                "usage",
                "usage/requests?limit=1000",
                "usage/requests?limit=1000&format=jsonl",
                "budget",
                "audit?limit=1000",
                "audit?limit=1000&format=jsonl",
            ] {
                let path = format!("/tenants/{tenant}/{list}");
                let reply = self.gateway.operator("GET", &path, &Value::Null).await;
                places.push((format!("list of {list}"), reply.body));
            }
        }
        for name in ["cmdline", "environ"] {
            let path = format!("/proc/{}/{name}", self.gateway.pid());
            places.push((name.to_owned(), std::fs::read(path).expect("the process runs")));
        }
        files(&self.gateway.dir().join("data"), &mut places);
        places.push(("log".to_owned(), self.gateway.log().into_bytes()));
        places
    }

    /// No piece of any key stands anywhere, neither while the gateway runs nor after it has ended.
    async fn assert_clean(mut self) {
        let keys = self.keys.lock().expect("not poisoned").clone();
        let search = Search::new(keys.iter().map(|(way, key)| (way.as_str(), key.as_str())));
        let mut places = self.everything().await;
        self.gateway.sigterm_and_wait().await;
        files(&self.gateway.dir().join("data"), &mut places);
        places.push(("log after the end".to_owned(), self.gateway.log().into_bytes()));
        assert!(places.iter().any(|(place, text)| place.ends_with("keyferry.db") && !text.is_empty()));
        let spoken = places
            .iter()
            .any(|(place, text)| place == "cmdline" && String::from_utf8_lossy(text).contains("trace"));
        assert!(spoken, "the log is not as talkative as it can be");
        search.assert_clean(places.iter().map(|(place, text)| (place.clone(), text.as_slice())));
    }
}

/// Standard output and standard error of a command.
fn printed(arguments: &[&str], env: &[(&str, &str)], input: &[u8]) -> Vec<u8> {
    use std::{io::Write, process::Stdio};
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = command();
    command.args(arguments).envs(env.iter().copied()).current_dir(folder.path());
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let _ = child.stdin.take().expect("piped").write_all(input);
    let output = child.wait_with_output().expect("the program ends");
    [output.stdout, output.stderr].concat()
}

/// Every file below a folder.
fn files(folder: &Path, places: &mut Vec<(String, Vec<u8>)>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files(&path, places);
        } else if let Ok(bytes) = std::fs::read(&path) {
            places.push((path.display().to_string(), bytes));
        }
    }
}

/// The key of a provider's request.
fn key_of(seen: &Seen) -> String {
    let slots = ["authorization", "x-api-key", "x-goog-api-key"];
    let value =
        slots.iter().map(|name| seen.header(name)).find(|value| !value.is_empty()).unwrap_or_default();
    value.strip_prefix("Bearer ").unwrap_or(value).to_owned()
}

#[tokio::test]
async fn what_is_planted_is_found_in_every_place_that_is_searched() {
    let waters = Waters::before(
        Provider::start(|seen| Answer::json(400, &json!({"said": seen.header("user-agent")}))).await,
    )
    .await;
    let planted: HashMap<&str, String> =
        ["tenant", "name", "model", "answer"].map(|what| (what, format!("planted-{}", random(30)))).into();
    let id = &planted["tenant"];
    waters.gateway.tenant(id).await;
    waters.gateway.store(id, "openai", &format!("sk-{}", random(40))).await;
    let token = waters.gateway.token(id, &json!({"role": "tenant_admin", "name": planted["name"]})).await;
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str()), ("user-agent", planted["answer"].as_str())];
    let body = json!({"model": planted["model"]}).to_string();
    waters.ask("an answer", "POST /openai/v1/chat/completions", &headers, &body).await;
    let headers = [("authorization", bearer.as_str()), ("x-byok-key", "sk-0123456789")];
    waters.ask("a test", "POST /api/v1/keys/test", &headers, r#"{"provider": "openai"}"#).await;
    waters.gateway.usage_row(id, 1).await;

    let search = Search::new(planted.iter().map(|(what, text)| (*what, text.as_str())));
    let places = waters.everything().await;
    let holds = |place: &str, what: &str| {
        let texts = places.iter().filter(|(name, _)| name.contains(place));
        texts.into_iter().any(|(_, text)| search.find(text).iter().any(|found| found.starts_with(what)))
    };
    for (place, what) in [
        ("an answer", "answer"),
        ("audit export", "tenant"),
        ("audit export", "name"),
        ("tenants", "tenant"),
        ("list of tokens", "name"),
        ("list of usage/requests", "model"),
        ("keyferry.db", "tenant"),
        ("log", "tenant"),
    ] {
        assert!(holds(place, what), "{what} is not found in {place}");
    }
    assert!(!holds("cmdline", "tenant"));
}
