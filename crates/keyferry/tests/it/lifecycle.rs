//! Stopping, crashing, starting again, and clients that go away.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::harness::{
    Answer, Connection, Database, Gate, Gateway, OPENAI_STREAM, OPERATOR, Options, Piece, Provider, Tenant,
    a_key, request, until,
};

const CHAT: &str = "/openai/v1/chat/completions";

/// Opens a stream and reads its first event.
async fn begin(gateway: &Gateway, tenant: &Tenant) -> Connection {
    let mut connection = Connection::open(gateway.port()).await;
    let bearer = format!("Bearer {}", tenant.caller_token);
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    let body = json!({"model": "m", "messages": [], "stream": true}).to_string();
    connection.request("POST", CHAT, &headers, body.as_bytes()).await;
    assert_eq!(connection.head().await.status, 200);
    connection.until_text(OPENAI_STREAM[0]).await;
    connection
}

/// Streams the first event, and the others when the gate is opened.
async fn waiting(gate: &Gate) -> Provider {
    let gate = gate.clone();
    Provider::start(move |_| {
        let begun = Answer::events().chunk(OPENAI_STREAM[0]).gate(&gate, 1);
        OPENAI_STREAM[1..].iter().fold(begun, |answer, event| answer.chunk(event)).end()
    })
    .await
}

#[tokio::test]
async fn as_many_threads_serve_as_are_asked_for() {
    let provider = Provider::right().await;
    let serving = async |workers: &str| {
        let gateway = Gateway::start(Options::to(&provider).env("KEYFERRY_WORKERS", workers)).await;
        let tenant = gateway.tenant_with_key("openai", &a_key("key-")).await;
        gateway.chat(&tenant.caller_token).await.expect(200);
        let name =
            |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("comm")).unwrap_or_default();
        let named = || {
            let tasks = std::fs::read_dir(format!("/proc/{}/task", gateway.pid())).expect("its threads");
            tasks.flatten().map(name).filter(|name| name.starts_with("worker-")).count()
        };
        // A thread that was just started has the name of another one.
        until("all have their names", || async { (named().to_string() == workers).then_some(()) }).await;
    };
    serving("1").await;
    serving("40").await;
}

#[tokio::test]
async fn threads_that_serve_share_the_connections_to_a_provider() {
    let provider = Provider::right().await;
    let gateway = Gateway::start(Options::to(&provider).env("KEYFERRY_WORKERS", "4")).await;
    let tenant = gateway.tenant_with_key("openai", &a_key("key-")).await;
    let bearer = format!("Bearer {}", tenant.caller_token);
    let body = json!({"model": "m", "messages": []}).to_string();
    // They stay open, so each comes to another thread than the one before.
    let mut clients = Vec::new();
    for _ in 0..8 {
        let mut client = Connection::open(gateway.port()).await;
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
        client.request("POST", CHAT, &headers, body.as_bytes()).await;
        client.reply().await.expect(200);
        clients.push(client);
    }
    assert_eq!((provider.count(), provider.connections()), (8, 1));
}

#[tokio::test]
async fn sigterm_lets_a_stream_end_whole_and_exits_with_0() {
    let gate = Gate::new();
    let provider = waiting(&gate).await;
    let mut gateway = Gateway::before(&provider).await;
    let tenant = gateway.tenant_with_key("openai", &a_key("key-")).await;
    let mut stream = begin(&gateway, &tenant).await;
    gateway.sigterm();
    until("it drains", || async { gateway.log().contains("\"event\":\"draining\"").then_some(()) }).await;
    gate.open();
    assert!(stream.until_text("[DONE]").await.ends_with(OPENAI_STREAM[3]));
    assert_eq!(stream.chunk().await, Piece::End);
    assert_eq!(gateway.wait().await.code(), Some(0), "{}", gateway.log());
    gateway.restart().await;
    let row = gateway.usage_row(&tenant.id, 1).await;
    assert_eq!((&row["outcome"], &row["output_tokens"]), (&json!("ok"), &json!(7)), "{row}");
}

