//! Providers that say the key back, and exchanges that break.

use std::time::Duration;

use data_encoding::{BASE64, BASE64URL_NOPAD};
use serde_json::json;

use super::{Waters, key_of, search::Search};
use crate::harness::{Answer, Connection, Provider, Seen};

/// The ways in which an error says its key back; the request's `user-agent` names one.
const WAYS: [&str; 31] = [
    "plain",
    "at the end",
    "alone",
    "in quotes",
    "starred",
    "half",
    "escaped",
    "all escaped",
    "nested",
    "twice nested",
    "percent",
    "all percent",
    "base64 0",
    "base64 1",
    "base64 2",
    "base64url",
    "in an address",
    "bearer",
    "headers",
    "html",
    "text",
    "events",
    "split",
    "split into bytes",
    "in two languages",
    "no type",
    "broken off",
    "large",
    "larger",
    "reason",
    "many",
];

fn echo(way: &str, key: &str) -> Answer {
    let error = |text: &str| {
        json!({"error": {"message": text, "type": "invalid_request_error", "code": "invalid_api_key"}})
            .to_string()
    };
    let said = |text: &str| {
        error(&format!(
            "Incorrect API key provided: {text}. You can find your API key at https://platform.example."
        ))
    };
    let typed = |kind: &str, body: &str| Answer::with(401, &[("content-type", kind)], body.as_bytes());
    let json = |body: &str| typed("application/json", body);
    let unicode: String = key.chars().map(|c| format!("\\u{:04x}", c as u32)).collect();
    let percent: String = key.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let chunked = |body: &str, size: usize| {
        let head = "HTTP/1.1 401 Unauthorized\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
        let pieces = body.as_bytes().chunks(size);
        pieces.fold(Answer::raw(head), |answer, piece| answer.chunk(piece)).end()
    };
    match way {
        "plain" => json(&said(key)),
        "at the end" => json(&error(&format!("wrong key {key}"))),
        "alone" => json(&format!("\"{key}\"")),
        "in quotes" => json(&said(&format!("'{key}'"))),
        "starred" => json(&said(&format!("{}****************{}", &key[..16], &key[key.len() - 4..]))),
        "half" => json(&said(&format!("...{}", &key[key.len() / 2..]))),
        "escaped" => json(
            &said(key).replace(key, &key.replacen(&key[4..5], &format!("\\u{:04x}", key.as_bytes()[4]), 1)),
        ),
        "all escaped" => json(&said("KEY").replace("KEY", &unicode)),
        "nested" => json(&error(&json!({"your_key": key}).to_string())),
        "twice nested" => json(&error(&json!({"inner": json!({"your_key": key}).to_string()}).to_string())),
        "percent" => json(&said(&key.replace('-', "%2D"))),
        "all percent" => json(&said(&percent)),
        "base64 0" => json(&said(&BASE64.encode(key.as_bytes()))),
        "base64 1" => json(&said(&BASE64.encode(format!(":{key}").as_bytes()))),
        "base64 2" => json(&said(&BASE64.encode(format!("u:{key}\n").as_bytes()))),
        "base64url" => json(&said(&BASE64URL_NOPAD.encode(format!("{{\"key\":\"{key}\"}}").as_bytes()))),
        "in an address" => json(&error(&format!("Failed: https://api.example/v1/models?key={key}&alt=json"))),
        "bearer" => json(&error(&format!("Invalid header: Authorization: Bearer {key}"))),
        "headers" => Answer::with(
            429,
            &[
                ("content-type", "application/json"),
                ("x-request-id", key),
                ("openai-model", key),
                ("retry-after", key),
                ("x-ratelimit-reset-requests", &format!("for {key}")),
            ],
            b"{}",
        ),
        "html" => typed("text/html", &format!("<html><body>Key <b>{key}</b> refused</body></html>")),
        "text" => typed("text/plain", &format!("key={key}\n")),
        "events" => typed("text/event-stream", &format!("data: {}\n\ndata: [DONE]\n\n", said(key))),
        "split" => chunked(&said(key), 50),
        "split into bytes" => chunked(&said(key), 1),
        "in two languages" => json(&said(&format!("ключ {key} 鍵 {key}"))),
        "no type" => Answer::with(401, &[], said(key).as_bytes()),
        "broken off" => Answer::raw(format!(
            "HTTP/1.1 401 Unauthorized\r\ncontent-type: application/json\r\ncontent-length: 9999\r\n\r\n{}",
            said(key)
        ))
        .then_close(),
        "large" => json(&format!("[\"{}\", {}]", "x".repeat(200_000), said(key))),
        "larger" => json(&format!("[\"{}\", {}]", "x".repeat(400_000), said(key))),
        "reason" => Answer::raw(format!(
            "HTTP/1.1 401 {key}\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{{}}"
        )),
        _ => json(&said(&format!("{key} ").repeat(200))),
    }
}

fn script(seen: &Seen) -> Answer {
    let key = key_of(seen);
    match seen.header("user-agent") {
        "keyferry" => echo("plain", &key),
        "cut" => Answer::events().chunk("data: {\"choices\": []}\n\n").then_close(),
        "reset" => Answer::reset(),
        "nothing" => Answer::nothing(),
        "hang" => Answer::events().chunk("data: {\"choices\": []}\n\n").then_hang(),
        "no http" => Answer::raw(format!("what is {key}?\r\n\r\n")).then_close(),
        "bad head" => Answer::raw(format!("HTTP/1.1 200 OK\r\nx {key}: {key}\0\r\n\r\n")).then_close(),
        "redirect" => Answer::redirect(302, &format!("https://api.openai.com/?key={key}")),
        "gzip" => Answer::with(
            401,
            &[("content-encoding", "gzip"), ("content-type", "application/json")],
            key.as_bytes(),
        ),
        way => echo(way, &key),
    }
}

