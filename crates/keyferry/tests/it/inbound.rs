//! Keys on their way in: each serves the request it came with, and no buffer outlives it.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::{io::AsyncReadExt, time::timeout};

use crate::{
    harness::{Answer, Connection, Gateway, OPERATOR, Options, Provider, a_key, connect},
    ingress::{UNLIMITED, h2, latin1},
};

const CHAT: &str = "/openai/v1/chat/completions";
/// Longer than anything here takes, and shorter than an idle connection lives.
const SOON: Duration = Duration::from_secs(5);

async fn gateway(provider: &Provider) -> Gateway {
    Gateway::start(Options::to(provider).yaml(UNLIMITED)).await
}

fn chat(token: &str, key: Option<&str>) -> String {
    let key = key.map(|key| format!("X-BYOK-Key: {key}\r\n")).unwrap_or_default();
    format!(
        "POST {CHAT} HTTP/1.1\r\nHost: gw\r\nAuthorization: Bearer {token}\r\n{key}Content-Length: 13\r\n\r\n{{\"model\":\"m\"}}"
    )
}

#[tokio::test]
async fn requests_that_wait_in_line_are_each_served_by_their_own_key() {
    let provider = Provider::right().await;
    let gateway = gateway(&provider).await;
    let held = a_key("sk-held-");
    let [one, other] =
        [gateway.tenant_with_key("openai", &held).await, gateway.tenant_with_key("openai", &held).await];
    let keys: Vec<String> = (0..40).map(|_| a_key("sk-own-")).collect();
    // With and without a key in turn, of two tenants, all in one write; and health checks in between.
    let mut requests = String::new();
    for (at, key) in keys.iter().enumerate() {
        let token = if at % 3 == 0 { &one.caller_token } else { &other.caller_token };
        requests += &chat(token, (at % 4 != 0).then_some(key));
        requests += "GET /healthz HTTP/1.1\r\nHost: gw\r\nX-API-Key: of nobody\r\n\r\n";
    }
    // The last one is refused in its turn.
    requests += &chat(&one.caller_token, Some(&keys[0])).replace("Host: gw", "Host: gw\r\nHost: gw");
    let mut connection = Connection::open(gateway.port()).await;
    connection.send(requests.as_bytes()).await;
    for at in 0..keys.len() {
        let reply = connection.reply().await.expect(200);
        let mode = if at % 4 == 0 { "held" } else { "carried" };
        assert_eq!(reply.header("x-keyferry-credential"), mode, "request {at}");
        connection.reply().await.expect(200);
    }
    connection.reply().await.refused(400, "invalid_request");
    let seen: Vec<String> =
        provider.seen().iter().map(|seen| seen.header("authorization").to_owned()).collect();
    let expected: Vec<String> = keys
        .iter()
        .enumerate()
        .map(|(at, key)| format!("Bearer {}", if at % 4 == 0 { &held } else { key }))
        .collect();
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn a_head_in_single_bytes_gives_the_same_key() {
    let provider = Provider::right().await;
    let gateway = gateway(&provider).await;
    let tenant = gateway.tenant_with_key("openai", &a_key("sk-held-")).await;
    let mut connection = Connection::open(gateway.port()).await;
    for _ in 0..2 {
        let key = a_key("sk-own-");
        for byte in chat(&tenant.caller_token, Some(&key)).into_bytes() {
            connection.send(&[byte]).await;
        }
        connection.reply().await.expect(200);
        assert_eq!(provider.last().header("authorization"), format!("Bearer {key}"));
    }
}

/// A request to the control plane, as bytes.
fn admin(method: &str, path: &str, body: &str) -> Vec<u8> {
    format!(
        "{method} /api/v1{path} HTTP/1.1\r\nHost: gw\r\nAuthorization: Bearer {OPERATOR}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

#[tokio::test]
async fn a_connection_that_brought_a_key_in_a_body_ends_with_the_answer() {
    let provider = Provider::right().await;
    let gateway = gateway(&provider).await;
    let tenant = gateway.tenant_with_key("openai", &a_key("sk-")).await;
    let store = format!("/tenants/{}/credentials", tenant.id);
    let rotate = format!("{store}/{}/rotate", tenant.credential_id);
    let key = a_key("sk-");
    for (path, body, status) in [
        (&store, json!({"provider": "gemini", "api_key": key}), 201),
        (&store, json!({"provider": "gemini", "api_key": key}), 409),
        (&store, json!({"provider": "gemini", "apikey": key}), 400),
        (&rotate, json!({"api_key": key}), 200),
        (&rotate, json!([key]), 400),
    ] {
        let mut connection = Connection::open(gateway.port()).await;
        connection.send(&admin("POST", path, &body.to_string())).await;
        let reply = connection.reply().await.expect(status);
        assert_eq!(reply.header("connection"), "close", "{path} {status}");
        assert!(connection.closes_within(SOON).await, "{path} {status}");
    }
    let mut connection = Connection::open(gateway.port()).await;
    for (method, path, body) in
        [("GET", store.as_str(), ""), ("POST", "/tenants", r#"{"id": "x", "name": "x"}"#)]
    {
        for _ in 0..2 {
            connection.send(&admin(method, path, body)).await;
            let reply = connection.reply().await;
            assert_eq!(reply.header("connection"), "", "{path} {}", reply.text());
        }
    }
}

#[tokio::test]
async fn over_http2_such_a_connection_ends_with_the_name_of_the_last_stream_that_was_served() {
    let provider = Provider::right().await;
    let gateway = gateway(&provider).await;
    let tenant = gateway.tenant_with_key("openai", &a_key("sk-")).await;
    let path = format!("/api/v1/tenants/{}/credentials", tenant.id);
    let bearer = format!("Bearer {OPERATOR}");
    let fields = |method: &str| -> Vec<_> {
        [
            (":method", method),
            (":scheme", "https"),
            (":authority", "gw"),
            (":path", &path),
            ("authorization", &bearer),
        ]
        .map(|(name, value)| (latin1(name), latin1(value)))
        .into()
    };
    for more in [false, true] {
        let mut io = connect(gateway.port()).await;
        h2::send(&mut io, &[h2::hello(), h2::head(1, &fields("GET"), true)].concat()).await;
        assert_eq!(h2::read(&mut io, 1).await.status, Some(200));
        let label = format!("more-{more}");
        let body = json!({"provider": "gemini", "label": label, "api_key": a_key("sk-")}).to_string();
        let store =
            [h2::head(3, &fields("POST"), false), h2::frame(h2::DATA, h2::END_STREAM, 3, body.as_bytes())];
        h2::send(&mut io, &store.concat()).await;
        assert_eq!(h2::read(&mut io, 3).await.status, Some(201));
        let mut last = 3;
        if more {
            last = 5;
            h2::send(&mut io, &h2::head(last, &fields("GET"), true)).await;
            assert_eq!(h2::read(&mut io, last).await.status, Some(200), "it came before the end");
        }
        // Nothing more is answered: what comes back until the end belongs to no stream. There is no PING in it, on which
        // python-h2 gives up once it has read GOAWAY.
        let rest = h2::read(&mut io, last + 2).await;
        assert!(rest.refused && rest.status.is_none(), "the connection stays open");
        // The payload of one frame.
        let goaway = [0, 0, 0, last as u8, 0, 0, 0, 0];
        assert_eq!(rest.raw, goaway, "{more}");
    }
}

/// A head on a stream of OpenAI's surface, with these fields besides.
fn h2_chat(stream: u32, token: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let bearer = format!("Bearer {token}");
    let usual = [
        (":method", "POST"),
        (":scheme", "https"),
        (":authority", "gw"),
        (":path", CHAT),
        ("authorization", &bearer),
    ];
    let fields: Vec<_> =
        usual.iter().chain(more).map(|(name, value)| (latin1(name), latin1(value))).collect();
    let body = h2::frame(h2::DATA, h2::END_STREAM, stream, b"{\"model\":\"m\"}");
    [h2::head(stream, &fields, false), body].concat()
}

/// What a provider is asked with, and by whom: the body names the key that must come.
async fn echo() -> Provider {
    Provider::start(|seen| {
        Answer::json(200, &json!({"usage": {}, "got": seen.header("authorization")}))
            .pause(Duration::from_millis(5))
    })
    .await
}

#[tokio::test]
async fn over_http2_streams_that_are_open_together_are_each_served_by_their_own_key() {
    let provider = echo().await;
    let gateway = gateway(&provider).await;
    let held = a_key("sk-held-");
    let tenant = gateway.tenant_with_key("openai", &held).await;
    let token = &tenant.caller_token;
    let mut flight = h2::hello();
    let mut keys = Vec::new();
    for at in 0..20 {
        let key = a_key("sk-own-");
        let stream = 1 + 4 * at;
        let brought = [("x-byok-key", key.as_str())];
        flight.extend(h2_chat(stream, token, if at % 3 == 0 { &[] } else { &brought }));
        // In between, heads that the library refuses, with secrets that nobody will ask for.
        let refused = [("x-byok-key", key.as_str()), ("connection", "close")];
        flight.extend(h2_chat(stream + 2, token, &refused));
        keys.push((stream, if at % 3 == 0 { held.clone() } else { key }));
    }
    let mut io = connect(gateway.port()).await;
    h2::send(&mut io, &flight).await;
    let bodies = h2::bodies(&mut io, keys.len()).await;
    for (stream, key) in keys {
        let got: Value = serde_json::from_slice(&bodies[&stream]).expect("JSON");
        assert_eq!(got["got"], format!("Bearer {key}"), "stream {stream}");
    }
    assert_eq!(provider.count(), 20);
}

#[tokio::test]
async fn over_http2_a_key_may_come_from_the_table_of_the_connection() {
    let provider = echo().await;
    let gateway = gateway(&provider).await;
    let tenant = gateway.tenant_with_key("openai", &a_key("sk-held-")).await;
    let key = a_key("sk-own-");
    let indexed = |name: &str, value: &str| {
        let mut bytes = h2::literal(name.as_bytes(), value.as_bytes());
        bytes[0] |= 0x40;
        bytes
    };
    let pseudo: Vec<u8> = [(":method", "POST"), (":scheme", "https"), (":authority", "gw"), (":path", CHAT)]
        .iter()
        .flat_map(|(name, value)| h2::literal(name.as_bytes(), value.as_bytes()))
        .collect();
    let first = [
        pseudo.clone(),
        indexed("authorization", &format!("Bearer {}", tenant.caller_token)),
        indexed("x-byok-key", &key),
    ];
    // The newest entry is the first one behind the 61 that are always there.
    let second = [pseudo, vec![0x80 + 62, 0x80 + 63]];
    let mut flight = h2::hello();
    for (stream, block) in [(1, first.concat()), (3, second.concat())] {
        flight.extend(h2::frame(h2::HEADERS, h2::END_HEADERS, stream, &block));
        flight.extend(h2::frame(h2::DATA, h2::END_STREAM, stream, b"{\"model\":\"m\"}"));
    }
    let mut io = connect(gateway.port()).await;
    h2::send(&mut io, &flight).await;
    let bodies = h2::bodies(&mut io, 2).await;
    for stream in [1, 3] {
        let got: Value = serde_json::from_slice(&bodies[&stream]).expect("JSON");
        assert_eq!(got["got"], format!("Bearer {key}"), "stream {stream}");
    }
}

#[tokio::test]
async fn over_http2_a_head_that_does_not_end_ends_the_connection() {
    let provider = Provider::right().await;
    let gateway = gateway(&provider).await;
    let head = h2_chat(1, "a token", &[("x-byok-key", &a_key("sk-own-"))]);
    let mut io = connect(gateway.port()).await;
    // Half of a frame, and then a byte from time to time, which does not begin the time anew.
    h2::send(&mut io, &[&h2::hello(), &head[..60]].concat()).await;
    let (mut reading, mut writing) = tokio::io::split(io);
    let slowly = tokio::spawn(async move {
        for byte in 60..head.len() {
            tokio::time::sleep(Duration::from_secs(2)).await;
            h2::send(&mut writing, &head[byte..=byte]).await;
        }
    });
    let mut all = Vec::new();
    let ended = timeout(Duration::from_secs(14), reading.read_to_end(&mut all)).await;
    slowly.abort();
    assert!(ended.is_ok(), "the connection stays open");
    assert_eq!(provider.count(), 0);
}
