//! Answers pass byte for byte, and streams piece by piece: each piece is out before the next is sent.

use serde_json::{Value, json};

use crate::harness::{
    ANTHROPIC_STREAM, Answer, Connection, GEMINI_STREAM, Gate, Gateway, OPENAI_STREAM, Piece, Provider,
    Tenant, a_key,
};

const CHAT: &str = "/openai/v1/chat/completions";
const MESSAGES: &str = "/anthropic/v1/messages";
const GENERATE: &str = "/gemini/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse";

/// Posts JSON on an open connection.
async fn ask(connection: &mut Connection, tenant: &Tenant, path: &str, body: &Value) {
    let bearer = format!("Bearer {}", tenant.caller_token);
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    connection.request("POST", path, &headers, body.to_string().as_bytes()).await;
}

/// A provider that sends each event only when the gate was opened once more.
async fn gated(events: &'static [&'static str], gate: &Gate) -> Provider {
    let gate = gate.clone();
    Provider::start(move |_| {
        let answer = Answer::events();
        events
            .iter()
            .enumerate()
            .fold(answer, |answer, (number, event)| answer.gate(&gate, number + 1).chunk(event))
            .end()
    })
    .await
}

async fn each_event_is_out_before_the_next_is_sent(
    name: &str,
    path: &str,
    events: &'static [&'static str],
    body: Value,
) {
    let gate = Gate::new();
    let provider = gated(events, &gate).await;
    let gateway = Gateway::before(&provider).await;
    let tenant = gateway.tenant_with_key(name, &a_key("key-")).await;
    let mut connection = Connection::open(gateway.port()).await;
    ask(&mut connection, &tenant, path, &body).await;
    let head = connection.head().await;
    assert_eq!(head.status, 200);
    assert_eq!(head.header("content-type"), "text/event-stream; charset=utf-8");
    assert_eq!(head.header("x-accel-buffering"), "no");
    assert_eq!(head.header("x-keyferry-credential"), "held");
    assert_eq!(head.header("x-keyferry-credential-id"), tenant.credential_id);
    assert_eq!(head.header("x-keyferry-accounting"), "BYOK_NO_BUDGET");
    assert!(head.header("server-timing").starts_with("kf;dur="));
    for event in events {
        gate.open();
        assert_eq!(connection.chunk().await, Piece::Data(event.as_bytes().to_vec()));
    }
    assert_eq!(connection.chunk().await, Piece::End);
    let row = gateway.usage_row(&tenant.id, 1).await;
    assert_eq!((&row["outcome"], &row["status"]), (&json!("ok"), &json!(200)), "{row}");
    assert_eq!((&row["input_tokens"], &row["output_tokens"]), (&json!(11), &json!(7)), "{row}");
    assert_eq!(row["usage_source"], "reported");
}

#[tokio::test]
async fn a_stream_of_openai_passes_event_by_event() {
    let body = json!({"model": "gpt-4.1-mini", "messages": [], "stream": true});
    each_event_is_out_before_the_next_is_sent("openai", CHAT, &OPENAI_STREAM, body).await;
}

#[tokio::test]
async fn a_stream_of_anthropic_passes_event_by_event() {
    let body = json!({"model": "claude-haiku-4-5", "max_tokens": 9, "messages": [], "stream": true});
    each_event_is_out_before_the_next_is_sent("anthropic", MESSAGES, &ANTHROPIC_STREAM, body).await;
}

#[tokio::test]
async fn a_stream_of_gemini_passes_event_by_event() {
    each_event_is_out_before_the_next_is_sent("gemini", GENERATE, &GEMINI_STREAM, json!({"contents": []}))
        .await;
}

#[tokio::test]
async fn a_stream_is_the_same_bytes_however_the_provider_cuts_it_up() {
    let odd = ": comment\r\n\r\nid: 1\nretry: 5\ndata: {\"choices\": [{\"delta\": {\"content\": \"é\u{2028}\\u0041 \"}}]}\n\n\
               data:{\"a\":1}\ndata:  {\"b\":2}\n\n\nevent: odd\ndata: [1,\n\ndata: [DONE]\n\n";
    let size = odd.len();
    let provider = Provider::start(move |seen| {
        let piece = usize::try_from(seen.json()["n"].as_u64().expect("a number")).expect("small");
        odd.as_bytes().chunks(piece).fold(Answer::events(), |answer, part| answer.chunk(part)).end()
    })
    .await;
    let gateway = Gateway::before(&provider).await;
    let tenant = gateway.tenant_with_key("openai", &a_key("key-")).await;
    for piece in [1, 2, 3, 5, 7, 11, 64, size] {
        let body = json!({"model": "m", "messages": [], "stream": true, "n": piece});
        let reply = gateway.post(&tenant.caller_token, CHAT, &[], &body).await.expect(200);
        assert_eq!(reply.text(), odd, "in pieces of {piece}");
        assert!(reply.whole);
    }
}

