//! `Idempotency-Key`: what the platform pays is paid once, and a client that asks again is told so.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{
    Answer, Connection, Gate, Gateway, OPENAI_STREAM, Options, Provider, Reply, Shared, a_key, until,
};

const COST: u64 = 11 * 2 + 7 * 10;
const PRICES: &str = r#"prices: {"openai/*": {input: "2", cached_input: "2", output: "10"}}"#;

fn options(provider: &Provider) -> Options {
    let key = a_key("sk-proj-");
    Options::to(provider).yaml(&format!("providers: {{openai: {{platform_key: {key}}}}}\n{PRICES}"))
}

/// A tenant whose requests the platform pays, and a token of it.
async fn tenant(gateway: &Gateway) -> String {
    let tenant = json!({"id": "acme", "byok_enabled": true, "budget_micro_usd": 1_000_000,
        "fallback": {"missing": true, "server_error": true}});
    gateway.operator("POST", "/tenants", &tenant).await.expect(201);
    another_token(gateway).await
}

async fn another_token(gateway: &Gateway) -> String {
    gateway.token("acme", &json!({"role": "caller"})).await
}

async fn ask(gateway: &Gateway, token: &str, key: &str, text: &str) -> Reply {
    let body =
        json!({"model": "gpt-4.1-mini", "max_tokens": 100, "messages": [{"role": "user", "content": text}]});
    gateway.post(token, "/openai/v1/chat/completions", &[("idempotency-key", key)], &body).await
}

async fn spent(gateway: &Gateway) -> u64 {
    let budget = gateway.operator("GET", "/tenants/acme/budget", &Value::Null).await.expect(200).json();
    assert_eq!(budget["held_micro_usd"], 0);
    budget["spent_micro_usd"].as_u64().expect("a number")
}

#[tokio::test]
async fn a_request_that_comes_again_is_paid_once_and_told_which_was_first() {
    let provider = Provider::right().await;
    let gateway = Gateway::start(options(&provider)).await;
    let token = tenant(&gateway).await;
    let first = ask(&gateway, &token, "order-1", "hello").await.expect(200);
    for _ in 0..3 {
        let again = ask(&gateway, &token, "order-1", "hello").await;
        assert!(again.text().contains(first.header("x-keyferry-request-id")), "{}", again.text());
        again.refused(409, "BYOK_REPLAY_DETECTED");
    }
    // And by the name of the unified surface it is another request.
    let body = json!({"model": "openai/gpt-4.1-mini", "messages": [], "max_tokens": 100});
    let reply = gateway.post(&token, "/v1/chat/completions", &[("idempotency-key", "order-1")], &body).await;
    reply.refused(409, "conflict");
    assert_eq!(provider.count(), 1);
    assert_eq!(spent(&gateway).await, COST);
}

#[tokio::test]
async fn another_request_under_the_same_key_is_refused_and_under_another_key_or_token_it_is_not() {
    let provider = Provider::right().await;
    let gateway = Gateway::start(options(&provider)).await;
    let token = tenant(&gateway).await;
    ask(&gateway, &token, "order-1", "hello").await.expect(200);
    ask(&gateway, &token, "order-1", "good bye").await.refused(409, "conflict");
    ask(&gateway, &token, "order-2", "hello").await.expect(200);
    ask(&gateway, &another_token(&gateway).await, "order-1", "hello").await.expect(200);
    assert_eq!(spent(&gateway).await, 3 * COST);
    let keys: Vec<_> = provider.seen().iter().map(|seen| seen.header("idempotency-key").to_owned()).collect();
    assert_eq!(keys, ["order-1", "order-2", "order-1"], "the provider gets it too");
}

#[tokio::test]
async fn what_failed_may_be_tried_again_under_its_key() {
    let failures = std::sync::atomic::AtomicU32::new(2);
    let provider = Provider::start(move |seen| {
        if failures.load(std::sync::atomic::Ordering::Relaxed) == 0 {
            return Answer::right(seen);
        }
        failures.fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
        Answer::json(500, &json!({"error": {"message": "down"}}))
    })
    .await;
    let gateway = Gateway::start(options(&provider)).await;
    let token = tenant(&gateway).await;
    for status in [500, 500, 200] {
        // What the counters are told of the one before may come a moment later than its answer.
        let reply = until("it may be tried again", || async {
            let reply = ask(&gateway, &token, "order-1", "hello").await;
            (reply.status() != 409).then_some(reply)
        })
        .await;
        assert_eq!(reply.status(), status, "{}", reply.text());
    }
    ask(&gateway, &token, "order-1", "hello").await.refused(409, "BYOK_REPLAY_DETECTED");
    assert_eq!(spent(&gateway).await, COST);
}

