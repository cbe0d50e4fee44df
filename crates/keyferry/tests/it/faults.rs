//! Providers that stall, break, lie or say too much. What a client gets is an error in its own
//! dialect, and never a stream that looks whole and is not.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{
    ANTHROPIC_STREAM, Answer, GEMINI_STREAM, Gateway, OPENAI_STREAM, Options, Provider, Reply, Tenant, a_key,
};

const CHAT: &str = "/openai/v1/chat/completions";
const SHORT: Duration = Duration::from_millis(20);

/// Each provider's name, an operation that streams, what to ask it, and how a stream of it begins.
fn surfaces() -> [(&'static str, &'static str, Value, &'static [&'static str]); 3] {
    [
        ("openai", CHAT, json!({"model": "m", "messages": [], "stream": true}), &OPENAI_STREAM),
        (
            "anthropic",
            "/anthropic/v1/messages",
            json!({"model": "m", "max_tokens": 9, "messages": [], "stream": true}),
            &ANTHROPIC_STREAM,
        ),
        (
            "gemini",
            "/gemini/v1beta/models/m:streamGenerateContent?alt=sse",
            json!({"contents": []}),
            &GEMINI_STREAM,
        ),
    ]
}

/// A gateway with short patience.
async fn impatient(provider: &Provider) -> Gateway {
    let options = Options::to(provider)
        .upstream("first_byte_timeout: 400ms")
        .upstream("idle_timeout: 300ms")
        .upstream("max_response_bytes: 4096");
    Gateway::start(options).await
}

/// What an answer's row says of how it ended.
async fn outcome(gateway: &Gateway, tenant: &Tenant, count: usize) -> (u64, String) {
    let row = gateway.usage_row(&tenant.id, count).await;
    (row["status"].as_u64().unwrap_or(0), row["outcome"].as_str().unwrap_or_default().to_owned())
}

/// Asks once and compares the answer and its row.
async fn is_told(answer: Answer, status: u16, code: &str, how: &str) {
    let provider = Provider::answering([answer]).await;
    let gateway = impatient(&provider).await;
    let tenant = gateway.tenant_with_key("openai", &a_key("key-")).await;
    let reply = gateway.chat(&tenant.caller_token).await.refused(status, code);
    assert_eq!(reply.header("x-keyferry-credential"), "held", "also a failure says whose key it was");
    assert_eq!(outcome(&gateway, &tenant, 1).await, (u64::from(status), how.to_owned()));
}

#[tokio::test]
async fn a_provider_that_says_nothing_is_a_timeout() {
    is_told(Answer::hang(), 504, "BYOK_UPSTREAM_TIMEOUT", "timeout").await;
}

#[tokio::test]
async fn a_head_that_drips_is_a_timeout() {
    let drip =
        (0..100).fold(Answer::raw("HTTP/1.1 200 OK\r\nx-slow: "), |answer, _| answer.then("x").pause(SHORT));
    is_told(drip, 504, "BYOK_UPSTREAM_TIMEOUT", "timeout").await;
}

#[tokio::test]
async fn an_answer_that_stalls_before_it_began_to_leave_is_a_timeout() {
    let stall =
        Answer::raw("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 10\r\n\r\n{");
    is_told(stall.then_hang(), 504, "BYOK_UPSTREAM_TIMEOUT", "timeout").await;
}

#[tokio::test]
async fn a_provider_that_hangs_up_or_resets_is_an_upstream_error() {
    is_told(Answer::nothing(), 502, "BYOK_UPSTREAM_ERROR", "upstream_error").await;
    is_told(Answer::reset(), 502, "BYOK_UPSTREAM_ERROR", "upstream_error").await;
}

#[tokio::test]
async fn an_answer_that_is_cut_in_the_middle_is_an_upstream_error() {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
    let cut = Answer::raw(format!("{head}content-length: 100\r\n\r\n{{\"id\": 1")).then_close();
    is_told(cut, 502, "BYOK_UPSTREAM_ERROR", "upstream_error").await;
    let cut =
        Answer::raw(format!("{head}transfer-encoding: chunked\r\n\r\n")).chunk("{\"id\": 1}").then_close();
    is_told(cut, 502, "BYOK_UPSTREAM_ERROR", "upstream_error").await;
}

