//! A thousand mixed requests: every way to bring a key, and every way a request can end.

use std::{fs::Permissions, os::unix::fs::PermissionsExt, sync::Arc, time::Duration};

use aws_lc_rs::rand;
use base64::{Engine, engine::general_purpose::STANDARD};
use keyferry_core::{
    clock::{Clock, SystemClock},
    sealing::SealingKeyList,
};
use keyferry_envelope::{ApiKey, SealFor, SealPurpose, SecretBytes, SystemEntropy, seal_key};
use rustls::ServerConfig;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{
    harness::{Answer, Connection, Gateway, OPERATOR, Options, Provider, Seen, post_json, request},
    requests::{SESSION_KEY, ask, encrypted, own_slot},
};

/// How a request ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Case {
    Sync,
    Streamed,
    /// The client goes in the middle of a stream.
    Cancelled,
    /// The client goes before the answer begins.
    Abandoned,
    /// The provider quotes the key in its 401, in two spellings.
    Unauthorized,
    /// The same with a reflection of the whole header in a header, and no length.
    Reflected,
    RateLimited,
    ServerError,
    TimedOut,
    TooLarge,
    Redirected,
    Reset,
    /// The tenant's quota is used up.
    OverQuota,
    /// The gateway's token is wrong.
    Stranger,
    /// The request is malformed behind its key.
    Malformed,
}

use Case::{
    Abandoned, Cancelled, Malformed, OverQuota, RateLimited, Redirected, Reflected, Reset, ServerError,
    Stranger, Streamed, Sync, TimedOut, TooLarge, Unauthorized,
};

/// One round: mostly good requests, and each way to fail.
const ROUND: [Case; 25] = [
    Sync,
    Streamed,
    Sync,
    Unauthorized,
    Sync,
    Streamed,
    Cancelled,
    Sync,
    RateLimited,
    Streamed,
    Sync,
    TimedOut,
    Reflected,
    Sync,
    TooLarge,
    Streamed,
    Redirected,
    Sync,
    Reset,
    OverQuota,
    Streamed,
    Stranger,
    Malformed,
    ServerError,
    Abandoned,
];

impl Case {
    pub fn name(self) -> String {
        format!("{self:?}").to_ascii_lowercase()
    }

    /// What the client gets; `None` if it does not wait.
    pub fn status(self) -> Option<u16> {
        match self {
            Sync | Streamed => Some(200),
            Cancelled | Abandoned => None,
            Unauthorized | Reflected | Stranger => Some(401),
            RateLimited | OverQuota => Some(429),
            ServerError => Some(500),
            TimedOut => Some(504),
            TooLarge | Redirected | Reset => Some(502),
            Malformed => Some(400),
        }
    }
}

/// What stands where keys stand.
pub fn credential(seen: &Seen) -> String {
    ["authorization", "x-api-key", "x-goog-api-key"].map(|name| seen.header(name)).concat()
}

/// What the provider makes of a request: the case stands in the model's name.
fn script(seen: &Seen) -> Answer {
    let text = format!("{} {}", seen.target, String::from_utf8_lossy(&seen.body));
    let is = |case: Case| text.contains(&format!("case-{}", case.name()));
    let credential = credential(seen);
    let key = credential.trim_start_matches("Bearer ");
    if is(Cancelled) {
        Answer::events().chunk("data: {\"id\":\"1\",\"choices\":[]}\n\n").then_hang()
    } else if is(Abandoned) || is(TimedOut) {
        Answer::hang()
    } else if is(Unauthorized) {
        let encoded = STANDARD.encode(key);
        let message = format!("Incorrect API key provided: {key} ({encoded})");
        Answer::json(401, &json!({"error": {"message": message, "code": "invalid_api_key"}}))
    } else if is(Reflected) {
        let body = format!("{{\"error\":{{\"message\":\"{}\"}}}}", seen.header("authorization"));
        Answer::raw(format!("HTTP/1.1 401 No\r\nx-seen: {credential}\r\ntransfer-encoding: chunked\r\n\r\n"))
            .chunk(body)
            .end()
    } else if is(RateLimited) {
        Answer::with(429, &[("retry-after", "1"), ("content-type", "application/json")], b"{\"error\":{}}")
    } else if is(ServerError) {
        Answer::json(500, &json!({"error": {"message": "on purpose"}}))
    } else if is(TooLarge) {
        Answer::json(200, &json!({"text": "x".repeat(100_000)}))
    } else if is(Redirected) {
        Answer::redirect(302, "https://elsewhere.example/")
    } else if is(Reset) {
        Answer::reset()
    } else {
        Answer::right(seen)
    }
}