#[tokio::test]
async fn while_the_first_is_under_way_the_second_is_told_to_wait() {
    let gate = Gate::new();
    let waiting = gate.clone();
    let provider = Provider::start(move |_| {
        let [first, rest @ ..] = OPENAI_STREAM;
        let begun = Answer::events().chunk(first).gate(&waiting, 1);
        rest.iter().fold(begun, |answer, event| answer.chunk(event)).end()
    })
    .await;
    let gateway = Gateway::start(options(&provider)).await;
    let token = tenant(&gateway).await;
    let mut first = Connection::open(gateway.port()).await;
    let bearer = format!("Bearer {token}");
    let headers = [
        ("authorization", bearer.as_str()),
        ("content-type", "application/json"),
        ("idempotency-key", "order-1"),
    ];
    let body = json!({"model": "gpt-4.1-mini", "stream": true, "messages": [], "max_tokens": 100});
    first.request("POST", "/openai/v1/chat/completions", &headers, body.to_string().as_bytes()).await;
    assert_eq!(first.head().await.status, 200);
    let again =
        gateway.post(&token, "/openai/v1/chat/completions", &[("idempotency-key", "order-1")], &body).await;
    assert_eq!(again.header("retry-after"), "1");
    again.refused(409, "conflict");
    gate.open();
    first.until_text("[DONE]").await;
    until("it is paid", || async {
        let again = gateway
            .post(&token, "/openai/v1/chat/completions", &[("idempotency-key", "order-1")], &body)
            .await;
        (again.code() == "BYOK_REPLAY_DETECTED").then_some(())
    })
    .await;
    assert_eq!((provider.count(), spent(&gateway).await), (1, COST));
}

/// The tenant's key fails, the platform's serves; the tenant's key fails again, and the platform does not pay again.
#[tokio::test]
async fn a_fallback_is_paid_once_too() {
    let own = a_key("sk-proj-");
    let bearer = format!("Bearer {own}");
    let provider = Provider::start(move |seen| {
        if seen.header("authorization") == bearer {
            return Answer::json(500, &json!({"error": {"message": "down"}}));
        }
        Answer::right(seen)
    })
    .await;
    let gateway = Gateway::start(options(&provider)).await;
    let token = tenant(&gateway).await;
    gateway.store("acme", "openai", &own).await;
    let served = ask(&gateway, &token, "order-1", "hello").await.expect(200);
    assert_eq!(served.header("x-keyferry-credential"), "platform");
    let again = ask(&gateway, &token, "order-1", "hello").await;
    assert_eq!((again.status(), again.header("x-keyferry-credential")), (500, "held"));
    assert_eq!(spent(&gateway).await, COST);
}

/// The key goes to the provider, which may make of it what it likes.
#[tokio::test]
async fn on_a_tenants_own_key_it_changes_nothing_here() {
    let provider = Provider::right().await;
    let gateway = Gateway::start(Options::to(&provider)).await;
    let tenant = gateway.tenant_with_key("openai", &a_key("sk-proj-")).await;
    for text in ["hello", "hello", "good bye"] {
        ask(&gateway, &tenant.caller_token, "order-1", text).await.expect(200);
    }
    assert_eq!(provider.count(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_gateways_with_one_redis_pay_once() {
    let Some(shared) = Shared::open("two_gateways_with_one_redis_pay_once").await else { return };
    let provider = Provider::right().await;
    let key = a_key("sk-proj-");
    let yaml = format!("providers: {{openai: {{platform_key: {key}}}}}\n{PRICES}");
    let start = || Gateway::start(shared.options(Options::to(&provider).yaml(&yaml).quiet()));
    let gateways = [start().await, start().await];
    let token = tenant(&gateways[0]).await;
    tokio::time::sleep(Duration::from_millis(600)).await;
    let asked = (0..40).map(|number| {
        let (gateway, key) = (&gateways[number % 2], format!("order-{}", number / 8));
        let token = &token;
        async move { ask(gateway, token, &key, "hello").await }
    });
    let replies = futures_util::future::join_all(asked).await;
    assert_eq!(replies.iter().filter(|reply| reply.status() == 200).count(), 5);
    assert_eq!(replies.iter().filter(|reply| reply.status() == 409).count(), 35);
    assert_eq!(provider.count(), 5);
    until("all of it is settled", || async {
        let path = "/tenants/acme/budget";
        let budget = gateways[1].operator("GET", path, &Value::Null).await.expect(200).json();
        (budget["held_micro_usd"] == 0 && budget["spent_micro_usd"] == 5 * COST).then_some(())
    })
    .await;
}