#[tokio::test]
async fn garbage_is_an_upstream_error() {
    let garbage = [
        "\0\u{1}\u{2}garbage\r\n\r\n".to_owned(),
        "HTTP/9.9 200 OK\r\n\r\n".to_owned(),
        "HTTP/1.1 999999 OK\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\nno colon here\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nx".to_owned(),
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n"
            .to_owned(),
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n".to_owned(),
        format!("HTTP/1.1 200 OK\r\nx-long: {}\r\n\r\n", "x".repeat(1_000_000)),
    ];
    // With good ones between them: five failures in a row would leave the provider alone.
    let good = || Answer::json(200, &json!({}));
    let answers: Vec<Answer> =
        garbage.iter().flat_map(|text| [Answer::raw(text).then_close(), good()]).collect();
    let provider = Provider::answering(answers).await;
    let gateway = impatient(&provider).await;
    let tenant = gateway.tenant_with_key("openai", &a_key("key-")).await;
    for text in garbage {
        let reply = gateway.chat(&tenant.caller_token).await;
        let shown = &text[..text.len().min(60)];
        assert_eq!((reply.status(), reply.code().as_str()), (502, "BYOK_UPSTREAM_ERROR"), "{shown:?}");
        gateway.chat(&tenant.caller_token).await.expect(200);
    }
}

#[tokio::test]
async fn a_compressed_answer_that_nobody_asked_for_is_refused() {
    let zipped =
        Answer::with(200, &[("content-type", "application/json"), ("content-encoding", "gzip")], b"\x1f\x8b");
    is_told(zipped, 502, "BYOK_UPSTREAM_ERROR", "upstream_error").await;
}

#[tokio::test]
async fn a_long_error_of_the_provider_is_cut_and_keeps_its_status() {
    let headers = [("content-type", "text/plain"), ("retry-after", "9")];
    let provider = Provider::answering([Answer::with(429, &headers, "x".repeat(400_000).as_bytes())]).await;
    let gateway = impatient(&provider).await;
    let tenant = gateway.tenant_with_key("openai", &a_key("key-")).await;
    let reply = gateway.chat(&tenant.caller_token).await;
    assert_eq!((reply.status(), reply.header("retry-after")), (429, "9"));
    assert_eq!(reply.text().len(), 256 * 1024);
    assert_eq!(outcome(&gateway, &tenant, 1).await, (429, "provider_error".to_owned()));
}

#[tokio::test]
async fn a_header_that_is_too_long_to_pass_is_refused_and_not_left_out() {
    let provider = Provider::right().await;
    let gateway = impatient(&provider).await;
    let tenant = gateway.tenant_with_key("openai", &a_key("key-")).await;
    let long = "x".repeat(5000);
    let body = json!({"model": "m", "messages": []});
    let reply = gateway.post(&tenant.caller_token, CHAT, &[("openai-beta", &long)], &body).await;
    reply.refused(400, "invalid_request");
    assert_eq!(provider.count(), 0);
}

#[tokio::test]
async fn an_answer_that_is_too_long_is_refused_with_and_without_its_length() {
    let json = [("content-type", "application/json")];
    let long = format!("\"{}\"", "x".repeat(5000));
    is_told(Answer::with(200, &json, long.as_bytes()), 502, "BYOK_RESPONSE_TOO_LARGE", "upstream_error")
        .await;
    let chunked = Answer::raw(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n",
    );
    let chunked = (0..6).fold(chunked, |answer, _| answer.chunk([b' '; 1000]));
    is_told(chunked.end(), 502, "BYOK_RESPONSE_TOO_LARGE", "upstream_error").await;
    let lie = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99999999999\r\n\r\n";
    is_told(Answer::raw(lie).then_hang(), 502, "BYOK_RESPONSE_TOO_LARGE", "upstream_error").await;
}

