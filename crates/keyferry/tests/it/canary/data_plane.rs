//! Keys lost on the data plane.

use serde_json::json;

use super::Waters;
use crate::{
    harness::{Answer, Provider, Seen, connect},
    ingress::{h2, latin1},
    session,
};

const SURFACES: [(&str, &str); 4] = [
    ("openai", "/openai/v1/chat/completions"),
    ("anthropic", "/anthropic/v1/messages"),
    ("gemini", "/gemini/v1beta/models/gemini-2.5-flash:generateContent"),
    ("unified", "/v1/chat/completions"),
];

/// Headers in which a key may be sent, rightly or not.
const HEADERS: [&str; 16] = [
    "authorization",
    "x-api-key",
    "x-goog-api-key",
    "x-keyferry-token",
    "x-byok-key",
    "x-byok-keys",
    "x-encrypted-key",
    "x-session-key",
    "x-sealed-key",
    "api-key",
    "proxy-authorization",
    "cookie",
    "x-custom",
    "referer",
    "x-request-id",
    "traceparent",
];

const BODY: &str = r#"{"model": "openai/gpt-4.1-mini", "messages": []}"#;

#[tokio::test]
async fn keys_in_the_place_of_a_token_or_in_any_header_leave_no_trace() {
    let waters = Waters::open().await;
    let token = waters.tenant.caller_token.clone();
    for (surface, path) in SURFACES {
        let line = format!("POST {path}");
        for name in HEADERS {
            for prefix in ["sk-proj-", ""] {
                let way = |how: &str| format!("{name} {how} on {surface} ({prefix:?})");
                let alone = way("alone");
                let key = waters.key_like(&alone, prefix);
                waters.ask(&alone, &line, &[(name, &key)], BODY).await;
                let bearer = way("as a bearer");
                let key = format!("Bearer {}", waters.key_like(&bearer, prefix));
                waters.ask(&bearer, &line, &[(name, &key)], BODY).await;
                let beside = way("beside a token");
                let key = waters.key_like(&beside, prefix);
                waters.ask(&beside, &line, &[("x-keyferry-token", &token), (name, &key)], BODY).await;
                let twice = way("twice beside a token");
                let (one, two) = (waters.key_like(&twice, prefix), waters.key_like(&twice, prefix));
                waters
                    .ask(&twice, &line, &[("x-keyferry-token", &token), (name, &one), (name, &two)], BODY)
                    .await;
            }
        }
        let good = format!("Bearer {token}");
        let way = format!("a carried key on {surface}");
        let key = waters.key(&way);
        waters.ask(&way, &line, &[("authorization", &good), ("x-byok-key", &key)], BODY).await;
        let way = format!("a carried key among others on {surface}");
        let keys = format!(
            r#"{{"openai": "{}", "anthropic": "{}", "gemini": "{}", "other": "{}"}}"#,
            waters.key(&way),
            waters.key(&way),
            waters.key(&way),
            waters.key(&way)
        );
        waters.ask(&way, &line, &[("authorization", &good), ("x-byok-keys", &keys)], BODY).await;
        let way = format!("basic credentials on {surface}");
        let basic = data_encoding::BASE64.encode(format!("user:{}", waters.key(&way)).as_bytes());
        waters.ask(&way, &line, &[("authorization", &format!("Basic {basic}"))], BODY).await;
    }
    waters.assert_clean().await;
}

const MAPS: &[&str] = &[
    "{\"openai\": \"KEY\"",
    "{\"openai\": [\"KEY\"]}",
    "{\"openai\": {\"key\": \"KEY\"}}",
    "{\"KEY\": \"x\"}",
    "{\"openai\": \"KEY\", \"openai\": \"KEY\"}",
    "KEY",
    "\"KEY\"",
    "[\"KEY\"]",
    "{\"openai\": \"KEY\\u0041\"}",
    "{\"openai\": \"KEY\\n\"}",
    "{'openai': 'KEY'}",
    "{\"openai\": KEY}",
    "openai=KEY",
    "{\"openai\": \"KEY\"} x",
    "{\"openai\": \" KEY\"}",
    "{\"openai\": \"KEY KEY\"}",
    "{\"openai\": null, \"x\": \"KEY\"}",
];

