//! Usage that was asked for on the client's behalf: the platform must know what it pays, and the client gets what it asked
//! for and no event more.

use bytes::{Bytes, BytesMut};
use keyferry_core::{body::with_usage, dialect::Dialect, operation::Operation};
use serde::{Deserialize, de::IgnoredAny};

use crate::upstream::ForwardBody;

/// Whether the streams of an operation tell their usage only to those who ask.
pub(super) fn must_be_asked_for(dialect: Dialect, operation: &Operation) -> bool {
    dialect == Dialect::OpenAi && matches!(operation.name, "chat.completions" | "completions")
}

/// Asks for it; answers whether it was not asked for already.
pub(super) fn ask(body: &mut ForwardBody) -> bool {
    let ForwardBody::Full(bytes) = body else { return false };
    let Some(asked) = with_usage(bytes) else { return false };
    *bytes = asked.into();
    true
}

#[derive(Deserialize)]
struct Chunk {
    choices: Vec<IgnoredAny>,
    usage: Option<IgnoredAny>,
}

/// Takes the events out that have usage and nothing else. What comes are whole events.
pub(super) fn take_out(events: Bytes) -> Bytes {
    let mut kept: Option<BytesMut> = None;
    let mut at = 0;
    while at < events.len() {
        let end = at + event_length(&events[at..]);
        let event = &events[at..end];
        if is_usage_alone(event) {
            kept.get_or_insert_with(|| BytesMut::from(&events[..at]));
        } else if let Some(kept) = &mut kept {
            kept.extend_from_slice(event);
        }
        at = end;
    }
    kept.map_or(events, BytesMut::freeze)
}

/// How long the first event is, its empty line included.
fn event_length(events: &[u8]) -> usize {
    let mut at = 0;
    while let Some(found) = memchr::memchr(b'\n', &events[at..]) {
        at += found + 1;
        match &events[at..] {
            [b'\n', ..] => return at + 1,
            [b'\r', b'\n', ..] => return at + 2,
            _ => {}
        }
    }
    events.len()
}

fn is_usage_alone(event: &[u8]) -> bool {
    let mut data = event.split(|&byte| byte == b'\n').filter_map(|line| line.strip_prefix(b"data:"));
    let (Some(line), None) = (data.next(), data.next()) else { return false };
    serde_json::from_slice::<Chunk>(line).is_ok_and(|chunk| chunk.choices.is_empty() && chunk.usage.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_event_that_was_not_asked_for_goes() {
        let text = "data: {\"choices\":[{}],\"usage\":null}\n\n";
        let usage = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1}}\n\n";
        let filters = "data: {\"choices\":[],\"prompt_filter_results\":[]}\n\n";
        let done = "data: [DONE]\n\n";
        let whole = |parts: &[&str]| Bytes::from(parts.concat());
        assert_eq!(take_out(whole(&[text, usage, done])), whole(&[text, done]));
        assert_eq!(take_out(whole(&[usage])), whole(&[]));
        assert_eq!(take_out(whole(&[text, filters, done])), whole(&[text, filters, done]));
        let crlf = usage.replace('\n', "\r\n");
        assert_eq!(take_out(whole(&[text, &crlf, done])), whole(&[text, done]));
    }
}