const BREAKS: [&str; 8] = ["cut", "reset", "nothing", "hang", "no http", "bad head", "redirect", "gzip"];

#[tokio::test]
async fn a_key_that_a_provider_says_back_leaves_no_trace() {
    let waters = Waters::before(Provider::start(script).await).await;
    let token = waters.tenant.caller_token.clone();
    let mut number = 0;
    for (provider, path) in [
        ("openai", "/openai/v1/chat/completions"),
        ("anthropic", "/anthropic/v1/messages"),
        ("gemini", "/gemini/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse"),
    ] {
        for said in WAYS {
            for prefix in ["sk-proj-", "", "AIzaSy"] {
                let way = format!("said back {said} by {provider} ({prefix:?})");
                let key = waters.key_like(&way, prefix);
                let headers =
                    [("x-keyferry-token", token.as_str()), ("x-byok-key", &key), ("user-agent", said)];
                waters.ask(&way, &format!("POST {path}"), &headers, "{}").await;
                number += 1;
            }
        }
    }
    assert_eq!(waters.provider.count(), number, "not each of them was said back");
    waters.assert_clean().await;
}

#[tokio::test]
async fn a_stored_key_that_a_provider_says_back_leaves_no_trace() {
    let waters = Waters::before(Provider::start(script).await).await;
    let bearer = format!("Bearer {}", waters.tenant.caller_token);
    for said in WAYS {
        let headers = [("authorization", bearer.as_str()), ("user-agent", said)];
        waters.ask(said, "POST /openai/v1/chat/completions", &headers, "{}").await;
        waters.ask(said, "GET /openai/v1/models", &headers, "").await;
    }
    // A test of a key hears the same.
    let path = format!("/tenants/{}/credentials/{}/test", waters.tenant.id, waters.tenant.credential_id);
    let tested = waters.gateway.operator("POST", &path, &json!(null)).await.expect(200);
    waters.keep("tested", tested.body);
    let key = waters.key("tested and said back");
    let admin = format!("Bearer {}", waters.tenant.admin_token);
    let headers = [("authorization", admin.as_str()), ("x-byok-key", &key)];
    waters.ask("tested", "POST /api/v1/keys/test", &headers, r#"{"provider": "openai"}"#).await;
    waters.assert_clean().await;
}

#[tokio::test]
async fn exchanges_that_break_leave_no_trace() {
    let waters = Waters::before(Provider::start(script).await).await;
    let token = waters.tenant.caller_token.clone();
    for way in BREAKS {
        let key = waters.key(way);
        let headers = [("x-keyferry-token", token.as_str()), ("x-byok-key", &key), ("user-agent", way)];
        if way == "hang" {
            // The client hangs up in the middle of the stream.
            let mut connection = Connection::open(waters.gateway.port()).await;
            connection.request("POST", "/openai/v1/chat/completions", &headers, b"{\"stream\": true}").await;
            let head = connection.head().await;
            assert_eq!(head.status, 200);
            connection.until_text("choices").await;
            let seen = waters.provider.last();
            drop(connection);
            waters.provider.closed(seen.connection).await;
        } else {
            waters.ask(way, "POST /openai/v1/chat/completions", &headers, r#"{"stream": true}"#).await;
        }
        let key = waters.key(&format!("{way} in a test"));
        let bearer = format!("Bearer {}", waters.tenant.admin_token);
        let headers = [("authorization", bearer.as_str()), ("x-byok-key", &key), ("user-agent", way)];
        waters.ask(way, "POST /api/v1/keys/test", &headers, r#"{"provider": "openai"}"#).await;
    }
    waters.assert_clean().await;
}

#[tokio::test]
async fn a_provider_that_is_not_there_learns_nothing_and_neither_does_the_log() {
    let waters = Waters::before(Provider::start(|_| Answer::hang()).await).await;
    let token = waters.tenant.caller_token.clone();
    let key = waters.key("to a provider that is silent");
    let headers = [("x-keyferry-token", token.as_str()), ("x-byok-key", &key)];
    let mut connection = Connection::open(waters.gateway.port()).await;
    connection.request("POST", "/openai/v1/chat/completions", &headers, b"{}").await;
    waters.provider.request(1).await;
    drop(connection);
    tokio::time::sleep(Duration::from_millis(50)).await;
    waters.assert_clean().await;
}

#[tokio::test]
async fn each_echo_says_the_key_or_most_of_it() {
    // Were an echo empty, the tests above would prove nothing.
    let provider = Provider::start(script).await;
    let key = format!("sk-proj-{}", super::random(40));
    let search = Search::new([("echo", key.as_str())]);
    let bearer = format!("Bearer {key}");
    for way in WAYS {
        let mut connection = Connection::open(provider.address.port()).await;
        connection.request("POST", "/", &[("authorization", &bearer), ("user-agent", way)], b"{}").await;
        let reply = connection.reply().await;
        let everything = format!("{:?} {}", reply.head.headers, reply.text());
        // These two are said in a spelling that the search does not know, or outside of what the client keeps.
        let hidden = ["all escaped", "reason"].contains(&way);
        assert_eq!(search.find(everything.as_bytes()).is_empty(), hidden, "{way}: {everything:.300}");
    }
}