#[tokio::test]
async fn malformed_key_headers_leave_no_trace() {
    let waters = Waters::open().await;
    let token = waters.tenant.caller_token.clone();
    for &map in MAPS {
        let way = format!("x-byok-keys: {map}");
        let value = map.replace("KEY", &waters.key(&way));
        waters
            .ask(
                &way,
                "POST /openai/v1/chat/completions",
                &[("x-keyferry-token", &token), ("x-byok-keys", &value)],
                BODY,
            )
            .await;
        waters
            .ask(
                &way,
                "POST /api/v1/keys/test",
                &[("x-keyferry-token", &token), ("x-byok-keys", &value)],
                BODY,
            )
            .await;
    }
    for name in ["x-byok-key", "x-api-key", "authorization", "x-keyferry-token"] {
        for (how, change) in [
            ("with a line break", "KEY\r\nKEY"),
            ("folded", "KEY\r\n KEY"),
            ("with a carriage return", "KEY\rKEY"),
            ("with a line feed", "KEY\nKEY"),
            ("with NUL", "KEY\0KEY"),
            ("with a space", "KEY KEY"),
            ("with a tab", "KEY\tKEY"),
            ("with other letters", "KEY\u{e4}"),
            ("in quotes", "\"KEY\""),
            ("with a delete", "KEY\u{7f}"),
            ("listed", "KEY, KEY"),
        ] {
            let way = format!("{name} {how}");
            let scheme = if name == "authorization" { "Bearer " } else { "" };
            let value = change.replace("KEY", &waters.key(&way));
            let text = format!(
                "POST /openai/v1/chat/completions HTTP/1.1\r\nhost: gw.example\r\nconnection: close\r\nx-keyferry-token: {token}\r\n{name}: {scheme}{value}\r\ncontent-length: 2\r\n\r\n{{}}"
            );
            waters.say(&way, &latin1(&text)).await;
        }
        for length in [500, 600, 5000, 17_000] {
            let way = format!("{name} of {length} characters");
            let key: String = std::iter::repeat_with(|| waters.key(&way)).take(length / 46).collect();
            waters.ask(&way, "POST /openai/v1/chat/completions", &[(name, &key)], BODY).await;
            if name != "x-keyferry-token" {
                waters
                    .ask(
                        &way,
                        "POST /openai/v1/chat/completions",
                        &[("x-keyferry-token", &token), (name, &key)],
                        BODY,
                    )
                    .await;
            }
        }
    }
    waters.assert_clean().await;
}

const BODIES: &[&str] = &[
    "{\"model\": \"KEY\"}",
    "{\"model\": \"openai/KEY\"}",
    "{\"model\": \"gpt-4.1-mini\", \"api_key\": \"KEY\"}",
    "{\"api_key\": \"KEY\"",
    "{\"model\": \"KEY",
    "{\"model\": [\"KEY\"]}",
    "{\"model\": {\"KEY\": 1}}",
    "{\"model\": \"KEY\", \"model\": \"KEY\"}",
    "{\"stream\": \"KEY\"}",
    "{\"KEY\": 1, \"KEY\": 2}",
    "KEY",
    "\"KEY\"",
    "[\"KEY\"]",
    "{\"messages\": [{\"role\": \"user\", \"content\": \"my key is KEY\"}]}",
    "{\"model\": \"gpt\", \"stream\": true, \"user\": \"KEY\"}",
    "{\"model\": \"KEY\", \"stream\": true}",
];

const PARTS: &[&str] = &[
    "--B\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nKEY\r\n--B--\r\n",
    "--B\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nwhisper-1\r\n--B\r\nContent-Disposition: form-data; name=\"api_key\"\r\n\r\nKEY\r\n--B--\r\n",
    "--B\r\nContent-Disposition: form-data; name=\"KEY\"; filename=\"KEY\"\r\n\r\nx\r\n--B--\r\n",
    "--B\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nKEY",
    "--B\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nKEY\r\n--B\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nKEY\r\n--B--\r\n",
    "KEY",
];

