//! Bodies of requests: the facts of a JSON body are those that another reader finds, and a form reads the same without
//! what follows it.
//!
//! JSON as it is, or a form behind its content type and a line end.
#![no_main]

use keyferry_core::body::{BodyRefused, read_json, read_multipart_model};
use keyferry_fuzz::find;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|data: &[u8]| {
    json(data);
    let Some(end) = data.iter().position(|&byte| byte == b'\n') else { return };
    let Ok(kind) = std::str::from_utf8(&data[..end]) else { return };
    form(kind, &data[end + 1..]);
});

fn json(body: &[u8]) {
    let read = read_json(body);
    let other: Option<Value> = serde_json::from_slice(body).ok();
    match read {
        Ok(facts) => {
            let Some(Value::Object(fields)) = other else { return assert!(is_hard(body)) };
            match fields.get("model") {
                None | Some(Value::Null) => assert_eq!(facts.model, None),
                Some(model) => assert_eq!(facts.model.as_deref(), model.as_str()),
            }
            assert_eq!(facts.stream, fields.get("stream").and_then(Value::as_bool).unwrap_or(false));
        }
        Err(BodyRefused::NotJson { .. }) => assert!(other.is_none()),
        Err(BodyRefused::NotAnObject) => assert!(other.is_none_or(|other| !other.is_object())),
        Err(BodyRefused::Multipart(_) | BodyRefused::NoBoundary) => panic!("that is of forms"),
        Err(_) => {}
    }
}

/// What this reader passes over, the other one has to hold: numbers beyond a float, halves of characters, the last level.
fn is_hard(body: &[u8]) -> bool {
    let levels = body.iter().filter(|byte| matches!(byte, b'{' | b'[')).count();
    let digits = body.iter().filter(|byte| byte.is_ascii_digit()).count();
    levels > 126
        || digits > 300
        || body.contains(&b'e')
        || body.contains(&b'E')
        || find(body, b"\\u").is_some()
}

fn form(kind: &str, body: &[u8]) {
    let Ok(facts) = read_multipart_model(kind, body) else { return };
    if let Some(model) = &facts.model {
        assert!(find(body, model.as_bytes()).is_some() || model.is_empty());
        assert!(model.chars().count() <= 256);
    }
    // What ends is read to its end.
    let whole = body.strip_suffix(b"\r\n").unwrap_or(body);
    assert!(whole.ends_with(b"--"));
    assert_eq!(read_multipart_model(kind, whole), Ok(facts));
    assert!(read_multipart_model(kind, &whole[..whole.len() - 1]).is_err());
}
