//! Late injection: however the head is written and the wire takes it, the key stands in its header exactly once, or not
//! a byte of the head has left.
#![no_main]

use std::sync::{Arc, LazyLock};

use arbitrary::Arbitrary;
use keyferry::fuzzing::upstream::{Step, Waiting, inject};
use keyferry_core::provider::AuthSlot;
use keyferry_envelope::{ApiKey, SecretBytes};
use keyferry_fuzz::{Counting, find};
use libfuzzer_sys::fuzz_target;

const KEY: &[u8] = b"sk-test-not-a-real-key!";

static KEY_OF: LazyLock<Arc<ApiKey>> =
    LazyLock::new(|| Arc::new(ApiKey::parse(SecretBytes::new(KEY.to_vec())).unwrap()));

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    slot: u8,
    parts: Vec<Part<'a>>,
    cuts: Vec<u8>,
    steps: Vec<u8>,
    vectored: bool,
}

#[derive(Arbitrary, Debug)]
enum Part<'a> {
    Text(&'a [u8]),
    /// The header of the key with its value.
    Field,
    /// The value alone.
    Value,
    Line,
    End,
}

fuzz_target!(|input: Input<'_>| {
    let slot = [AuthSlot::Bearer, AuthSlot::XApiKey, AuthSlot::XGoogApiKey][usize::from(input.slot % 3)];
    let waiting = Waiting::new(slot, Arc::clone(&KEY_OF), &Counting::from(input.slot));
    let value = waiting.value();
    let placeholder = value[slot.scheme().len()..].to_vec();
    let field = [slot.header().as_bytes(), b": ", &value].concat();
    let mut message = b"POST /v1 HTTP/1.1\r\n".to_vec();
    for part in &input.parts {
        message.extend_from_slice(match part {
            Part::Text(text) => text,
            Part::Field => &field,
            Part::Value => &value,
            Part::Line => b"\r\n",
            Part::End => b"\r\n\r\n",
        });
    }
    // A longer head is refused for its length.
    if find(&message, KEY).is_some() || message.len() > 60_000 {
        return;
    }
    let mut pieces = Vec::new();
    let mut rest = message.as_slice();
    for cut in &input.cuts {
        let (piece, after) = rest.split_at(usize::from(*cut).min(rest.len()));
        pieces.push(piece);
        rest = after;
    }
    pieces.push(rest);
    let steps =
        input.steps.iter().map(|&step| if step == 0 { Step::Wait } else { Step::Take(step) }).collect();
    let (seen, failed) = inject(waiting, pieces, steps, input.vectored);

    let head = find(&message, b"\r\n\r\n").map(|at| &message[..at + 4]);
    let places =
        |text: &[u8]| text.windows(placeholder.len()).filter(|window| *window == placeholder).count();
    let is_right = head.is_some_and(|head| {
        let Some(at) = find(head, &placeholder) else { return false };
        let before = format!("\r\n{}: {}", slot.header(), slot.scheme()).to_ascii_lowercase();
        places(head) == 1
            && head[..at].to_ascii_lowercase().ends_with(before.as_bytes())
            && head[at + placeholder.len()..].starts_with(b"\r\n")
    });
    assert_eq!(failed, head.is_some() && !is_right);
    if is_right {
        let at = find(&message, &placeholder).unwrap();
        message[at..at + KEY.len()].copy_from_slice(KEY);
        assert_eq!(seen, message);
    } else {
        assert!(seen.is_empty(), "a byte left without the key");
    }
});