#[tokio::test]
async fn keys_in_bodies_leave_no_trace() {
    // A model that the provider does not know stays what the request called it.
    let unknown = json!({"error": {"message": "no such model"}});
    let script = move |seen: &Seen| {
        if seen.json()["stream"] == true { Answer::right(seen) } else { Answer::json(404, &unknown) }
    };
    let waters = Waters::before(Provider::start(script).await).await;
    let bearer = format!("Bearer {}", waters.tenant.caller_token);
    for (surface, path) in SURFACES {
        for &body in BODIES {
            for prefix in ["sk-proj-", "AIzaSy"] {
                let way = format!("in the body {body} on {surface}");
                let text = body.replace("KEY", &waters.key_like(&way, prefix));
                let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
                waters.ask(&way, &format!("POST {path}"), &headers, &text).await;
            }
        }
    }
    for &part in PARTS {
        for (boundary, path) in [
            ("B", "audio/transcriptions"),
            ("KEY", "audio/transcriptions"),
            ("B", "images/edits"),
            ("B", "files"),
            ("B", ""),
        ] {
            let way = format!("in the form {part:?} with boundary {boundary} for {path}");
            let key = waters.key(&way);
            let kind = format!("multipart/form-data; boundary={}", boundary.replace("KEY", &key));
            let headers = [("authorization", bearer.as_str()), ("content-type", kind.as_str())];
            let path =
                if path.is_empty() { "/v1/audio/transcriptions" } else { &format!("/openai/v1/{path}") };
            waters.ask(&way, &format!("POST {path}"), &headers, &part.replace("KEY", &key)).await;
        }
    }
    waters.assert_clean().await;
}

const LINES: &[&str] = &[
    "GET /openai/v1/models?api_key=KEY",
    "GET /openai/v1/models?key=KEY",
    "GET /openai/v1/models?KEY=1",
    "GET /openai/v1/models?KEY",
    "GET /openai/v1/models?limit=KEY",
    "GET /openai/v1/models?foo=KEY",
    "GET /openai/v1/models?after=KEY",
    "GET /openai/v1/KEY",
    "GET /openai/v1/models/KEY",
    "GET /openai/v1/files/KEY",
    "DELETE /openai/v1/files/KEY",
    "GET /openai/KEY",
    "GET /openai/KEY/models",
    "GET /KEY",
    "GET /KEY/v1/models",
    "POST /openai/v1/responses/KEY/cancel",
    "POST /gemini/v1beta/models/KEY:generateContent",
    "POST /gemini/v1beta/models/KEY:KEY",
    "GET /gemini/v1beta/models/KEY",
    "GET /gemini/v1beta/models?pageToken=KEY",
    "GET /gemini/v1beta/models?key=KEY",
    "GET /anthropic/v1/models/KEY",
    "GET /anthropic/v1/models?after_id=KEY",
    "POST /anthropic/v1/messages?KEY=true",
    "GET /v1/models/KEY",
    "GET /v1/models/openai/KEY",
    "GET /v1/models/openai%2FKEY",
    "GET /v1/models?after=KEY",
    "POST /v1/KEY",
    "POST /v1/chat/completions?KEY=1",
    "GET /v1/jobs/KEY",
    "GET /api/KEY",
    "GET /api/v1/KEY",
    "GET /.refused?KEY",
    "GET /healthz?KEY",
    "GET /readyz/KEY",
    "GET /metrics/KEY",
    "GET /openapi.json?KEY=KEY",
    "GET https://KEY@gw.example/openai/v1/models",
    "GET KEY",
    "KEY /openai/v1/models",
    "GET /openai/v1/models#KEY",
    "GET /openai/v1/%KEY",
    "GET /openai/v1/../KEY",
    "OPTIONS /KEY",
    "PUT /openai/v1/KEY",
    "HEAD /openai/v1/models/KEY",
];

const BYTES: &[&str] = &[
    "GET /openai/v1/models HTTP/KEY\r\nhost: gw.example\r\n\r\n",
    "GET /openai/v1/models HTTP/1.1\r\nhost: KEY@gw.example\r\n\r\n",
    "GET /openai/v1/models HTTP/1.1\r\nhost: KEY\r\nconnection: close\r\n\r\n",
    "GET /openai/v1/models HTTP/1.1\r\nhost: gw.example\r\nKEY: x\r\nconnection: close\r\n\r\n",
    "GET /openai/v1/models HTTP/1.1\r\nhost: gw.example\r\nKEY\r\n\r\n",
    "GET /openai/v1/models HTTP/1.1\r\nhost: gw.example\r\nconnection: KEY\r\n\r\n",
    "GET /openai/v1/models HTTP/1.1\r\nhost: gw.example\r\nexpect: KEY\r\n\r\n",
    "POST /openai/v1/files HTTP/1.1\r\nhost: gw.example\r\ncontent-length: KEY\r\n\r\n",
    "POST /openai/v1/files HTTP/1.1\r\nhost: gw.example\r\ntransfer-encoding: KEY\r\n\r\n",
    "POST /openai/v1/files HTTP/1.1\r\nhost: gw.example\r\ntransfer-encoding: chunked\r\n\r\nKEY\r\n",
    "POST /openai/v1/files HTTP/1.1\r\nhost: gw.example\r\ntransfer-encoding: chunked\r\n\r\n1;KEY\r\nx\r\n0\r\nKEY: x\r\n\r\n",
    "KEY\r\n\r\n",
    "KEY\n",
];

