//! Bad days of what gateways share: PostgreSQL or Redis is gone, stands still, is full, or has forgotten, while two
//! gateways are under load.

mod counters;
mod disk;
mod journal;
mod load;
mod log;
mod losses;
mod memory;
mod storage;

use std::{
    io::Write,
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::time::Instant;

use self::load::{Asked, Kind};
use crate::harness::{
    Answer, Connection, Gate, Gateway, Issuer, OPENAI_STREAM, Options, Piece, Provider, Reply, Seen, Shared,
    Tenant, a_key, openai_completion, post_json, request, until, until_after,
};

/// What the contract promises, and what the machine of a test may take of it.
const SOON: Duration = Duration::from_millis(1200);
/// How long an answer waits for its row.
const ROW: Duration = Duration::from_secs(1);
/// How soon all is well again when the server is.
const WELL_AGAIN: Duration = Duration::from_secs(5);
/// Between two drops of an answer.
const DROP: Duration = Duration::from_millis(250);
/// What one request costs that the platform pays: 11 × 2 + 7 × 10.
const COST: u64 = 92;
const YAML: &str = r#"rate_limits: {caller: unlimited, tenant: unlimited, tenant_provider: unlimited}
prices: {openai/gpt-4.1-mini: {input: "2", cached_input: "2", output: "10"}}"#;
/// After this a hold that nobody renews is gone, and what is spent is read from the store.
const HOLD: Duration = Duration::from_secs(10);

/// Two gateways before one provider.
struct Scene {
    provider: Provider,
    /// What streams for `waits` wait for.
    gate: Gate,
    gateways: [Gateway; 2],
    /// With a key of its own.
    own: Tenant,
    issuer: std::sync::Arc<Issuer>,
    /// Whose requests the platform pays, and a token of it.
    paid: (String, String),
    /// How long a hold lives that nobody renews.
    hold: Duration,
    /// Requests that it has paid beside the load.
    paid_before: AtomicU64,
    shared: Shared,
}

/// Streams with `"user": "waits"` stop in the middle until the gate opens; with `"drips"` any answer comes in drops.
fn script(gate: &Gate) -> impl Fn(&Seen) -> Answer + Send + Sync + 'static {
    let gate = gate.clone();
    move |seen| {
        if seen.json()["user"] == "drips" {
            return drips(seen);
        }
        if seen.json()["user"] != "waits" {
            return Answer::right(seen);
        }
        let [first, rest @ ..] = OPENAI_STREAM;
        let begun = Answer::events().chunk(first).gate(&gate, 1);
        rest.iter().fold(begun, |answer, event| answer.chunk(event)).end()
    }
}

/// An answer in drops, over a second.
fn drips(seen: &Seen) -> Answer {
    if seen.json()["stream"] == true {
        return OPENAI_STREAM
            .iter()
            .fold(Answer::events(), |answer, event| answer.pause(DROP).chunk(event))
            .end();
    }
    let body = openai_completion().to_string();
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    let drops = body.as_bytes().chunks(body.len().div_ceil(4));
    drops.fold(Answer::raw(head), |answer, drop| answer.pause(DROP).chunk(drop)).end()
}

impl Scene {
    async fn on(shared: Shared) -> Self {
        Self::holding(shared, HOLD).await
    }

    /// With holds that live so long.
    async fn holding(shared: Shared, hold: Duration) -> Self {
        let gate = Gate::new();
        let provider = Provider::start(script(&gate)).await;
        let yaml = format!(
            "providers: {{openai: {{platform_key: {}}}}}\nbudgets: {{hold_ttl: {}s}}\n{YAML}",
            a_key("sk-proj-"),
            hold.as_secs()
        );
        let start = || Gateway::start(shared.options(Options::to(&provider).yaml(&yaml).quiet()));
        let gateways = [start().await, start().await];
        let own = gateways[0].tenant_with_key("openai", &a_key("key-")).await;
        let issuer = Issuer::new();
        issuer.register(&gateways[0], &own.id).await;
        let id = format!("{}-paid", own.id);
        let tenant = json!({"id": id, "byok_enabled": true, "fallback": {"missing": true},
            "budget_micro_usd": 1_000_000_000});
        gateways[0].operator("POST", "/tenants", &tenant).await.expect(201);
        let token = gateways[0].token(&id, &json!({"role": "caller"})).await;
        let scene = Self {
            provider,
            gate,
            gateways,
            own,
            issuer: std::sync::Arc::new(issuer),
            paid: (id, token),
            hold,
            paid_before: AtomicU64::new(0),
            shared,
        };
        scene.warm_up().await;
        scene
    }