#[tokio::test]
async fn an_answer_of_exactly_the_limit_passes() {
    let body = format!("\"{}\"", "x".repeat(4094));
    let provider =
        Provider::answering([Answer::with(200, &[("content-type", "application/json")], body.as_bytes())])
            .await;
    let gateway = impatient(&provider).await;
    let tenant = gateway.tenant_with_key("openai", &a_key("key-")).await;
    assert_eq!(gateway.chat(&tenant.caller_token).await.expect(200).text(), body);
}

#[tokio::test]
async fn bytes_beyond_the_limit_break_a_file_that_is_passing() {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: audio/mpeg\r\ntransfer-encoding: chunked\r\n\r\n";
    let answer = (0..6).fold(Answer::raw(head), |answer, _| answer.chunk([7; 1000]));
    let provider = Provider::answering([answer.end()]).await;
    let gateway = impatient(&provider).await;
    let tenant = gateway.tenant_with_key("openai", &a_key("key-")).await;
    let body = json!({"model": "tts-1", "input": "hi", "voice": "alloy"});
    let reply = gateway.post(&tenant.caller_token, "/openai/v1/audio/speech", &[], &body).await;
    assert!(!reply.whole && reply.body.len() <= 4096, "{} bytes", reply.body.len());
    assert_eq!(outcome(&gateway, &tenant, 1).await.1, "upstream_error");
}

#[tokio::test]
async fn a_redirect_is_never_followed() {
    let elsewhere = Provider::right().await;
    let location = format!("http://{}/v1/chat/completions", elsewhere.address);
    let statuses = [300, 301, 302, 303, 304, 305, 307, 308];
    let answers = statuses.map(|status| Answer::redirect(status, &location));
    let provider = Provider::answering(answers).await;
    let gateway = impatient(&provider).await;
    let tenant = gateway.tenant_with_key("openai", &a_key("key-")).await;
    for status in statuses {
        let reply = gateway.chat(&tenant.caller_token).await;
        assert_eq!((reply.status(), reply.code().as_str()), (502, "BYOK_REDIRECT_REJECTED"), "{status}");
        assert_eq!(reply.header("location"), "");
    }
    assert_eq!((provider.count(), elsewhere.connections()), (statuses.len(), 0));
}

#[tokio::test]
async fn a_provider_that_is_not_there_is_an_upstream_error() {
    let provider = Provider::right().await;
    let address = provider.address;
    drop(provider);
    let gateway = Gateway::start(Options::default().dial("api.openai.com", address, true)).await;
    let tenant = gateway.tenant_with_key("openai", &a_key("key-")).await;
    gateway.chat(&tenant.caller_token).await.refused(502, "BYOK_UPSTREAM_ERROR");
}

#[tokio::test]
async fn a_body_that_drips_without_stalling_passes() {
    let head = Answer::raw("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 30\r\n\r\n");
    let body = format!("\"{}\"", "x".repeat(28));
    let drip = body.chars().fold(head, |answer, c| answer.then(c.to_string()).pause(SHORT));
    let provider = Provider::answering([drip]).await;
    let gateway = impatient(&provider).await;
    let tenant = gateway.tenant_with_key("openai", &a_key("key-")).await;
    assert_eq!(gateway.chat(&tenant.caller_token).await.expect(200).text(), body);
}

/// The error event at the end of a broken stream, as this dialect's SDK reads it.
fn error_event(dialect: &str, rest: &str) -> Value {
    let data = match dialect {
        "anthropic" => rest.strip_prefix("event: error\ndata: "),
        _ => rest.strip_prefix("data: {\"error\":").map(|_| &rest["data: ".len()..]),
    };
    let data = data.unwrap_or_else(|| panic!("not an error event of {dialect}: {rest:?}"));
    let event: Value = serde_json::from_str(data.strip_suffix("\n\n").expect("a whole event")).expect("JSON");
    if dialect == "anthropic" {
        assert_eq!(event["type"], "error");
    }
    event["error"].clone()
}

fn code_of<'e>(dialect: &str, error: &'e Value) -> &'e Value {
    match dialect {
        "anthropic" => &error["details"]["error_code"],
        "gemini" => &error["details"][0]["reason"],
        _ => &error["code"],
    }
}

