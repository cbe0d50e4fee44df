//! Falling back to the platform's key: only where it may, only before the first byte, and never in silence.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::harness::{Answer, Gateway, Options, Provider, Reply, Seen, a_key, until};

/// A gateway whose platform has a key, a tenant with one of its own, and both keys.
struct Stage {
    gateway: Gateway,
    token: String,
    own: String,
    platform: String,
}

async fn stage(provider: &Provider, fallback: Value, budget: u64) -> Stage {
    let (own, platform) = (a_key("sk-proj-"), a_key("sk-proj-"));
    let yaml = format!(
        "providers: {{openai: {{platform_key: {platform}}}}}\nprices: {{openai/m: {{input: '1', output: '1'}}}}"
    );
    let gateway = Gateway::start(Options::to(provider).yaml(&yaml)).await;
    let tenant =
        json!({"id": "acme", "byok_enabled": true, "fallback": fallback, "budget_micro_usd": budget});
    gateway.operator("POST", "/tenants", &tenant).await.expect(201);
    gateway.store("acme", "openai", &own).await;
    let token = gateway.token("acme", &json!({"role": "caller"})).await;
    Stage { gateway, token, own, platform }
}

impl Stage {
    async fn ask(&self) -> Reply {
        let body = json!({"model": "m", "messages": [], "max_tokens": 100});
        self.gateway.post(&self.token, "/openai/v1/chat/completions", &[], &body).await
    }

    async fn budget(&self) -> (u64, u64) {
        let budget =
            self.gateway.operator("GET", "/tenants/acme/budget", &Value::Null).await.expect(200).json();
        let number = |name: &str| budget[name].as_u64().expect("a number");
        (number("spent_micro_usd"), number("held_micro_usd"))
    }
}

/// How often the log and the metric say that the platform's key served after a failure.
async fn told(gateway: &Gateway, failure: &str) -> (usize, u64) {
    let reason = format!("\"reason\":\"{failure}\"");
    let is_one = |line: &&str| line.contains("byok_fallback_server_key") && line.contains(&reason);
    let name = format!("byok_fallback_to_server_key_total{{provider=\"openai\",reason=\"{failure}\"}} ");
    let metrics = metrics_of(gateway).await;
    let counted = metrics.lines().find_map(|line| line.strip_prefix(&name));
    let counted = counted.map_or(0, |count| count.parse().expect("a number"));
    // What was logged may be on its way yet.
    let logged = until("each is logged", || async {
        let logged = gateway.log().lines().filter(is_one).count();
        (logged as u64 >= counted).then_some(logged)
    });
    (logged.await, counted)
}

fn with(seen: &Seen, key: &str) -> bool {
    seen.header("authorization") == format!("Bearer {key}")
}

/// Answers with `error` whoever has not the platform's key, which is unknown until the gateway runs: it is the second one.
fn refuses_the_first(
    error: impl Fn() -> Answer + Send + Sync + 'static,
) -> impl Fn(&Seen) -> Answer + Send + Sync {
    let asked = AtomicUsize::new(0);
    move |seen| match asked.fetch_add(1, Ordering::SeqCst) {
        0 => error(),
        _ => Answer::right(seen),
    }
}

#[tokio::test]
async fn each_failure_falls_back_where_its_switch_is_on_and_nowhere_else() {
    let cases: [(&str, u16, Value); 4] = [
        ("unauthorized", 401, json!({"error": {"code": "invalid_api_key", "message": "bad"}})),
        ("rate_limited", 429, json!({"error": {"code": "rate_limit_exceeded"}})),
        ("no_credit", 429, json!({"error": {"code": "insufficient_quota"}})),
        ("server_error", 500, json!({"error": {"message": "down"}})),
    ];
    for (switch, status, body) in &cases {
        for on in ["missing", "unauthorized", "rate_limited", "no_credit", "server_error"] {
            let (status, body) = (*status, body.clone());
            // Too long to wait for.
            let error = move || {
                Answer::with(
                    status,
                    &[("retry-after", "60"), ("content-type", "application/json")],
                    body.to_string().as_bytes(),
                )
            };
            let provider = Provider::start(refuses_the_first(error)).await;
            let stage = stage(&provider, json!({on: true}), 1_000_000).await;
            let reply = stage.ask().await;
            let seen = provider.seen();
            assert!(with(&seen[0], &stage.own));
            if on == *switch {
                let reply = reply.expect(200);
                assert_eq!(reply.header("x-keyferry-credential"), "platform", "{switch}");
                assert_eq!(reply.header("x-keyferry-accounting"), "PLATFORM_BUDGET");
                assert_eq!(reply.header("x-keyferry-credential-id"), "");
                assert!(seen.len() == 2 && with(&seen[1], &stage.platform));
                assert_eq!(seen[0].body, seen[1].body);
                let row = stage.gateway.usage_row("acme", 1).await;
                assert_eq!((&row["credential"], &row["cost_micro_usd"]), (&json!("platform"), &json!(18)));
                assert_eq!(stage.budget().await, (18, 0));
                let told = format!("\"reason\":\"{switch}\"");
                stage.gateway.logged(&["byok_fallback_server_key", &told]).await;
                let metrics = metrics_of(&stage.gateway).await;
                let counted =
                    format!("byok_fallback_to_server_key_total{{provider=\"openai\",reason=\"{switch}\"}} 1");
                assert!(metrics.contains(&counted), "{metrics}");
            } else {
                assert_eq!(reply.status(), status, "{switch} with {on}");
                assert_eq!(reply.header("x-keyferry-credential"), "held");
                assert_eq!(seen.len(), 1, "{switch} with {on}");
                assert_eq!(stage.budget().await, (0, 0));
            }
        }
    }
}