#[tokio::test]
async fn keys_in_addresses_leave_no_trace() {
    let waters = Waters::open().await;
    let bearer = format!("Bearer {}", waters.tenant.caller_token);
    for &line in LINES {
        for (with, headers) in [("a token", &[("authorization", bearer.as_str())][..]), ("no token", &[])] {
            // Where a name of the caller's choice belongs, and is kept, only what looks like a key can be told from one.
            let named = ["GET /openai/v1/models/KEY", "HEAD /openai/v1/models/KEY"].contains(&line);
            for prefix in if named { &["sk-proj-", "AIzaSy"][..] } else { &["sk-proj-", "AIzaSy", ""] } {
                let way = format!("in the address '{line}' with {with} ({prefix:?})");
                let text = line.replace("KEY", &waters.key_like(&way, prefix));
                let body = if line.starts_with("POST") { "{}" } else { "" };
                waters.ask(&way, &text, headers, body).await;
            }
        }
    }
    for text in BYTES {
        let way = format!("in the bytes {text:?}");
        let key = waters.key(&way);
        waters.say(&way, text.replace("KEY", &key).as_bytes()).await;
    }
    waters.assert_clean().await;
}

#[tokio::test]
async fn session_keys_leave_no_trace() {
    let waters = Waters::open().await;
    let good = format!("Bearer {}", waters.tenant.caller_token);
    let secret = [7; 32];
    for (surface, path) in SURFACES {
        for how in ["that opens", "that does not open", "with a line break in it", "in plain text"] {
            let way = format!("a session key {how} on {surface}");
            let key = waters.key(&way);
            let base64 = |bytes: &[u8]| data_encoding::BASE64.encode(bytes);
            let encrypted = match how {
                "with a line break in it" => base64(&session::sealed(&format!("{key}\r\n"), &secret)),
                "in plain text" => key,
                _ => base64(&session::sealed(&key, &secret)),
            };
            let beside = if how == "that does not open" { base64(&[8; 32]) } else { base64(&secret) };
            let headers =
                [("authorization", &*good), ("x-encrypted-key", &encrypted), ("x-session-key", &beside)];
            // On the path of Gemini's surface another model is named.
            let body = if surface == "gemini" { "{}" } else { BODY };
            let answer = waters.ask(&way, &format!("POST {path}"), &headers, body).await;
            assert_eq!(answer.starts_with(b"HTTP/1.1 200"), how == "that opens", "{way}");
        }
    }
    waters.assert_clean().await;
}

#[tokio::test]
async fn keys_over_http2_leave_no_trace() {
    let waters = Waters::open().await;
    let token = waters.tenant.caller_token.clone();
    for name in HEADERS.into_iter().chain([
        ":path",
        ":authority",
        ":method",
        ":scheme",
        "KEY",
        "content-length",
        "te",
    ]) {
        for how in ["alone", "beside a token", "with a bad value", "in the wrong order"] {
            let way = format!("over HTTP/2 in {name} {how}");
            let key = waters.key(&way).to_ascii_lowercase();
            waters.keys.lock().expect("not poisoned").push((way.clone(), key.clone()));
            let mut fields: Vec<(String, String)> = [
                (":method", "POST"),
                (":scheme", "https"),
                (":authority", "gw.example"),
                (":path", "/openai/v1/chat/completions"),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
            if how != "alone" {
                fields.push(("x-keyferry-token".to_owned(), token.clone()));
            }
            let value = match (how, name) {
                ("with a bad value", _) => format!("{key}\r\n{key}"),
                (_, "KEY") => "1".to_owned(),
                (_, ":path") => format!("/openai/v1/{key}"),
                _ => key.clone(),
            };
            let name = name.replace("KEY", &key);
            match fields.iter_mut().find(|(known, _)| *known == name) {
                Some(field) => field.1 = value,
                None => fields.push((name, value)),
            }
            if how == "in the wrong order" {
                fields.push((":late".to_owned(), key.clone()));
            }
            let fields: Vec<_> = fields.iter().map(|(name, value)| (latin1(name), latin1(value))).collect();
            let outcome = h2::exchange(connect(waters.gateway.port()).await, &fields, Some(b"{}")).await;
            waters.keep(&way, outcome.raw);
        }
    }
    waters.assert_clean().await;
}
