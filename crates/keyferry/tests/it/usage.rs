//! Usage: one row a request, with what the provider reported, there as soon as the answer is.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Answer, Database, Gateway, Options, Provider, a_key, openai_completion};

const CHAT: &str = "/openai/v1/chat/completions";

async fn rows(gateway: &Gateway, token: &str, tenant: &str, query: &str) -> Value {
    let path = format!("/tenants/{tenant}/usage/requests{query}");
    gateway.admin(token, "GET", &path, &Value::Null).await.expect(200).json()
}

#[tokio::test]
async fn a_row_says_who_asked_what_and_how_it_went() {
    let provider = Provider::right().await;
    let gateway = Gateway::before(&provider).await;
    let tenant = gateway.tenant_with_key("openai", &a_key("key-")).await;
    let reply = gateway.chat(&tenant.caller_token).await.expect(200);
    // Asked for at once: the row is there before the answer is.
    let rows = rows(&gateway, &tenant.admin_token, &tenant.id, "").await;
    let row = &rows["data"][0];
    for (field, value) in [
        ("request_id", json!(reply.header("x-keyferry-request-id"))),
        ("provider", json!("openai")),
        ("model", json!("gpt-4.1-mini-2025-04-14")),
        ("operation", json!("chat.completions")),
        ("credential", json!("held")),
        ("credential_id", json!(tenant.credential_id)),
        ("accounting", json!("BYOK_NO_BUDGET")),
        ("status", json!(200)),
        ("outcome", json!("ok")),
        ("input_tokens", json!(11)),
        ("cached_input_tokens", json!(4)),
        ("output_tokens", json!(7)),
        ("cost_micro_usd", json!(0)),
        ("usage_source", json!("reported")),
    ] {
        assert_eq!(row[field], value, "{field} in {row}");
    }
    assert!(row["latency_ms"].is_u64() && row["overhead_us"].as_u64() > Some(0), "{row}");
    assert!(row["at"].as_str().is_some_and(|at| at.ends_with('Z')), "{row}");
    assert_eq!(rows["data"].as_array().map(Vec::len), Some(1));
    assert_eq!(rows["next_cursor"], Value::Null);
}

#[tokio::test]
async fn each_dialect_is_metered_whole_and_streamed() {
    let provider = Provider::right().await;
    let gateway = Gateway::before(&provider).await;
    for (name, path, body, cached) in [
        ("openai", CHAT, json!({"model": "m", "messages": []}), 4),
        ("openai", CHAT, json!({"model": "m", "messages": [], "stream": true}), 0),
        ("gemini", "/gemini/v1beta/models/m:generateContent", json!({"contents": []}), 4),
        ("gemini", "/gemini/v1/models/m:streamGenerateContent?alt=sse", json!({"contents": []}), 0),
        ("anthropic", "/anthropic/v1/messages", json!({"model": "m", "max_tokens": 1, "messages": []}), 4),
        ("anthropic", "/anthropic/v1/messages", json!({"model": "m", "messages": [], "stream": true}), 0),
    ] {
        let tenant = gateway.tenant_with_key(name, &a_key("key-")).await;
        gateway.post(&tenant.caller_token, path, &[], &body).await.expect(200);
        let row = gateway.usage_row(&tenant.id, 1).await;
        // What Anthropic read from its cache is not in its own `input_tokens`.
        let input = if name == "anthropic" { 11 + cached } else { 11 };
        let found = [&row["input_tokens"], &row["cached_input_tokens"], &row["output_tokens"]];
        assert_eq!(found, [&json!(input), &json!(cached), &json!(7)], "{name} {path}: {row}");
        assert_eq!(row["usage_source"], "reported");
    }
}