    /// Each gateway meets whom it is to remember.
    async fn warm_up(&self) {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        for gateway in &self.gateways {
            let jwt = self.jwt(&format!("warm-{}", NEXT.fetch_add(1, Ordering::Relaxed)));
            for token in [&self.own.caller_token, &self.own.admin_token, &jwt] {
                gateway.chat(token).await.expect(200);
            }
            let (reply, _) = timed(&gateway.url(), &self.paid.1, &chat()).await;
            reply.expect(200);
            self.paid_before.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A good token of the tenant's issuer.
    fn jwt(&self, jti: &str) -> String {
        self.issuer.token(&self.own.id, jti)
    }

    /// Tokens that no gateway has seen yet, with their ids.
    async fn strangers(&self, count: usize) -> Vec<(String, String)> {
        let mut tokens = Vec::new();
        for _ in 0..count {
            let path = format!("/tenants/{}/tokens", self.own.id);
            let issued =
                self.gateways[0].operator("POST", &path, &json!({"role": "caller"})).await.expect(201);
            let text = |name: &str| issued.json()[name].as_str().expect("a text").to_owned();
            tokens.push((text("token"), text("id")));
        }
        // The views are read anew after these changes, and then stand: no change is carried twice.
        self.warm_up().await;
        tokens
    }

    /// A stream that has begun and waits for the gate.
    async fn stream(&self, gateway: usize, token: &str) -> Under {
        let mut connection = Connection::open(self.gateways[gateway].port()).await;
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
        let body = json!({"model": "gpt-4.1-mini", "stream": true, "user": "waits", "messages": [],
            "max_tokens": 100});
        connection
            .request("POST", "/openai/v1/chat/completions", &headers, body.to_string().as_bytes())
            .await;
        assert_eq!(connection.head().await.status, 200);
        if token == self.paid.1 {
            self.paid_before.fetch_add(1, Ordering::Relaxed);
        }
        connection.until_text("hel").await;
        Under(connection)
    }

    /// Each gateway says that this part is away, soon.
    async fn says_away(&self, part: &str) {
        for gateway in &self.gateways {
            let begun = Instant::now();
            let reply = request("GET", &format!("{}/readyz", gateway.metrics_url()), &[], b"").await;
            assert!(begun.elapsed() < SOON, "readiness took {:?}", begun.elapsed());
            let said = reply.expect(503).json();
            assert_eq!(
                (&said["status"], &said[part]["status"]),
                (&json!("unready"), &json!("away")),
                "{said}"
            );
        }
    }

    /// Each gateway is ready, and says so.
    async fn is_ready(&self) {
        for gateway in &self.gateways {
            until("the gateway is ready again", || async {
                let url = format!("{}/readyz", gateway.metrics_url());
                (request("GET", &url, &[], b"").await.status() == 200).then_some(())
            })
            .await;
        }
    }

    async fn budget(&self) -> Value {
        let path = format!("/tenants/{}/budget", self.paid.0);
        self.gateways[1].operator("GET", &path, &Value::Null).await.expect(200).json()
    }

    /// Nothing is held any more, at the latest when holds expire, and spent is what was answered.
    async fn settles(&self, asked: &[Asked]) {
        let paid = |one: &&Asked| one.kind == Kind::Paid && one.status() == 200;
        let paid = u64::try_from(asked.iter().filter(paid).count()).expect("few");
        let spent = COST * (paid + self.paid_before.load(Ordering::Relaxed));
        until_after(self.hold, "all is settled, and nothing is held", || async {
            let budget = self.budget().await;
            (budget["held_micro_usd"] == 0 && budget["spent_micro_usd"] == spent).then_some(())
        })
        .await;
    }

    /// Every request that reached the provider has its row.
    async fn has_all_rows(&self) {
        until("a row for each request", || async {
            let mut rows = 0;
            for tenant in [&self.own.id, &self.paid.0] {
                let path = format!("/tenants/{tenant}/usage");
                let usage = self.gateways[0].operator("GET", &path, &Value::Null).await.expect(200).json();
                rows += usage["total"]["requests"].as_u64().expect("a number");
            }
            (rows == u64::try_from(self.provider.count()).expect("few")).then_some(())
        })
        .await;
    }

    /// What the gateways warned of.
    fn warnings(&self) -> String {
        let logs: Vec<String> = self.gateways.iter().map(Gateway::log).collect();
        let warnings = logs
            .iter()
            .flat_map(|log| log.lines())
            .filter(|line| line.contains("\"level\":\"WARN\"") || line.contains("\"level\":\"ERROR\""));
        warnings.collect::<Vec<_>>().join("\n")
    }

    fn nobody_panicked(&self) {
        for gateway in &self.gateways {
            assert!(!gateway.log().contains("panicked"), "{}", gateway.log_end());
        }
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // Past the test harness, which has its own way with what is printed.
            let _ = writeln!(std::io::stderr(), "{}", self.warnings());
        }
    }
}

/// A stream under way.
struct Under(Connection);

impl Under {
    /// It ends, and whole.
    async fn ends_whole(&mut self) {
        self.0.until_text("[DONE]").await;
        assert_eq!(self.0.chunk().await, Piece::End);
    }
}

/// Posts a short chat; what it answered and how long that took.
async fn timed(url: &str, token: &str, body: &Value) -> (Reply, Duration) {
    let bearer = format!("Bearer {token}");
    let begun = Instant::now();
    let url = format!("{url}/openai/v1/chat/completions");
    let reply = post_json(&url, &[("authorization", &bearer)], body).await;
    (reply, begun.elapsed())
}

fn chat() -> Value {
    json!({"model": "gpt-4.1-mini", "messages": [], "max_tokens": 100})
}

/// Away is said with its code, soon, and with when to try again.
#[track_caller]
fn is_away(reply: &Reply, took: Duration) {
    assert_eq!(
        (reply.status(), reply.code().as_str()),
        (503, "BYOK_SERVICE_UNAVAILABLE"),
        "{}",
        reply.text()
    );
    assert!(!reply.header("retry-after").is_empty());
    assert!(took < SOON, "it took {took:?}");
}