/// A provider's key: the usual beginning, and 40 random characters.
fn fresh_key(provider: &str) -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyzABCDEFGH";
    let mut random = [0; 40];
    rand::fill(&mut random).expect("random bytes");
    let text: String = random.iter().map(|byte| char::from(ALPHABET[usize::from(byte & 31)])).collect();
    let provider = PROVIDERS.iter().position(|&one| one == provider).expect("a provider");
    format!("{}{text}", PREFIXES[provider])
}

/// How many characters a key has in common with every other one of its provider.
pub fn common(key: &str) -> usize {
    PREFIXES.iter().find(|prefix| key.starts_with(**prefix)).map_or(0, |prefix| prefix.len())
}

const PROVIDERS: [&str; 3] = ["openai", "anthropic", "gemini"];
const PREFIXES: [&str; 3] = ["sk-proj-", "sk-ant-api03-", "AIzaSy"];

/// Provider, a key for it.
type Key = (&'static str, String);

/// A gateway in front of a provider, with tenants and keys.
pub struct Stage {
    pub gateway: Gateway,
    pub provider: Provider,
    /// A token, the provider it has a key stored for, and that key.
    pub held: Vec<(String, &'static str, String)>,
    pub carried: Vec<Key>,
    pub session: Vec<Key>,
    pub sealed: Vec<Key>,
    /// The platform's: from the configuration, or from a file that it names.
    pub platform: Vec<Key>,
    /// What the gateway publishes to seal to.
    list: SealingKeyList,
    /// Keys that came in bodies and are sealed or gone: rotated, refused.
    pub once: Vec<String>,
    /// A host in the configuration: a text that is known to be in memory.
    pub marker: String,
    poor: String,
    /// A token of a tenant without keys, whose requests the platform pays.
    pub paid: String,
}

impl Stage {
    /// Starts everything, with or without TLS to the provider, and stores `keys` keys; as many will be carried.
    pub async fn set(options: Options, tls: Option<Arc<ServerConfig>>, keys: usize) -> Self {
        let plaintext = tls.is_none();
        let provider = match tls {
            None => Provider::start(script).await,
            Some(config) => Provider::start_tls(config, script).await,
        };
        let marker = format!("{}.example", fresh_key("gemini").to_ascii_lowercase());
        let platform = PROVIDERS.map(|provider| (provider, fresh_key(provider)));
        let [(_, of_openai), (_, of_anthropic), (_, of_gemini)] = &platform;
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("anthropic.key");
        std::fs::write(&file, of_anthropic).expect("a file");
        std::fs::set_permissions(&file, Permissions::from_mode(0o600)).expect("mode");
        let options = options
            .yaml(&format!(
                "providers:
  marker: {{kind: openai-compatible, base_url: \"https://{marker}/v1\"}}
  openai: {{platform_key: {of_openai}}}
  anthropic: {{platform_key_file: {}}}
  gemini: {{platform_key: {of_gemini}}}
prices: {{openai/*: {ONE}, anthropic/*: {ONE}, gemini/*: {ONE}}}",
                file.display()
            ))
            .upstream("first_byte_timeout: 400ms")
            .upstream("max_response_bytes: 65536")
            .yaml(UNLIMITED)
            .quiet();
        let options =
            HOSTS.iter().fold(options, |options, host| options.dial(host, provider.address, plaintext));
        Self::furnish(options, provider, keys, (marker, platform.to_vec())).await
    }

    async fn furnish(
        options: Options,
        provider: Provider,
        keys: usize,
        (marker, platform): (String, Vec<Key>),
    ) -> Self {
        let gateway = Gateway::start(options).await;
        let mut held = Vec::new();
        for number in 0..keys.div_ceil(3) {
            let tenant = format!("tenant-{number}");
            gateway.tenant(&tenant).await;
            let token = gateway.token(&tenant, &json!({"role": "caller"})).await;
            for provider in PROVIDERS.into_iter().take(keys - held.len()) {
                let key = fresh_key(provider);
                gateway.store(&tenant, provider, &key).await;
                held.push((token.clone(), provider, key));
            }
        }
        let poor = json!({"id": "poor", "name": "poor", "byok_enabled": true, "daily_quota": 1});
        gateway.operator("POST", "/tenants", &poor).await.expect(201);
        let poor = gateway.token("poor", &json!({"role": "caller"})).await;
        let paid = json!({"id": "paid", "byok_enabled": true, "fallback": {"missing": true}, "budget_micro_usd": MUCH});
        gateway.operator("POST", "/tenants", &paid).await.expect(201);
        let paid = gateway.token("paid", &json!({"role": "caller"})).await;
        // Where this one's own key fails, the platform's goes to the provider after it.
        let falls_back =
            json!({"fallback": {"unauthorized": true, "server_error": true}, "budget_micro_usd": MUCH});
        gateway.operator("PATCH", "/tenants/tenant-0", &falls_back).await.expect(200);
        // As many as are stored come with requests, in five ways.
        let brought = |part: usize| {
            let provider = |number| PROVIDERS[number % 3];
            (0..keys * part / 5).map(provider).map(|provider| (provider, fresh_key(provider))).collect()
        };
        let url = format!("{}/api/v1/sealing-keys", gateway.url());
        let list = request("GET", &url, &[], b"").await.expect(200);
        Self {
            carried: brought(3),
            session: brought(1),
            sealed: brought(1),
            platform,
            list: SealingKeyList::parse(&list.body).expect("a list"),
            gateway,
            provider,
            held,
            once: Vec::new(),
            marker,
            poor,
            paid,
        }
    }

    /// Stores, rotates, tests and revokes a few more keys through the control plane; tests carried ones.
    pub async fn manage(&mut self) {
        let gateway = &self.gateway;
        for number in 0..6 {
            let keys = [fresh_key("openai"), fresh_key("openai"), fresh_key("openai")];
            let label = format!("label-{number}");
            let body = json!({"provider": "openai", "api_key": keys[0], "label": label});
            let stored = gateway.operator("POST", "/tenants/tenant-0/credentials", &body).await.expect(201);
            let path =
                format!("/tenants/tenant-0/credentials/{}", stored.json()["id"].as_str().expect("an id"));
            let rotated = json!({"api_key": keys[1]});
            gateway.operator("POST", &format!("{path}/rotate"), &rotated).await.expect(200);
            gateway.operator("POST", &format!("{path}/test"), &Value::Null).await.expect(200);
            let refused = json!({"api_key": format!("{} ", keys[2])});
            gateway.operator("POST", &format!("{path}/rotate"), &refused).await.expect(400);
            gateway.operator("DELETE", &path, &Value::Null).await.expect(204);
            let (provider, carried) = &self.carried[number];
            let bearer = format!("Bearer {OPERATOR}");
            let headers = [("authorization", bearer.as_str()), ("x-byok-key", carried)];
            let url = format!("{}/api/v1/keys/test", gateway.url());
            post_json(&url, &headers, &json!({"provider": provider})).await.expect(200);
            self.once.extend(keys);
        }
    }

    /// Sends `requests` requests over `connections` connections. What is answered stays open and idle.
    pub async fn play(self: &Arc<Self>, requests: usize, connections: usize) -> Vec<Connection> {
        let tasks: Vec<_> = (0..connections)
            .map(|number| tokio::spawn(Arc::clone(self).one_client(number, connections, requests)))
            .collect();
        let mut open = Vec::new();
        for task in tasks {
            open.push(task.await.expect("a client"));
        }
        open
    }

    async fn one_client(self: Arc<Self>, number: usize, step: usize, requests: usize) -> Connection {
        let mut connection = Connection::open(self.gateway.port()).await;
        let mine: Vec<usize> = (number..requests).step_by(step).collect();
        for (turn, &request) in mine.iter().enumerate() {
            // The last one leaves the connection open.
            let case = if turn + 1 == mine.len() { Sync } else { ROUND[(request / 2 + turn) % ROUND.len()] };
            let held = request % 2 == 0;
            connection = self.request(connection, case, request / 2, held).await;
        }
        connection
    }

    fn seal(&self, key: &str, tenant: &str, provider: &str) -> String {
        let now = SystemClock.now();
        let (kid, public) = self.list.choose(now).expect("a key");
        let ts = now.secs() as u64;
        let sealed_for = SealFor { purpose: SealPurpose::Request, tenant, provider, ts };
        let key = ApiKey::parse(SecretBytes::copy_of(key.as_bytes())).expect("a key");
        seal_key(&public, &kid, &sealed_for, &key, &SystemEntropy).expect("seals")
    }

    async fn request(&self, mut connection: Connection, case: Case, number: usize, held: bool) -> Connection {
        let (token, provider, _) = &self.held[number % self.held.len()];
        let (brought_for, brought) = &match number % 5 {
            3 => &self.session,
            4 => &self.sealed,
            _ => &self.carried,
        }[number / 5 % self.sealed.len()];
        let provider = if held { provider } else { brought_for };
        let tenant = match case {
            OverQuota => "poor".to_owned(),
            _ => format!("tenant-{}", number % self.held.len() / 3),
        };
        // A third on the unified surface; of those without a key a seventh on the platform's.
        let (unified, paid) = (number % 3 == 1, held && number % 7 == 3);
        let token = match case {
            OverQuota => &self.poor,
            Stranger => "sk-kf-AAAAAAAAAAAA-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
            _ if paid => &self.paid,
            _ => token.as_str(),
        };
        let mut headers = vec![("content-type", "application/json".to_owned())];
        let held = held && case != OverQuota;
        match number % 5 {
            _ if held => headers.push(("authorization", format!("Bearer {token}"))),
            0 => headers
                .extend([("authorization", format!("Bearer {token}")), ("x-byok-key", brought.clone())]),
            1 => headers.extend([
                ("x-api-key", token.to_owned()),
                ("x-byok-keys", json!({ *provider: brought }).to_string()),
            ]),
            2 => {
                headers.extend([("x-keyferry-token", token.to_owned()), own_slot(provider, unified, brought)])
            }
            3 => headers.extend([
                ("authorization", format!("Bearer {token}")),
                ("x-encrypted-key", STANDARD.encode(encrypted(brought))),
                ("x-session-key", STANDARD.encode(SESSION_KEY)),
            ]),
            _ => headers.extend([
                ("authorization", format!("Bearer {token}")),
                ("x-sealed-key", self.seal(brought, &tenant, provider)),
            ]),
        }
        if case == Malformed {
            headers.push(("transfer-encoding", "chunked, gzip".to_owned()));
        }
        let (path, body) = ask(provider, unified, case);
        let headers: Vec<(&str, &str)> =
            headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        connection.request("POST", &path, &headers, body.to_string().as_bytes()).await;
        if case == Abandoned {
            sleep(Duration::from_millis(50)).await;
            return Connection::open(self.gateway.port()).await;
        }
        let head = connection.try_head().await.expect("an answer");
        if case == Cancelled {
            connection.chunk().await;
            return Connection::open(self.gateway.port()).await;
        }
        let (body, _) = connection.body(&head).await;
        // The first one of the poor tenant still goes through.
        if !(case == OverQuota && head.status == 200) {
            assert_eq!(Some(head.status), case.status(), "{case:?} {}", String::from_utf8_lossy(&body));
        }
        if head.header("connection") == "close" || matches!(case, Malformed | Stranger) {
            return Connection::open(self.gateway.port()).await;
        }
        connection
    }
}

/// A price, and a budget that is never used up.
const ONE: &str = "{input: '1', output: '1'}";
const MUCH: u64 = 1_000_000_000_000;

const UNLIMITED: &str =
    "rate_limits: {caller: unlimited, tenant: unlimited, tenant_provider: unlimited, key_test: unlimited}
byok: {session: true}";

pub const HOSTS: [&str; 3] = ["api.openai.com", "api.anthropic.com", "generativelanguage.googleapis.com"];