#[tokio::test]
async fn sums_add_up_by_every_group() {
    let provider = Provider::start(|seen| {
        if seen.json()["fail"] == true {
            Answer::json(429, &json!({"error": {"message": "slow"}}))
        } else {
            Answer::right(seen)
        }
    })
    .await;
    let gateway = Gateway::before(&provider).await;
    let tenant = gateway.tenant_with_key("openai", &a_key("key-")).await;
    let gemini = gateway.store(&tenant.id, "gemini", &a_key("key-")).await;
    let other = gateway.token(&tenant.id, &json!({"role": "caller"})).await;
    for token in [&tenant.caller_token, &tenant.caller_token, &other] {
        gateway.chat(token).await.expect(200);
    }
    gateway.post(&other, CHAT, &[], &json!({"model": "m", "messages": [], "fail": true})).await.expect(429);
    let generate = "/gemini/v1beta/models/gemini-2.5-flash:generateContent";
    gateway.post(&other, generate, &[], &json!({"contents": []})).await.expect(200);
    let summary = async |query: &str| {
        let path = format!("/tenants/{}/usage{query}", tenant.id);
        gateway.admin(&tenant.admin_token, "GET", &path, &Value::Null).await.expect(200).json()
    };
    let all = summary("").await;
    let total = &all["total"];
    assert_eq!((&total["requests"], &total["errors"]), (&json!(5), &json!(1)), "{all}");
    assert_eq!((&total["input_tokens"], &total["output_tokens"]), (&json!(44), &json!(28)), "{all}");
    let find = |sums: &Value, group: &str, value: &str| {
        let row = sums["data"].as_array().expect("rows").iter().find(|row| row[group] == value).cloned();
        row.unwrap_or_else(|| panic!("no {group} {value} in {sums}"))
    };
    let by = summary("?group_by=provider").await;
    assert_eq!(find(&by, "provider", "openai")["requests"], 4);
    assert_eq!(find(&by, "provider", "gemini")["output_tokens"], 7);
    assert_eq!(find(&summary("?group_by=credential").await, "credential", &gemini)["requests"], 1);
    assert_eq!(find(&summary("?group_by=model").await, "model", "gpt-4.1-mini-2025-04-14")["requests"], 3);
    assert_eq!(find(&summary("?group_by=accounting").await, "accounting", "BYOK_NO_BUDGET")["requests"], 5);
    let today = all["data"].clone();
    let days = summary("?group_by=day,provider").await;
    assert_eq!(days["data"].as_array().map(Vec::len), Some(2), "{days} {today}");
    let id = other.split('-').nth(2).expect("an id");
    assert_eq!(find(&summary("?group_by=token").await, "token", id)["errors"], 1);
    let none = summary("?from=2020-01-01T00:00:00Z&to=2020-01-02T00:00:00Z").await;
    assert_eq!((&none["total"]["requests"], none["data"].as_array().map(Vec::len)), (&json!(0), Some(0)));
    for wrong in ["?group_by=moon", "?from=yesterday", "?group_by=day,day", "?moon=1"] {
        let path = format!("/tenants/{}/usage{wrong}", tenant.id);
        gateway.admin(&tenant.admin_token, "GET", &path, &Value::Null).await.refused(400, "invalid_request");
    }
}

#[tokio::test]
async fn rows_come_newest_first_in_pages_and_as_lines() {
    let provider = Provider::right().await;
    let gateway = Gateway::before(&provider).await;
    let tenant = gateway.tenant_with_key("openai", &a_key("key-")).await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.insert(
            0,
            gateway.chat(&tenant.caller_token).await.expect(200).header("x-keyferry-request-id").to_owned(),
        );
    }
    let (mut found, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = rows(&gateway, &tenant.admin_token, &tenant.id, &format!("?limit=2{cursor}")).await;
        let data = page["data"].as_array().expect("rows");
        assert!(data.len() <= 2);
        found.extend(data.iter().map(|row| row["request_id"].as_str().expect("an id").to_owned()));
        let Some(next) = page["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(found, ids);
    let path = format!("/tenants/{}/usage/requests?format=jsonl", tenant.id);
    let lines = gateway.admin(&tenant.admin_token, "GET", &path, &Value::Null).await.expect(200);
    let lines: Vec<Value> =
        lines.text().lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines.iter().map(|row| row["request_id"].clone()).collect::<Vec<_>>(), ids);
}