#[tokio::test]
async fn while_it_drains_it_takes_nothing_new() {
    let gate = Gate::new();
    let provider = waiting(&gate).await;
    let mut gateway = Gateway::before(&provider).await;
    let tenant = gateway.tenant_with_key("openai", &a_key("key-")).await;
    let mut idle = Connection::open(gateway.port()).await;
    idle.request("GET", "/healthz", &[], b"").await;
    idle.reply().await.expect(200);
    let mut stream = begin(&gateway, &tenant).await;
    gateway.sigterm();
    assert!(idle.closes_within(Duration::from_secs(5)).await, "an idle connection is closed");
    let port = gateway.port();
    until("the port is closed", || async { refuses(port).await.then_some(()) }).await;
    gate.open();
    stream.until_text("[DONE]").await;
    assert_eq!(gateway.wait().await.code(), Some(0));
}

/// Whether a port takes no connections.
#[expect(clippy::disallowed_methods, reason = "a test talks to the gateway under test")]
async fn refuses(port: u16) -> bool {
    tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err()
}

#[tokio::test]
async fn an_idle_gateway_stops_at_once() {
    let provider = Provider::right().await;
    let mut gateway = Gateway::before(&provider).await;
    let begun = Instant::now();
    assert_eq!(gateway.sigterm_and_wait().await.code(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_second_signal_stops_it_at_once() {
    let gate = Gate::new();
    let provider = waiting(&gate).await;
    let mut gateway = Gateway::before(&provider).await;
    let tenant = gateway.tenant_with_key("openai", &a_key("key-")).await;
    let stream = begin(&gateway, &tenant).await;
    gateway.sigterm();
    until("it drains", || async { gateway.log().contains("\"event\":\"draining\"").then_some(()) }).await;
    assert_eq!(gateway.sigterm_and_wait().await.code(), Some(0));
    drop(stream);
}

#[tokio::test]
async fn kill_9_loses_no_row_of_an_answered_request() {
    let provider = Provider::right().await;
    let mut gateway = Gateway::before(&provider).await;
    let tenant = gateway.tenant_with_key("openai", &a_key("key-")).await;
    let mut answered = Vec::new();
    for round in 0..5 {
        for stream in [false, true, false] {
            let body = json!({"model": "m", "messages": [], "stream": stream});
            let reply = gateway.post(&tenant.caller_token, CHAT, &[], &body).await.expect(200);
            assert!(reply.whole);
            answered.push(reply.header("x-keyferry-request-id").to_owned());
        }
        // At once, in the moment the last byte was read.
        gateway.kill();
        gateway.restart().await;
        let path = format!("/tenants/{}/usage/requests?limit=1000", tenant.id);
        let rows = gateway.operator("GET", &path, &Value::Null).await.expect(200).json();
        let mut found: Vec<&str> = rows["data"]
            .as_array()
            .expect("rows")
            .iter()
            .filter_map(|row| row["request_id"].as_str())
            .collect();
        found.reverse();
        assert_eq!(found, answered, "round {round}");
    }
}

#[tokio::test]
async fn kill_9_in_the_middle_of_a_stream_leaves_a_store_that_starts_and_a_chain_that_holds() {
    let gate = Gate::new();
    let provider = waiting(&gate).await;
    let mut gateway = Gateway::before(&provider).await;
    let tenant = gateway.tenant_with_key("openai", &a_key("key-")).await;
    let mut stream = begin(&gateway, &tenant).await;
    gateway.kill();
    assert_eq!(stream.chunk().await, Piece::Broken);
    gate.open();
    gateway.restart().await;
    gateway.chat(&tenant.caller_token).await.expect(200);
    let verified =
        crate::harness::command().args(["audit", "verify", "--config"]).arg(gateway.config()).output();
    assert!(verified.expect("it runs").status.success());
}

#[tokio::test]
async fn keys_tokens_and_settings_are_there_after_a_restart() {
    let provider = Provider::right().await;
    let mut gateway = Gateway::before(&provider).await;
    let key = a_key("key-");
    let tenant = gateway.tenant_with_key("openai", &key).await;
    gateway.sigterm_and_wait().await;
    gateway.restart().await;
    gateway.chat(&tenant.caller_token).await.expect(200);
    assert_eq!(provider.last().header("authorization"), format!("Bearer {key}"));
    gateway
        .admin(&tenant.admin_token, "GET", &format!("/tenants/{}", tenant.id), &Value::Null)
        .await
        .expect(200);
}

#[tokio::test]
async fn a_client_that_leaves_a_stream_stops_the_provider_at_once() {
    let provider = Provider::start(|_| Answer::events().chunk(OPENAI_STREAM[0]).then_hang()).await;
    let gateway = Gateway::before(&provider).await;
    let tenant = gateway.tenant_with_key("openai", &a_key("key-")).await;
    let stream = begin(&gateway, &tenant).await;
    let left = Instant::now();
    drop(stream);
    provider.closed(0).await;
    assert!(left.elapsed() < Duration::from_secs(1), "{:?}", left.elapsed());
    let row = gateway.usage_row(&tenant.id, 1).await;
    assert_eq!(row["outcome"], "cancelled", "{row}");
    assert_eq!(row["usage_source"], "estimated", "what was streamed is settled: {row}");
    assert!(row["output_tokens"].as_u64() > Some(0), "{row}");
}

#[tokio::test]
async fn a_client_that_leaves_before_an_answer_stops_the_provider_at_once() {
    let provider = Provider::start(|_| Answer::hang()).await;
    let gateway = Gateway::before(&provider).await;
    let tenant = gateway.tenant_with_key("openai", &a_key("key-")).await;
    let mut connection = Connection::open(gateway.port()).await;
    let bearer = format!("Bearer {}", tenant.caller_token);
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    connection.request("POST", CHAT, &headers, b"{\"model\":\"m\"}").await;
    provider.request(1).await;
    let left = Instant::now();
    drop(connection);
    provider.closed(0).await;
    assert!(left.elapsed() < Duration::from_secs(1), "{:?}", left.elapsed());
    let row = gateway.usage_row(&tenant.id, 1).await;
    assert_eq!((&row["outcome"], &row["status"]), (&json!("cancelled"), &json!(499)), "{row}");
}

#[tokio::test]
async fn health_is_told_on_both_listeners_and_metrics_on_one() {
    let provider = Provider::right().await;
    let gateway = Gateway::before(&provider).await;
    for url in [gateway.url(), gateway.metrics_url()] {
        let ready = request("GET", &format!("{url}/readyz"), &[], b"").await.expect(200).json();
        for part in ["storage", "counters", "kms"] {
            assert_eq!(ready[part]["status"], "ok", "{ready}");
        }
        request("GET", &format!("{url}/healthz"), &[], b"").await.expect(200);
    }
    let tenant = gateway.tenant_with_key("openai", &a_key("key-")).await;
    gateway.chat(&tenant.caller_token).await.expect(200);
    let metrics = request("GET", &format!("{}/metrics", gateway.metrics_url()), &[], b"").await.expect(200);
    assert!(metrics.text().contains("byok_key_stored_total"), "{}", metrics.text());
    request("GET", &format!("{}/metrics", gateway.url()), &[], b"").await.refused(404, "not_found");
    for path in [CHAT, "/api/v1/tenants"] {
        let reply = request("GET", &format!("{}{path}", gateway.metrics_url()), &[], b"").await;
        reply.refused(404, "not_found");
    }
}

#[tokio::test]
async fn silent_clients_do_not_hold_up_the_end() {
    let provider = Provider::right().await;
    let mut gateway = Gateway::before(&provider).await;
    let silent = Connection::open(gateway.port()).await;
    let mut half = Connection::open(gateway.port()).await;
    half.send(b"POST /openai/v1/chat/completions HTTP/1.1\r\nhost: x\r\n").await;
    let mut idle = Connection::open(gateway.port()).await;
    idle.request("GET", "/healthz", &[], b"").await;
    idle.reply().await.expect(200);
    let begun = Instant::now();
    assert_eq!(gateway.sigterm_and_wait().await.code(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    drop((silent, half, idle));
}

#[tokio::test]
async fn kill_9_under_load_loses_no_row_of_an_answer_that_was_read_whole() {
    let provider = Provider::right().await;
    let mut gateway = Gateway::before(&provider).await;
    let tenant = gateway.tenant_with_key("openai", &a_key("key-")).await;
    let answered = Arc::new(Mutex::new(Vec::new()));
    let clients: Vec<_> = (0..8)
        .map(|number| {
            let (port, token) = (gateway.port(), tenant.caller_token.clone());
            let answered = Arc::clone(&answered);
            tokio::spawn(async move {
                let mut connection = Connection::open(port).await;
                let bearer = format!("Bearer {token}");
                let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
                let body = json!({"model": "m", "messages": [], "stream": number % 2 == 0}).to_string();
                loop {
                    connection.request("POST", CHAT, &headers, body.as_bytes()).await;
                    let Some(reply) = connection.try_reply().await else { return };
                    if reply.status() != 200 || !reply.whole {
                        return;
                    }
                    let id = reply.header("x-keyferry-request-id").to_owned();
                    answered.lock().expect("not poisoned").push(id);
                }
            })
        })
        .collect();
    until("many answers", || async { (answered.lock().expect("not poisoned").len() > 60).then_some(()) })
        .await;
    gateway.kill();
    for client in clients {
        client.await.expect("no panic");
    }
    gateway.restart().await;
    let path = format!("/tenants/{}/usage/requests?limit=1000", tenant.id);
    let rows = gateway.operator("GET", &path, &Value::Null).await.expect(200).json();
    let rows: Vec<&Value> =
        rows["data"].as_array().expect("rows").iter().map(|row| &row["request_id"]).collect();
    let lost: Vec<String> = answered
        .lock()
        .expect("not poisoned")
        .iter()
        .filter(|id| !rows.contains(&&json!(id)))
        .cloned()
        .collect();
    assert!(lost.is_empty(), "{lost:?}");
    let unique: std::collections::BTreeSet<String> = rows.iter().map(ToString::to_string).collect();
    assert_eq!(unique.len(), rows.len(), "one row a request");
}

#[tokio::test]
async fn a_revocation_whose_client_hangs_up_is_obeyed() {
    let provider = Provider::right().await;
    let gateway = Gateway::before(&provider).await;
    let tenant = gateway.tenant_with_key("openai", &a_key("key-")).await;
    gateway.chat(&tenant.caller_token).await.expect(200);
    // While the database is held, the change waits; in that time its client goes away.
    let mut database = Database::open(&gateway.database()).await;
    database.run("BEGIN IMMEDIATE", &[]).await;
    let mut connection = Connection::open(gateway.port()).await;
    let token = tenant.caller_token.split('-').nth(2).expect("an id");
    let target = format!("/api/v1/tenants/{}/tokens/{token}", tenant.id);
    let bearer = format!("Bearer {OPERATOR}");
    connection.request("DELETE", &target, &[("authorization", &bearer)], b"").await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    drop(connection);
    tokio::time::sleep(Duration::from_millis(100)).await;
    database.run("COMMIT", &[]).await;
    until("the token is refused", || async {
        (gateway.chat(&tenant.caller_token).await.status() == 401).then_some(())
    })
    .await;
}