#[tokio::test]
async fn a_long_stream_arrives_whole() {
    let event = format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{}\"}}}}]}}\n\n", "x".repeat(4000));
    let count = 500;
    let text = event.clone();
    let provider = Provider::start(move |_| {
        let answer = (0..count).fold(Answer::events(), |answer, _| answer.chunk(&text));
        answer.chunk("data: [DONE]\n\n").end()
    })
    .await;
    let gateway = Gateway::before(&provider).await;
    let tenant = gateway.tenant_with_key("openai", &a_key("key-")).await;
    let body = json!({"model": "m", "messages": [], "stream": true});
    let reply = gateway.post(&tenant.caller_token, CHAT, &[], &body).await.expect(200);
    assert!(reply.whole);
    assert_eq!(reply.text(), event.repeat(count) + "data: [DONE]\n\n");
}

#[tokio::test]
async fn an_answer_and_a_request_pass_byte_for_byte() {
    let answer = " {\"id\" :\"1\",\r\n\t\"n\":1.00e2,\"é\":\"\\u00e9\\/\",\"a\":1,\"a\":2}\n ";
    let request = "{ \"model\":\"m\" ,\"messages\":[],\n\"seed\":12345678901234567890123, \"x\":1.10 }\n";
    let provider = Provider::answering([Answer::with(
        200,
        &[("content-type", "application/json; charset=utf-8"), ("x-request-id", "req_of_theirs")],
        answer.as_bytes(),
    )])
    .await;
    let gateway = Gateway::before(&provider).await;
    let tenant = gateway.tenant_with_key("openai", &a_key("key-")).await;
    let mut connection = Connection::open(gateway.port()).await;
    let bearer = format!("Bearer {}", tenant.caller_token);
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    connection.request("POST", CHAT, &headers, request.as_bytes()).await;
    let reply = connection.reply().await.expect(200);
    assert_eq!(reply.text(), answer);
    assert_eq!(reply.header("content-type"), "application/json; charset=utf-8");
    assert_eq!(reply.header("x-request-id"), "req_of_theirs");
    assert!(reply.header("x-keyferry-request-id").len() > 10);
    assert_eq!(provider.last().body, request.as_bytes());
    assert_eq!(provider.last().target, "/v1/chat/completions");
}

#[tokio::test]
async fn the_request_is_not_touched_to_get_usage() {
    let provider = Provider::start(|_| {
        Answer::sse(&[
            "data: {\"choices\":[{\"delta\":{\"content\":\"twelve bytes\"}}]}\n\n",
            "data: [DONE]\n\n",
        ])
    })
    .await;
    let gateway = Gateway::before(&provider).await;
    let tenant = gateway.tenant_with_key("openai", &a_key("key-")).await;
    let body = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": true});
    gateway.post(&tenant.caller_token, CHAT, &[], &body).await.expect(200);
    assert_eq!(provider.last().json(), body);
    let row = gateway.usage_row(&tenant.id, 1).await;
    assert_eq!((&row["usage_source"], &row["output_tokens"]), (&json!("estimated"), &json!(3)), "{row}");
    assert!(row["input_tokens"].as_u64() > Some(0), "{row}");
}

#[tokio::test]
async fn sound_passes_as_it_comes() {
    let gate = Gate::new();
    let waiting = gate.clone();
    let provider = Provider::start(move |_| {
        Answer::raw("HTTP/1.1 200 OK\r\ncontent-type: audio/mpeg\r\ntransfer-encoding: chunked\r\n\r\n")
            .chunk([0xff, 0xfb, 0, 1])
            .gate(&waiting, 1)
            .chunk([2, 3])
            .end()
    })
    .await;
    let gateway = Gateway::before(&provider).await;
    let tenant = gateway.tenant_with_key("openai", &a_key("key-")).await;
    let mut connection = Connection::open(gateway.port()).await;
    let body = json!({"model": "tts-1", "input": "hi", "voice": "alloy"});
    ask(&mut connection, &tenant, "/openai/v1/audio/speech", &body).await;
    assert_eq!(connection.head().await.header("content-type"), "audio/mpeg");
    assert_eq!(connection.chunk().await, Piece::Data(vec![0xff, 0xfb, 0, 1]));
    gate.open();
    assert_eq!(connection.chunk().await, Piece::Data(vec![2, 3]));
    assert_eq!(connection.chunk().await, Piece::End);
}

#[tokio::test]
async fn one_connection_serves_one_request_after_another() {
    let provider = Provider::right().await;
    let gateway = Gateway::before(&provider).await;
    let tenant = gateway.tenant_with_key("openai", &a_key("key-")).await;
    let mut connection = Connection::open(gateway.port()).await;
    for stream in [true, false, true] {
        ask(&mut connection, &tenant, CHAT, &json!({"model": "m", "messages": [], "stream": stream})).await;
        assert!(connection.reply().await.expect(200).whole);
    }
    assert_eq!(provider.connections(), 1, "the connection to the provider is used again");
}