#[tokio::test]
async fn rows_come_as_csv() {
    let provider = Provider::right().await;
    let gateway = Gateway::before(&provider).await;
    let tenant = gateway.tenant_with_key("openai", &a_key("key-")).await;
    let reply = gateway.chat(&tenant.caller_token).await.expect(200);
    let path = format!("/tenants/{}/usage/requests?format=csv", tenant.id);
    let table = gateway.admin(&tenant.admin_token, "GET", &path, &Value::Null).await.expect(200);
    let text = table.text();
    assert!(text.lines().next().is_some_and(|head| head.contains("request_id")), "{text}");
    assert!(
        text.lines().nth(1).is_some_and(|row| row.contains(reply.header("x-keyferry-request-id"))),
        "{text}"
    );
}

#[tokio::test]
async fn a_refused_request_leaves_no_row() {
    let provider = Provider::right().await;
    let gateway = Gateway::before(&provider).await;
    let tenant = gateway.tenant_with_key("openai", &a_key("key-")).await;
    gateway.chat("sk-kf-nobody-0000000000").await.refused(401, "unauthorized");
    gateway.post(&tenant.caller_token, CHAT, &[], &json!([])).await.refused(400, "invalid_request");
    gateway
        .post(&tenant.caller_token, "/anthropic/v1/messages", &[], &json!({"model": "m"}))
        .await
        .refused(404, "BYOK_KEY_NOT_FOUND");
    gateway.chat(&tenant.caller_token).await.expect(200);
    let rows = rows(&gateway, &tenant.admin_token, &tenant.id, "").await;
    assert_eq!(rows["data"].as_array().map(Vec::len), Some(1), "{rows}");
    assert_eq!(provider.count(), 1);
}

#[tokio::test]
async fn what_lists_repeat_of_earlier_usage_is_not_counted_again() {
    let provider = Provider::answering([Answer::json(200, &openai_completion())]).await;
    let gateway = Gateway::before(&provider).await;
    let tenant = gateway.tenant_with_key("openai", &a_key("key-")).await;
    let bearer = format!("Bearer {}", tenant.caller_token);
    let url = format!("{}/openai/v1/responses/resp_1", gateway.url());
    crate::harness::request("GET", &url, &[("authorization", &bearer)], b"").await.expect(200);
    let row = gateway.usage_row(&tenant.id, 1).await;
    assert_eq!((&row["input_tokens"], &row["output_tokens"]), (&json!(0), &json!(0)), "{row}");
    assert_eq!(row["usage_source"], "none");
}

#[tokio::test]
async fn a_credential_says_when_it_was_last_used() {
    let provider = Provider::right().await;
    let gateway = Gateway::before(&provider).await;
    let tenant = gateway.tenant_with_key("openai", &a_key("key-")).await;
    let path = format!("/tenants/{}/credentials/{}", tenant.id, tenant.credential_id);
    let before = gateway.operator("GET", &path, &Value::Null).await.expect(200).json();
    assert_eq!(before["last_used_at"], Value::Null);
    gateway.chat(&tenant.caller_token).await.expect(200);
    let after = gateway.operator("GET", &path, &Value::Null).await.expect(200).json();
    assert!(after["last_used_at"].is_string(), "{after}");
}

#[tokio::test]
async fn while_the_store_cannot_write_answers_do_not_wait_for_it_and_their_rows_survive_a_kill() {
    let provider = Provider::right().await;
    let mut gateway = Gateway::before(&provider).await;
    let tenant = gateway.tenant_with_key("openai", &a_key("key-")).await;
    gateway.chat(&tenant.caller_token).await.expect(200);
    gateway.usage_row(&tenant.id, 1).await;
    let mut database = Database::open(&gateway.database()).await;
    database.run("BEGIN IMMEDIATE", &[]).await;
    let begun = Instant::now();
    for _ in 0..8 {
        gateway.chat(&tenant.caller_token).await.expect(200);
    }
    assert!(begun.elapsed() < Duration::from_secs(4), "that is half a second each: {:?}", begun.elapsed());
    gateway.kill();
    database.run("ROLLBACK", &[]).await;
    gateway.restart().await;
    gateway.usage_row(&tenant.id, 9).await;
}

