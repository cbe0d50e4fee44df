//! What the platform pays: only where it may, with its own key, within the tenant's budget, to the micro-dollar.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::harness::{Answer, Gate, Gateway, Options, Provider, Reply, a_key, until};

const PRICES: &str = r#"prices:
  openai/m: {input: "2", cached_input: "0.5", output: "10"}
  gemini/*: {input: "1", output: "1"}"#;

/// A gateway whose platform has a key for `OpenAI`, and that key.
async fn gateway(provider: &Provider, more: &str) -> (Gateway, String) {
    let key = a_key("sk-proj-");
    let yaml = format!("providers: {{openai: {{platform_key: {key}}}}}\n{PRICES}\n{more}");
    (Gateway::start(Options::to(provider).yaml(&yaml)).await, key)
}

/// A tenant without a key whose requests the platform may pay up to a ceiling; answers a token.
async fn tenant(gateway: &Gateway, budget: Value) -> String {
    let tenant = json!({"id": "acme", "byok_enabled": true, "fallback": {"missing": true}, "budget_micro_usd": budget});
    gateway.operator("POST", "/tenants", &tenant).await.expect(201);
    gateway.token("acme", &json!({"role": "caller"})).await
}

async fn budget(gateway: &Gateway) -> Value {
    gateway.operator("GET", "/tenants/acme/budget", &Value::Null).await.expect(200).json()
}

fn answer(usage: &Value) -> Answer {
    let body = json!({"id": "c", "object": "chat.completion", "model": "m", "choices": [], "usage": usage});
    Answer::json(200, &body)
}

async fn ask(gateway: &Gateway, token: &str, body: Value) -> Reply {
    gateway.post(token, "/openai/v1/chat/completions", &[], &body).await
}

fn chat(max_tokens: u64) -> Value {
    json!({"model": "m", "messages": [], "max_tokens": max_tokens})
}

#[tokio::test]
async fn the_platform_pays_where_it_may_and_says_so() {
    let usage = json!({"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120,
        "prompt_tokens_details": {"cached_tokens": 40}});
    let provider = Provider::start(move |_| answer(&usage)).await;
    let (gateway, key) = gateway(&provider, "").await;
    let token = tenant(&gateway, json!(1_000_000)).await;
    let reply = ask(&gateway, &token, chat(50)).await.expect(200);
    assert_eq!(reply.header("x-keyferry-credential"), "platform");
    assert_eq!(reply.header("x-keyferry-accounting"), "PLATFORM_BUDGET");
    assert_eq!(provider.last().header("authorization"), format!("Bearer {key}"));
    // 60 × 2 + 40 × 0.5 + 20 × 10
    let row = gateway.usage_row("acme", 1).await;
    assert_eq!((&row["cost_micro_usd"], &row["accounting"]), (&json!(340), &json!("PLATFORM_BUDGET")));
    assert_eq!((&row["credential"], &row["credential_id"]), (&json!("platform"), &Value::Null));
    let budget = budget(&gateway).await;
    assert_eq!((&budget["spent_micro_usd"], &budget["held_micro_usd"]), (&json!(340), &json!(0)));
    let total = gateway.operator("GET", "/tenants/acme/usage", &Value::Null).await.expect(200).json();
    assert_eq!(total["total"]["cost_micro_usd"], 340);
    assert!(!gateway.log().contains(&key));
}

#[tokio::test]
async fn it_never_pays_unasked() {
    let provider = Provider::right().await;
    let (gateway, _) = gateway(&provider, "").await;
    let token = tenant(&gateway, json!(1_000_000)).await;
    let patch = async |change: Value| gateway.operator("PATCH", "/tenants/acme", &change).await.expect(200);
    patch(json!({"fallback": {"missing": false}})).await;
    ask(&gateway, &token, chat(1)).await.refused(404, "BYOK_KEY_NOT_FOUND");
    patch(json!({"fallback": {"missing": true}, "budget_micro_usd": null})).await;
    ask(&gateway, &token, chat(1)).await.refused(402, "BUDGET_EXCEEDED");
    patch(json!({"budget_micro_usd": 1_000_000, "byok_enabled": false})).await;
    ask(&gateway, &token, chat(1)).await.refused(404, "BYOK_DISABLED");
    patch(json!({"byok_enabled": true})).await;
    // No price, no key of the platform's, or not by the token.
    let unpriced = json!({"model": "dear", "messages": []});
    ask(&gateway, &token, unpriced).await.refused(403, "MODEL_NOT_ALLOWED");
    let image = json!({"model": "m", "prompt": "a house"});
    let reply = gateway.post(&token, "/openai/v1/images/generations", &[], &image).await;
    reply.refused(403, "MODEL_NOT_ALLOWED");
    let message = json!({"model": "m", "max_tokens": 1, "messages": []});
    let reply = gateway.post(&token, "/anthropic/v1/messages", &[], &message).await;
    reply.refused(404, "BYOK_KEY_NOT_FOUND");
    assert_eq!(provider.count(), 0);
    let quota = &budget(&gateway).await["quota"];
    assert_eq!(quota["used"], 0, "what is refused does not count");
}

#[tokio::test]
async fn a_tenants_own_key_needs_no_budget() {
    let provider = Provider::right().await;
    let (gateway, key) = gateway(&provider, "").await;
    let token = tenant(&gateway, json!(0)).await;
    ask(&gateway, &token, chat(1)).await.refused(402, "BUDGET_EXCEEDED");
    let own = a_key("sk-proj-");
    gateway.store("acme", "openai", &own).await;
    let reply = ask(&gateway, &token, chat(1)).await.expect(200);
    assert_eq!(reply.header("x-keyferry-accounting"), "BYOK_NO_BUDGET");
    let carried = a_key("sk-proj-");
    let reply =
        gateway.post(&token, "/openai/v1/chat/completions", &[("x-byok-key", &carried)], &chat(1)).await;
    assert_eq!(reply.expect(200).header("x-keyferry-credential"), "carried");
    assert!(provider.seen().iter().all(|seen| seen.header("authorization") != format!("Bearer {key}")));
    let budget = budget(&gateway).await;
    assert_eq!((&budget["spent_micro_usd"], &budget["held_micro_usd"]), (&json!(0), &json!(0)));
}

#[tokio::test]
async fn money_is_held_while_a_request_runs() {
    let gate = Gate::new();
    let body =
        r#"{"model":"m","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}"#;
    let whole = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let shut = gate.clone();
    let provider = Provider::start(move |_| Answer::raw("").gate(&shut, 1).then(&whole)).await;
    let (gateway, _) = gateway(&provider, "").await;
    // Each may cost 1000 × 10 and some for its prompt.
    let token = tenant(&gateway, json!(25_000)).await;
    let three = async {
        let all = (0..3).map(|_| ask(&gateway, &token, chat(1000)));
        join_all(all).await
    };
    let watch = async {
        let held = until("two holds", || async {
            let held = budget(&gateway).await["held_micro_usd"].as_u64().expect("a number");
            (held >= 20_000).then_some(held)
        })
        .await;
        assert!(held < 25_000, "{held}");
        gate.open();
    };
    let (answers, ()) = tokio::join!(three, watch);
    let statuses: Vec<u16> = answers.iter().map(Reply::status).collect();
    assert_eq!(statuses.iter().filter(|&&status| status == 200).count(), 2, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|&&status| status == 402).count(), 1, "{statuses:?}");
    sleep(Duration::from_millis(200)).await;
    let budget = budget(&gateway).await;
    assert_eq!((&budget["spent_micro_usd"], &budget["held_micro_usd"]), (&json!(24), &json!(0)));
}

#[tokio::test]
async fn what_failed_costs_nothing_and_holds_nothing() {
    let provider = Provider::start(|_| Answer::json(500, &json!({"error": {"message": "down"}}))).await;
    let (gateway, _) = gateway(&provider, "").await;
    let token = tenant(&gateway, json!(100_000)).await;
    assert_eq!(ask(&gateway, &token, chat(1000)).await.status(), 500);
    sleep(Duration::from_millis(200)).await;
    let budget = budget(&gateway).await;
    assert_eq!((&budget["spent_micro_usd"], &budget["held_micro_usd"]), (&json!(0), &json!(0)));
}

#[tokio::test]
async fn what_is_spent_survives_a_crash() {
    let usage = json!({"prompt_tokens": 10, "completion_tokens": 10, "total_tokens": 20});
    let provider = Provider::start(move |_| answer(&usage)).await;
    let (mut gateway, _) = gateway(&provider, "").await;
    let token = tenant(&gateway, json!(1000)).await;
    for _ in 0..5 {
        ask(&gateway, &token, chat(10)).await.expect(200);
    }
    gateway.kill();
    gateway.restart().await;
    assert_eq!(budget(&gateway).await["spent_micro_usd"], 600);
    for _ in 0..2 {
        ask(&gateway, &token, chat(10)).await.expect(200);
    }
    // 840 are spent, and the next one may cost more than the rest.
    ask(&gateway, &token, chat(10)).await.expect(200);
    ask(&gateway, &token, chat(10)).await.refused(402, "BUDGET_EXCEEDED");
    assert_eq!(budget(&gateway).await["spent_micro_usd"], 960);
}

#[tokio::test]
async fn a_client_that_goes_settles_what_was_streamed() {
    let event = r#"{"id":"c","object":"chat.completion.chunk","model":"m","choices":[{"index":0,"delta":{"content":"a text of forty characters, or about so"}}]}"#;
    let provider =
        Provider::start(move |_| Answer::events().chunk(format!("data: {event}\n\n")).then_hang()).await;
    let (gateway, _) = gateway(&provider, "").await;
    let token = tenant(&gateway, json!(100_000)).await;
    let mut connection = crate::harness::Connection::open(gateway.port()).await;
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    let body = json!({"model": "m", "stream": true, "messages": [], "max_tokens": 1000});
    connection.request("POST", "/openai/v1/chat/completions", &headers, body.to_string().as_bytes()).await;
    connection.head().await;
    connection.chunk().await;
    assert!(budget(&gateway).await["held_micro_usd"].as_u64().expect("a number") > 10_000);
    drop(connection);
    let row = gateway.usage_row("acme", 1).await;
    assert_eq!((&row["outcome"], &row["usage_source"]), (&json!("cancelled"), &json!("estimated")));
    let cost = row["cost_micro_usd"].as_u64().expect("a number");
    assert!((100..1000).contains(&cost), "{row}");
    sleep(Duration::from_millis(200)).await;
    let budget = budget(&gateway).await;
    assert_eq!((&budget["spent_micro_usd"], &budget["held_micro_usd"]), (&json!(cost), &json!(0)));
}

/// Answers a stream with usage if it was asked for, as OpenAI does.
fn streaming(seen: &crate::harness::Seen) -> Answer {
    let all = crate::harness::OPENAI_STREAM;
    let asked = seen.json()["stream_options"]["include_usage"] == true;
    let events: Vec<&str> = all.into_iter().filter(|event| asked || !event.contains("usage")).collect();
    Answer::sse(&events)
}

#[tokio::test]
async fn the_usage_of_a_stream_is_asked_for_where_the_platform_pays_and_kept_from_who_did_not_ask() {
    let provider = Provider::start(streaming).await;
    let (gateway, _) = gateway(&provider, "").await;
    let token = tenant(&gateway, json!(1_000_000)).await;
    let mut body = json!({"model": "m", "messages": [], "stream": true});
    let reply = ask(&gateway, &token, body.clone()).await.expect(200);
    assert_eq!(provider.last().json()["stream_options"], json!({"include_usage": true}));
    assert!(
        !reply.text().contains("usage") && reply.text().contains("hel") && reply.text().contains("[DONE]")
    );
    // 11 × 2 + 7 × 10
    let row = gateway.usage_row("acme", 1).await;
    assert_eq!((&row["cost_micro_usd"], &row["usage_source"]), (&json!(92), &json!("reported")));
    body["stream_options"] = json!({"include_usage": true});
    let reply = ask(&gateway, &token, body.clone()).await.expect(200);
    assert_eq!(provider.last().body, body.to_string().into_bytes(), "as the client sent it");
    assert!(reply.text().contains("usage"));
    // On a key of the tenant's own nothing is touched.
    gateway.store("acme", "openai", &a_key("sk-proj-")).await;
    body.as_object_mut().expect("an object").remove("stream_options");
    ask(&gateway, &token, body.clone()).await.expect(200);
    assert_eq!(provider.last().body, body.to_string().into_bytes());
}
