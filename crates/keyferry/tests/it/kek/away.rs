//! The root goes away while traffic runs, and comes back.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use keyferry_kms_testing::transit::Day;
use serde_json::json;
use tokio::time::sleep;

use super::{OnTransit, kek, kek_json, kms, store_many, vault};
use crate::harness::{Database, Reply, Tenant, a_key, until};

/// What one call of a root may take, and what a loaded machine may add.
pub(super) const PROMISED: Duration = Duration::from_millis(5800);

/// The three dialects: a provider, an operation, and a body for it.
const SURFACES: [(&str, &str, &str); 3] = [
    ("openai", "/openai/v1/chat/completions", r#"{"model":"m","messages":[]}"#),
    ("anthropic", "/anthropic/v1/messages", r#"{"model":"m","max_tokens":1,"messages":[]}"#),
    ("gemini", "/gemini/v1beta/models/m:generateContent", r#"{"contents":[]}"#),
];

/// Fails the test unless the answer is this error and says when to try again.
#[track_caller]
fn refused_for_a_while(reply: Reply, code: &str) {
    let reply = reply.refused(503, code);
    let seconds: u64 = reply.header("retry-after").parse().expect("seconds");
    assert!((1..=60).contains(&seconds), "{seconds}");
}

/// A tenant for each dialect.
async fn tenants(on: &OnTransit) -> Vec<Tenant> {
    let mut tenants = Vec::new();
    for (provider, ..) in SURFACES {
        tenants.push(on.gateway.tenant_with_key(provider, &a_key("sk-")).await);
    }
    tenants
}

async fn ask(on: &OnTransit, surface: usize, tenant: &Tenant) -> Reply {
    let (_, path, body) = SURFACES[surface];
    on.gateway.post(&tenant.caller_token, path, &[], &serde_json::from_str(body).expect("JSON")).await
}

/// The real run of the breaker: three failures, a minute, one probe (requirement C4).
#[tokio::test]
async fn a_root_that_stops_opens_its_circuit_and_a_probe_after_a_minute_closes_it() {
    let mut on = OnTransit::start("").await;
    let open = on.gateway.tenant_with_key("openai", &a_key("sk-open-")).await;
    let closed = tenants(&on).await;
    on.forget().await;
    on.gateway.chat(&open.caller_token).await.expect(200);
    assert_eq!((on.readiness().await.as_str(), on.circuit().await.as_str()), ("ok", "0"));

    on.server.down().await;
    refused_for_a_while(on.store(&open.id, "first").await, "BYOK_SERVICE_UNAVAILABLE");
    assert_eq!((on.readiness().await.as_str(), on.circuit().await.as_str()), ("degraded", "1"));
    let rotate = format!("/tenants/{}/credentials/{}/rotate", open.id, open.credential_id);
    let rotated = on.gateway.operator("POST", &rotate, &json!({"api_key": a_key("sk-new-")})).await;
    refused_for_a_while(rotated, "BYOK_SERVICE_UNAVAILABLE");
    refused_for_a_while(ask(&on, 0, &closed[0]).await, "BYOK_SERVICE_UNAVAILABLE");
    let opened = Instant::now();
    assert_eq!((on.readiness().await.as_str(), on.circuit().await.as_str()), ("open", "3"));
    for (surface, tenant) in closed.iter().enumerate() {
        refused_for_a_while(ask(&on, surface, tenant).await, "KMS_CIRCUIT_OPEN");
    }
    refused_for_a_while(on.store(&open.id, "second").await, "KMS_CIRCUIT_OPEN");
    let rotated = on.gateway.operator("POST", &rotate, &json!({"api_key": a_key("sk-new-")})).await;
    refused_for_a_while(rotated, "KMS_CIRCUIT_OPEN");
    let sent = on.provider.count();

    on.server.up().await;
    // A little less than the minute: the circuit stays as it is, and what is open serves.
    while opened.elapsed() < Duration::from_secs(58) {
        refused_for_a_while(ask(&on, 0, &closed[0]).await, "KMS_CIRCUIT_OPEN");
        on.gateway.chat(&open.caller_token).await.expect(200);
        sleep(Duration::from_millis(500)).await;
    }
    assert!(on.provider.count() > sent + 50, "the open one was served all the while");
    while ask(&on, 0, &closed[0]).await.status() != 200 {
        assert!(opened.elapsed() < Duration::from_secs(63), "the probe does not come");
        sleep(Duration::from_millis(100)).await;
    }
    assert!(opened.elapsed() > Duration::from_millis(59_500), "{:?}", opened.elapsed());
    for (surface, tenant) in closed.iter().enumerate() {
        ask(&on, surface, tenant).await.expect(200);
    }
    on.store(&open.id, "third").await.expect(201);
    on.gateway.operator("POST", &rotate, &json!({"api_key": a_key("sk-new-")})).await.expect(200);
    assert_eq!((on.readiness().await.as_str(), on.circuit().await.as_str()), ("ok", "0"));
}

#[tokio::test]
async fn a_rewrap_whose_root_stops_goes_on_where_it_was_and_no_request_fails() {
    const TENANTS: usize = 60;
    let mut on = OnTransit::start("").await;
    let mut tenants = Vec::new();
    for _ in 0..TENANTS {
        tenants.push(on.gateway.tenant_with_key("openai", &a_key("sk-")).await);
    }
    on.bench.rotate().await;
    let keys = TENANTS as i64 + 3;
    let mut database = Database::open(&on.gateway.database()).await;
    let renewed =
        "SELECT count(*) FROM wrapped_keys WHERE CAST(wrapped AS TEXT) LIKE 'vault:v2:%' AND id <> ?";
    assert_eq!(database.number(renewed, "").await, 0);

    let on = {
        let stop = Arc::new(AtomicBool::new(false));
        let (url, tokens) =
            (on.gateway.url(), tenants.iter().map(|tenant| tenant.caller_token.clone()).collect::<Vec<_>>());
        let asking = tokio::spawn(traffic(url, tokens, Arc::clone(&stop)));
        let moving = async {
            let output = kek(&on.gateway, &["rewrap"]).await;
            assert_eq!(output.status.code(), Some(1), "{output:?}");
            String::from_utf8_lossy(&output.stderr).into_owned()
        };
        let stopping = async {
            while database.number(renewed, "").await < keys / 3 {
                sleep(Duration::from_millis(1)).await;
            }
            on.server.has(Day::Failing);
        };
        let (told, ()) = tokio::join!(moving, stopping);
        assert!(told.contains("goes on where it was") && told.contains("away"), "{told}");
        on.server.down().await;
        // Longer than the gateway takes to read rows again: the renewed bytes are before it now.
        sleep(Duration::from_secs(4)).await;
        stop.store(true, Ordering::Relaxed);
        let requests = asking.await.expect("not one request failed");
        assert!(requests > 100, "there was traffic: {requests}");
        on
    };
    let done = database.number(renewed, "").await;
    assert!((1..keys).contains(&done), "it was stopped in the middle: {done}");

    let mut on = on;
    on.server.has(Day::Fine);
    on.server.up().await;
    let moved = kek_json(&on.gateway, &["rewrap"]).await;
    assert_eq!((&moved["keys"], &moved["left"]), (&json!(keys - done), &json!(0)), "the rest, and no more");
    on.forget().await;
    for tenant in &tenants {
        on.gateway.chat(&tenant.caller_token).await.expect(200);
    }
}

/// The command opens a tenant's KEK for a moment only, so it needs the root again and again.
#[tokio::test]
async fn a_move_of_stored_keys_whose_root_stops_goes_on_where_it_was_and_no_request_fails() {
    const MANY: usize = 3000;
    let on = OnTransit::start("").await;
    let tenant = on.gateway.tenant_with_key("openai", &a_key("sk-")).await;
    store_many(&on.gateway, &tenant.id, MANY).await;
    kek_json(&on.gateway, &["rotate"]).await;
    // With this the gateway has the new KEK open, under which the moved keys will lie.
    on.store(&tenant.id, "under the new one").await.expect(201);
    let mut database = Database::open(&on.gateway.database()).await;
    let moved = "SELECT count(*) FROM credential_versions v JOIN wrapped_keys k ON k.id = v.kek_id
        WHERE k.retired_at IS NULL AND k.owner = ?";
    assert_eq!(database.number(moved, &tenant.id).await, 1);

    let stop = Arc::new(AtomicBool::new(false));
    let asking = traffic(on.gateway.url(), vec![tenant.caller_token.clone()], Arc::clone(&stop));
    let asking = tokio::spawn(asking);
    let kept = kms(&vault(&on.bench.config), "");
    on.gateway.set_kms(&kms(&vault(&on.bench.config), ", cache_ttl: 100ms"));
    let moving = kek(&on.gateway, &["rewrap"]);
    let stopping = async {
        while database.number(moved, &tenant.id).await < 500 {
            sleep(Duration::from_millis(1)).await;
        }
        on.server.has(Day::Sealed);
    };
    let (output, ()) = tokio::join!(moving, stopping);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let done = database.number(moved, &tenant.id).await;
    assert!((500..MANY as i64).contains(&done), "it was stopped in the middle: {done}");
    sleep(Duration::from_secs(3)).await;

    on.server.has(Day::Fine);
    on.gateway.set_kms(&kept);
    let rest = kek_json(&on.gateway, &["rewrap"]).await;
    let expected = MANY as i64 + 2 - done;
    assert_eq!((&rest["versions"], &rest["left"]), (&json!(expected), &json!(0)), "the rest, and no more");
    stop.store(true, Ordering::Relaxed);
    let requests = asking.await.expect("not one request failed");
    assert!(requests > 100, "there was traffic: {requests}");
}

/// Asks for every tenant in turn, until it is told to stop; answers how many requests there were.
async fn traffic(url: String, tokens: Vec<String>, stop: Arc<AtomicBool>) -> usize {
    let mut count = 0;
    let url = format!("{url}{}", SURFACES[0].1);
    while !stop.load(Ordering::Relaxed) {
        for token in &tokens {
            let bearer = format!("Bearer {token}");
            let body = json!({"model": "m", "messages": []});
            crate::harness::post_json(&url, &[("authorization", &bearer)], &body).await.expect(200);
            count += 1;
        }
    }
    count
}

#[tokio::test]
async fn an_open_key_serves_its_time_to_the_second_and_no_longer() {
    const TTL: Duration = Duration::from_secs(2);
    let mut on = OnTransit::start(", cache_ttl: 2s").await;
    let tenant = on.gateway.tenant_with_key("openai", &a_key("sk-")).await;
    sleep(TTL).await;
    let before = Instant::now();
    on.gateway.chat(&tenant.caller_token).await.expect(200);
    let after = Instant::now();
    on.server.down().await;
    let (mut served, mut refused) = (0, 0);
    while after.elapsed() < 2 * TTL {
        let begun = Instant::now();
        let reply = on.gateway.chat(&tenant.caller_token).await;
        if before.elapsed() < TTL {
            reply.expect(200);
            served += 1;
        } else if begun > after + TTL {
            assert_eq!(reply.status(), 503, "{}", reply.text());
            refused += 1;
        }
        sleep(Duration::from_millis(20)).await;
    }
    assert!(served > 10 && refused > 10, "{served} {refused}");
    // It is asked again in a minute; a new start asks at once.
    on.server.up().await;
    on.forget().await;
    on.gateway.chat(&tenant.caller_token).await.expect(200);
}

#[tokio::test]
async fn a_caller_who_brings_a_key_is_served_without_the_root() {
    let mut on = OnTransit::start("").await;
    let tenant = on.gateway.tenant_with_key("openai", &a_key("sk-")).await;
    on.forget().await;
    on.server.down().await;
    let (_, path, body) = SURFACES[0];
    let body = serde_json::from_str(body).expect("JSON");
    let carried = [("x-byok-key", "sk-carried-0123456789abcdef")];
    for _ in 0..5 {
        on.gateway.post(&tenant.caller_token, path, &carried, &body).await.expect(200);
    }
    assert_eq!(on.readiness().await, "ok", "nobody asked the root");
    // What is there can be listed and destroyed.
    let credentials = format!("/tenants/{}/credentials", tenant.id);
    on.gateway.operator("GET", &credentials, &json!(null)).await.expect(200);
    let one = format!("{credentials}/{}", tenant.credential_id);
    on.gateway.operator("DELETE", &one, &json!(null)).await.expect(204);
    until("the revocation holds", || async {
        (on.gateway.chat(&tenant.caller_token).await.status() == 404).then_some(())
    })
    .await;
}