/// A stream that begins well and then goes wrong: what came before is passed on, an error event
/// follows, and the body does not end.
async fn breaks(go_wrong: impl Fn(Answer) -> Answer, code: &str, how: &str, options: &[&str]) {
    for (name, path, body, events) in surfaces() {
        let answer = go_wrong(Answer::events().chunk(events[0]));
        let provider = Provider::answering([answer]).await;
        let options = options.iter().fold(Options::to(&provider), |all, line| all.upstream(line));
        let gateway = Gateway::start(options).await;
        let tenant = gateway.tenant_with_key(name, &a_key("key-")).await;
        let reply: Reply = gateway.post(&tenant.caller_token, path, &[], &body).await.expect(200);
        let text = reply.text();
        let rest = text.strip_prefix(events[0]).unwrap_or_else(|| panic!("{name}: {text:?}"));
        let error = error_event(name, rest);
        assert_eq!(code_of(name, &error), code, "{name}: {error}");
        if name == "gemini" {
            assert_eq!(error["code"], if code == "BYOK_UPSTREAM_TIMEOUT" { 504 } else { 502 });
        }
        assert!(!reply.whole, "{name}: the body must not end cleanly");
        assert!(!text.contains("[DONE]"), "{name}: {text}");
        assert_eq!(outcome(&gateway, &tenant, 1).await, (200, how.to_owned()), "{name}");
    }
}

#[tokio::test]
async fn a_stream_that_is_closed_in_the_middle_breaks_with_an_error_event() {
    breaks(Answer::then_close, "BYOK_UPSTREAM_ERROR", "cut", &[]).await;
}

#[tokio::test]
async fn a_stream_that_is_reset_breaks_with_an_error_event() {
    // The pause lets the first event arrive: a reset may overtake what was sent before it.
    breaks(|answer| answer.pause(SHORT * 5).then_reset(), "BYOK_UPSTREAM_ERROR", "cut", &[]).await;
}

#[tokio::test]
async fn a_stream_that_ends_without_its_last_event_breaks_with_an_error_event() {
    breaks(Answer::end, "BYOK_UPSTREAM_ERROR", "cut", &[]).await;
}

#[tokio::test]
async fn a_stream_with_a_broken_chunk_breaks_with_an_error_event() {
    breaks(|answer| answer.then("not a size\r\n"), "BYOK_UPSTREAM_ERROR", "cut", &[]).await;
}

#[tokio::test]
async fn a_stream_that_stalls_breaks_with_an_error_event() {
    breaks(Answer::then_hang, "BYOK_UPSTREAM_TIMEOUT", "timeout", &["idle_timeout: 300ms"]).await;
}

#[tokio::test]
async fn a_stream_without_an_end_breaks_when_its_whole_time_is_over() {
    let drip = |answer: Answer| (0..200).fold(answer, |answer, _| answer.pause(SHORT).chunk(": ping\n\n"));
    let provider = Provider::answering([drip(Answer::events().chunk(OPENAI_STREAM[0]))]).await;
    let options = Options::to(&provider).upstream("total_timeout: 500ms");
    let gateway = Gateway::start(options).await;
    let tenant = gateway.tenant_with_key("openai", &a_key("key-")).await;
    let body = json!({"model": "m", "messages": [], "stream": true});
    let reply = gateway.post(&tenant.caller_token, CHAT, &[], &body).await.expect(200);
    let text = reply.text();
    let error = error_event("openai", &text[text.rfind("data: ").expect("an event")..]);
    assert_eq!(error["code"], "BYOK_UPSTREAM_TIMEOUT");
    assert!(!reply.whole);
    provider.closed(0).await;
}

#[tokio::test]
async fn half_an_event_is_not_left_in_front_of_the_error() {
    for (name, path, body, events) in surfaces() {
        let half = &events[1][..events[1].len() / 2];
        let provider =
            Provider::answering([Answer::events().chunk(events[0]).chunk(half).then_close()]).await;
        let gateway = Gateway::before(&provider).await;
        let tenant = gateway.tenant_with_key(name, &a_key("key-")).await;
        let reply = gateway.post(&tenant.caller_token, path, &[], &body).await.expect(200);
        let text = reply.text();
        error_event(name, text.strip_prefix(events[0]).unwrap_or_else(|| panic!("{name}: {text:?}")));
        assert!(!reply.whole);
    }
}