async fn metrics_of(gateway: &Gateway) -> String {
    let url = format!("{}/metrics", gateway.metrics_url());
    crate::harness::request("GET", &url, &[], b"").await.text()
}

#[tokio::test]
async fn a_short_limit_is_waited_for_on_the_tenants_own_key() {
    let error = || {
        Answer::with(
            429,
            &[("retry-after", "1"), ("content-type", "application/json")],
            br#"{"error":{"code":"rate_limit_exceeded"}}"#,
        )
    };
    let provider = Provider::start(refuses_the_first(error)).await;
    let stage = stage(&provider, json!({"rate_limited": true}), 1_000_000).await;
    let started = Instant::now();
    let reply = stage.ask().await.expect(200);
    assert!(started.elapsed() >= Duration::from_secs(1));
    assert_eq!(reply.header("x-keyferry-accounting"), "BYOK_NO_BUDGET");
    assert!(provider.seen().iter().all(|seen| with(seen, &stage.own)));
    assert_eq!(provider.count(), 2);
}

#[tokio::test]
async fn without_money_the_providers_answer_stands() {
    let provider =
        Provider::start(|_| Answer::json(401, &json!({"error": {"code": "invalid_api_key"}}))).await;
    let stage = stage(&provider, json!({"unauthorized": true}), 50).await;
    let reply = stage.ask().await;
    assert_eq!((reply.status(), reply.header("x-keyferry-credential")), (401, "held"));
    assert_eq!(provider.count(), 1);
    assert_eq!(stage.budget().await, (0, 0));
}

#[tokio::test]
async fn what_the_platforms_key_meets_is_passed_on_without_it() {
    let provider = Provider::start(|seen| {
        let key = seen.header("authorization").trim_start_matches("Bearer ").to_owned();
        Answer::json(401, &json!({"error": {"code": "invalid_api_key", "message": format!("bad key {key}")}}))
    })
    .await;
    let stage = stage(&provider, json!({"unauthorized": true}), 1_000_000).await;
    let reply = stage.ask().await;
    assert_eq!((reply.status(), reply.header("x-keyferry-credential")), (401, "platform"));
    for key in [&stage.own, &stage.platform] {
        assert!(!reply.text().contains(&key[8..]) && !stage.gateway.log().contains(&key[8..]));
    }
    assert_eq!(provider.count(), 2, "once each");
    let row = stage.gateway.usage_row("acme", 1).await;
    assert_eq!((&row["cost_micro_usd"], &row["status"]), (&json!(0), &json!(401)));
    assert_eq!(stage.budget().await, (0, 0));
}

#[tokio::test]
async fn a_stream_that_has_begun_never_starts_anew() {
    let provider =
        Provider::start(|_| Answer::events().chunk("data: {\"id\":\"1\",\"choices\":[]}\n\n").then_reset())
            .await;
    let stage = stage(&provider, json!({"server_error": true, "rate_limited": true}), 1_000_000).await;
    let body = json!({"model": "m", "messages": [], "stream": true});
    let reply = stage.gateway.post(&stage.token, "/openai/v1/chat/completions", &[], &body).await;
    assert_eq!(reply.header("x-keyferry-credential"), "held");
    assert_eq!(provider.count(), 1);
}