#[tokio::test]
async fn without_a_journal_answers_wait_for_the_store() {
    let provider = Provider::right().await;
    let mut gateway = Gateway::start(Options::to(&provider).yaml("storage: {journal: false}")).await;
    let tenant = gateway.tenant_with_key("openai", &a_key("key-")).await;
    gateway.chat(&tenant.caller_token).await.expect(200);
    let mut database = Database::open(&gateway.database()).await;
    database.run("BEGIN IMMEDIATE", &[]).await;
    let begun = Instant::now();
    gateway.chat(&tenant.caller_token).await.expect(200);
    assert!(begun.elapsed() > Duration::from_millis(900), "{:?}", begun.elapsed());
    database.run("ROLLBACK", &[]).await;
    gateway.chat(&tenant.caller_token).await.expect(200);
    gateway.kill();
    gateway.restart().await;
    gateway.usage_row(&tenant.id, 3).await;
    assert!(!gateway.database().with_file_name("keyferry.db-usage-1").exists());
}

#[tokio::test]
async fn nothing_is_left_in_the_journal_after_a_stop() {
    let provider = Provider::right().await;
    let mut gateway = Gateway::before(&provider).await;
    let tenant = gateway.tenant_with_key("openai", &a_key("key-")).await;
    for _ in 0..3 {
        gateway.chat(&tenant.caller_token).await.expect(200);
    }
    gateway.sigterm_and_wait().await;
    for file in ["keyferry.db-usage-1", "keyferry.db-usage-2"] {
        let path = gateway.database().with_file_name(file);
        assert_eq!(std::fs::metadata(path).expect("a file").len(), 0, "{file}");
    }
    gateway.restart().await;
    gateway.usage_row(&tenant.id, 3).await;
}

#[tokio::test]
async fn what_a_gateway_that_had_the_journal_left_is_stored_by_another_that_serves() {
    let provider = Provider::right().await;
    let mut gateway = Gateway::before(&provider).await;
    let tenant = gateway.tenant_with_key("openai", &a_key("key-")).await;
    let paths = ["-usage-1", "-usage-2"].map(|end| gateway.database().with_extension(format!("db{end}")));
    let mut database = Database::open(&gateway.database()).await;
    database.run("BEGIN IMMEDIATE", &[]).await;
    gateway.chat(&tenant.caller_token).await.expect(200);
    gateway.kill();
    database.run("ROLLBACK", &[]).await;
    // Somebody else has it while this one starts.
    let files = paths.map(|path| std::fs::File::open(path).expect("a file"));
    files[0].lock().expect("free");
    gateway.restart().await;
    gateway.chat(&tenant.caller_token).await.expect(200);
    gateway.usage_row(&tenant.id, 1).await;
    drop(files);
    gateway.usage_row(&tenant.id, 2).await;
}

#[tokio::test]
async fn while_the_store_cannot_write_cached_keys_serve_and_rows_come_later() {
    let provider = Provider::right().await;
    let gateway = Gateway::before(&provider).await;
    let tenant = gateway.tenant_with_key("openai", &a_key("key-")).await;
    gateway.chat(&tenant.caller_token).await.expect(200);
    let mut database = Database::open(&gateway.database()).await;
    database.run("BEGIN IMMEDIATE", &[]).await;
    let begun = Instant::now();
    gateway.chat(&tenant.caller_token).await.expect(200);
    gateway.chat(&tenant.caller_token).await.expect(200);
    let store = json!({"provider": "gemini", "api_key": a_key("key-")});
    let path = format!("/tenants/{}/credentials", tenant.id);
    gateway.operator("POST", &path, &store).await.refused(503, "BYOK_SERVICE_UNAVAILABLE");
    assert!(
        begun.elapsed() < Duration::from_secs(6),
        "none waits longer than a second: {:?}",
        begun.elapsed()
    );
    database.run("ROLLBACK", &[]).await;
    let row = gateway.usage_row(&tenant.id, 3).await;
    assert_eq!(row["outcome"], "ok");
    gateway.operator("POST", &path, &store).await.expect(201);
}