#[tokio::test]
async fn a_providers_own_error_passes_with_its_status_and_without_the_key() {
    let provider = Provider::start(|seen| {
        let key = [
            seen.header("authorization").trim_start_matches("Bearer "),
            seen.header("x-api-key"),
            seen.header("x-goog-api-key"),
        ]
        .concat();
        let message = format!("Incorrect API key provided: {key}. See sk-proj-AAAAAAAAAAAAAAAAAAAAAAAA too.");
        let status = seen.json()["status"].as_u64().and_then(|s| u16::try_from(s).ok()).expect("a status");
        let body = json!({"error": {"message": message, "type": "their_type", "code": "their_code"}});
        let headers = [
            ("content-type", "application/json"),
            ("retry-after", "7"),
            ("x-ratelimit-remaining-requests", "3"),
            ("request-id", "req_theirs"),
        ];
        Answer::with(status, &headers, body.to_string().as_bytes())
    })
    .await;
    let gateway = Gateway::before(&provider).await;
    for (name, path, ..) in surfaces() {
        let key = a_key("sk-proj-");
        let tenant = gateway.tenant_with_key(name, &key).await;
        for (count, status) in
            [400, 401, 402, 403, 404, 409, 413, 422, 429, 500, 503, 529].into_iter().enumerate()
        {
            let reply =
                gateway.post(&tenant.caller_token, path, &[], &json!({"model": "m", "status": status})).await;
            let text = reply.text();
            let reply = reply.expect(status);
            assert_eq!(reply.json()["error"]["code"], "their_code");
            assert!(!text.contains(&key) && !text.contains("AAAAAAAAAAAA"), "{text}");
            assert!(text.contains("Incorrect API key provided"), "{text}");
            assert_eq!((reply.header("retry-after"), reply.header("request-id")), ("7", "req_theirs"));
            assert_eq!(reply.header("x-ratelimit-remaining-requests"), "3");
            assert_eq!(
                outcome(&gateway, &tenant, count + 1).await,
                (u64::from(status), "provider_error".to_owned())
            );
        }
    }
}

#[tokio::test]
async fn a_broken_answer_is_not_asked_for_again() {
    let provider = Provider::answering([Answer::right(&seen()), Answer::nothing()]).await;
    let gateway = impatient(&provider).await;
    let tenant = gateway.tenant_with_key("openai", &a_key("key-")).await;
    gateway.chat(&tenant.caller_token).await.expect(200);
    // The second goes over the kept connection, is received, and gets no answer.
    gateway.chat(&tenant.caller_token).await.refused(502, "BYOK_UPSTREAM_ERROR");
    assert_eq!(provider.count(), 2, "a request that may have been served is sent once");
}

/// A chat request, for [`Answer::right`].
fn seen() -> crate::harness::Seen {
    crate::harness::Seen {
        connection: 0,
        head: Vec::new(),
        method: "POST".to_owned(),
        target: "/v1/chat/completions".to_owned(),
        headers: Vec::new(),
        body: Vec::new(),
    }
}

