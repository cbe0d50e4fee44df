//! Frames of the sidecar and what they ask for: a frame is taken off as its length says, and a refusal quotes no key.
#![no_main]

use keyferry::sidecar::{
    frame::{self, FrameError},
    request::{self, Op},
};
use keyferry_core::id::TenantId;
use keyferry_fuzz::find;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut rest = data;
    loop {
        match frame::split(rest) {
            Ok(Some(split)) => {
                assert_eq!(split.body.len() + split.rest.len() + frame::HEAD, rest.len());
                assert!((1..=frame::MAX).contains(&split.body.len()));
                let head = (split.body.len() as u32).to_be_bytes();
                assert_eq!([&head, split.body, split.rest].concat(), rest);
                asked(split.body);
                rest = split.rest;
            }
            Ok(None) => break assert!(rest.len() < frame::MAX + frame::HEAD),
            Err(error) => break assert!(matches!(error, FrameError::Empty | FrameError::TooLong)),
        }
    }
    asked(data);
});

fn asked(body: &[u8]) {
    let only: TenantId = "acme".parse().unwrap();
    let free = request::parse(body, None);
    match request::parse(body, Some(&only)) {
        Ok(request) => {
            assert_eq!(request.tenant, only);
            if let Ok(free) = free {
                assert_eq!((free.op.name(), free.tenant), (request.op.name(), only));
            }
            let key = match &request.op {
                Op::Store { key, .. } | Op::Rotate { key, .. } | Op::Seal { key, .. } => Some(key),
                Op::Test { .. } => None,
            };
            // A key is written without escapes, so it stands there as it is.
            assert!(key.is_none_or(|key| find(body, key.expose()).is_some()));
        }
        Err(refusal) => {
            let Ok(serde_json::Value::Object(fields)) = serde_json::from_slice(body) else { return };
            if let Some(key) =
                fields.get("api_key").and_then(|key| key.as_str()).filter(|key| is_like_a_key(key))
            {
                assert!(!refusal.detail.contains(key) && !refusal.code.contains(key));
            }
        }
    }
}

/// Longer than a word of ours, and with digits, which those do not have.
fn is_like_a_key(text: &str) -> bool {
    text.len() > 20 && text.bytes().filter(u8::is_ascii_digit).count() > 5
}