#[tokio::test]
async fn a_request_that_may_have_been_worked_on_is_not_sent_again() {
    let provider = Provider::start(|_| Answer::reset()).await;
    let stage = stage(&provider, json!({"server_error": true}), 1_000_000).await;
    stage.ask().await.refused(502, "BYOK_UPSTREAM_ERROR");
    assert_eq!(provider.count(), 1);
    assert_eq!(stage.budget().await, (0, 0));
}

#[tokio::test]
async fn a_provider_that_does_not_answer_is_left_alone_for_a_moment() {
    let down = Arc::new(AtomicUsize::new(1));
    let is_down = Arc::clone(&down);
    let provider = Provider::start(move |seen| match is_down.load(Ordering::SeqCst) {
        0 => Answer::right(seen),
        _ => Answer::json(503, &json!({"error": {"message": "no room"}})),
    })
    .await;
    let stage = stage(&provider, json!({}), 0).await;
    for _ in 0..5 {
        assert_eq!(stage.ask().await.status(), 503);
    }
    assert_eq!(provider.count(), 5);
    let reply = stage.ask().await;
    assert!(!reply.header("retry-after").is_empty());
    reply.refused(503, "BYOK_SERVICE_UNAVAILABLE");
    assert_eq!(provider.count(), 5, "it was not called");
    assert!(
        metrics_of(&stage.gateway).await.contains("keyferry_provider_circuit_state{provider=\"openai\"} 3")
    );
    down.store(0, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(1100)).await;
    stage.ask().await.expect(200);
    stage.ask().await.expect(200);
    assert!(
        metrics_of(&stage.gateway).await.contains("keyferry_provider_circuit_state{provider=\"openai\"} 0")
    );
}

fn no_room(_: &Seen) -> Answer {
    Answer::json(503, &json!({"error": {"message": "no room"}}))
}

/// It was admitted, and so it counts where admission counts; it costs nothing.
#[tokio::test]
async fn what_a_circuit_keeps_back_is_no_fallback() {
    let provider = Provider::start(no_room).await;
    let stage = stage(&provider, json!({"missing": true}), 1_000_000).await;
    let tenant = json!({"id": "keyless", "byok_enabled": true, "fallback": {"missing": true}, "budget_micro_usd": 1_000_000});
    stage.gateway.operator("POST", "/tenants", &tenant).await.expect(201);
    let token = stage.gateway.token("keyless", &json!({"role": "caller"})).await;
    let stage = Stage { token, ..stage };
    for _ in 0..5 {
        let reply = stage.ask().await;
        assert_eq!((reply.status(), reply.header("x-keyferry-credential")), (503, "platform"));
    }
    assert_eq!(told(&stage.gateway, "missing").await, (5, 5));
    let kept_back = stage.ask().await.refused(503, "BYOK_SERVICE_UNAVAILABLE");
    assert_eq!(
        kept_back.header("x-keyferry-credential"),
        "platform",
        "the receipt says which key would have served"
    );
    assert_eq!(provider.count(), 5);
    assert_eq!(told(&stage.gateway, "missing").await, (5, 5), "nothing was sent");
    let row = stage.gateway.usage_row("keyless", 6).await;
    assert_eq!((&row["status"], &row["cost_micro_usd"]), (&json!(503), &json!(0)));
    let budget =
        stage.gateway.operator("GET", "/tenants/keyless/budget", &Value::Null).await.expect(200).json();
    assert_eq!((&budget["spent_micro_usd"], &budget["held_micro_usd"]), (&json!(0), &json!(0)));
    assert_eq!(budget["quota"]["used"], 6);
}

#[tokio::test]
async fn where_the_circuit_opens_before_the_platforms_try_the_providers_answer_stands() {
    let provider = Provider::start(no_room).await;
    let stage = stage(&provider, json!({"server_error": true}), 1_000_000).await;
    for _ in 0..2 {
        assert_eq!(stage.ask().await.header("x-keyferry-credential"), "platform");
    }
    assert_eq!((provider.count(), told(&stage.gateway, "server_error").await), (4, (2, 2)));
    let fifth = stage.ask().await;
    assert_eq!((fifth.status(), fifth.header("x-keyferry-credential")), (503, "held"));
    assert!(fifth.text().contains("no room"), "{}", fifth.text());
    assert_eq!((provider.count(), told(&stage.gateway, "server_error").await), (5, (2, 2)));
    assert_eq!(stage.budget().await, (0, 0));
}