#[tokio::test]
async fn a_connection_that_the_provider_closed_meanwhile_costs_no_request() {
    let provider = Provider::start(|seen| Answer::right(seen).then_close()).await;
    let gateway = impatient(&provider).await;
    let tenant = gateway.tenant_with_key("openai", &a_key("key-")).await;
    for _ in 0..20 {
        gateway.chat(&tenant.caller_token).await.expect(200);
        // It closes after its answer: what was sent before it did would be its to answer.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(provider.count(), 20);
}

#[tokio::test]
async fn a_connection_on_which_something_came_that_nobody_asked_for_serves_nobody() {
    let unasked = "HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\n\r\n";
    for reset in [false, true] {
        let provider = Provider::start(move |seen| {
            let answer = Answer::right(seen).pause(SHORT);
            if reset { answer.then_reset() } else { answer.then(unasked) }
        })
        .await;
        let gateway = impatient(&provider).await;
        let tenant = gateway.tenant_with_key("openai", &a_key("key-")).await;
        // A connection that was used lately is looked at in another way than one that was idle.
        for idle in [60, 60, 250, 60, 250] {
            gateway.chat(&tenant.caller_token).await.expect(200);
            tokio::time::sleep(Duration::from_millis(idle)).await;
        }
        assert_eq!((provider.count(), provider.connections()), (5, 5), "{reset}");
    }
}

#[tokio::test]
async fn odd_but_right_answers_pass() {
    let body = r#"{"usage":{"prompt_tokens":1,"completion_tokens":2}}"#;
    let json = format!("content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let answers = [
        format!("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n{json}"),
        format!("HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\nHTTP/1.1 200 OK\r\n{json}"),
        format!("HTTP/1.0 200 OK\r\ncontent-type: application/json\r\n\r\n{body}"),
        format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n{body}"),
        format!("HTTP/1.1 200\r\ncontent-encoding: identity\r\n{json}"),
        format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n{:x};ext=1\r\n{body}\r\n0\r\nx-trailer: 1\r\n\r\n",
            body.len()
        ),
    ];
    let provider = Provider::answering(answers.clone().map(|answer| Answer::raw(answer).then_close())).await;
    let gateway = impatient(&provider).await;
    let tenant = gateway.tenant_with_key("openai", &a_key("key-")).await;
    for (count, answer) in answers.into_iter().enumerate() {
        let reply = gateway.chat(&tenant.caller_token).await;
        assert_eq!((reply.status(), reply.text().as_str()), (200, body), "{answer}");
        assert_eq!(gateway.usage_row(&tenant.id, count + 1).await["output_tokens"], 2, "{answer}");
    }
}

#[tokio::test]
async fn a_stream_without_any_framing_is_whole_only_with_its_last_event() {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
    for (name, path, body, events) in surfaces() {
        let whole = Answer::raw(head).then(events.concat()).then_close();
        let cut = Answer::raw(head).then(events[0]).then_close();
        let provider = Provider::answering([whole, cut]).await;
        let gateway = impatient(&provider).await;
        let tenant = gateway.tenant_with_key(name, &a_key("key-")).await;
        let reply = gateway.post(&tenant.caller_token, path, &[], &body).await.expect(200);
        assert_eq!((reply.text(), reply.whole), (events.concat(), true), "{name}");
        let reply = gateway.post(&tenant.caller_token, path, &[], &body).await.expect(200);
        assert!(!reply.whole, "{name}");
        let text = reply.text();
        error_event(name, text.strip_prefix(events[0]).unwrap_or_else(|| panic!("{name}: {text:?}")));
    }
}

#[tokio::test]
async fn an_error_inside_a_stream_is_the_providers_own_end() {
    let error = "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n";
    let provider =
        Provider::start(move |_| Answer::events().chunk(ANTHROPIC_STREAM[0]).chunk(error).end()).await;
    let gateway = impatient(&provider).await;
    let tenant = gateway.tenant_with_key("anthropic", &a_key("key-")).await;
    let body = json!({"model": "m", "max_tokens": 1, "messages": [], "stream": true});
    let reply = gateway.post(&tenant.caller_token, "/anthropic/v1/messages", &[], &body).await.expect(200);
    assert_eq!((reply.text(), reply.whole), (format!("{}{error}", ANTHROPIC_STREAM[0]), true));
}

#[tokio::test]
async fn a_compatible_provider_may_leave_out_the_last_event_of_openai() {
    let provider = Provider::start(|_| Answer::sse(&OPENAI_STREAM[..3])).await;
    let yaml = "providers: {acme: {kind: openai-compatible, base_url: 'https://llm.acme.com/v1'}}";
    let options = Options::to(&provider).dial("llm.acme.com", provider.address, true).yaml(yaml);
    let gateway = Gateway::start(options).await;
    let tenant = gateway.tenant_with_key("acme", &a_key("key-")).await;
    let body = json!({"model": "m", "messages": [], "stream": true});
    let reply = gateway.post(&tenant.caller_token, "/acme/v1/chat/completions", &[], &body).await.expect(200);
    assert_eq!((reply.text(), reply.whole), (OPENAI_STREAM[..3].concat(), true));
}
