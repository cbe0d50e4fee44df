//! What is asked and what is answered. Everything about an answer follows from its request, and it stands in members that
//! every gateway passes on: `max_tokens` is the length of the answer's body, `seed` comes back as `system_fingerprint`, so that
//! no answer can be taken for another's, `stream` asks for events, and `user` says how long the provider waits.

use memchr::memmem;

/// Events of a stream, the last one being `[DONE]`.
pub const EVENTS: usize = 20;

const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789";
const BEFORE: &str = r#"{"id":"chatcmpl-bench","object":"chat.completion","created":1790000000,"model":"gpt-4o-mini","system_fingerprint":"fp_00000000","choices":[{"index":0,"message":{"role":"assistant","content":""#;
const AFTER: &str = r#""},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":25,"completion_tokens":180,"total_tokens":205}}"#;
const CHUNK: &str = r#"{"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1790000000,"model":"gpt-4o-mini","system_fingerprint":"fp_00000000","choices":[{"index":0,"delta":"#;
const CHUNK_END: &str = r#","finish_reason":null}]}"#;
const LAST: &str =
    r#"{},"finish_reason":"stop"}],"usage":{"prompt_tokens":25,"completion_tokens":18,"total_tokens":43}}"#;

/// The shortest answer there is.
pub const LEAST: usize = BEFORE.len() + AFTER.len();

/// A text without a period that divides a power of two, so that a piece in a wrong place is seen.
pub fn pattern(length: usize) -> impl Iterator<Item = u8> {
    (0..length).map(|at| LETTERS[(at + at / LETTERS.len()) % LETTERS.len()])
}

/// The body of an answer, `length` bytes long, and where in it the eight digits of the seed are.
pub fn answer(length: usize) -> (Vec<u8>, usize) {
    let mut body = Vec::with_capacity(length);
    body.extend_from_slice(BEFORE.as_bytes());
    body.extend(pattern(length.saturating_sub(LEAST)));
    body.extend_from_slice(AFTER.as_bytes());
    let at = seed_place(&body);
    (body, at)
}

/// What stands in the answer's `content`.
pub fn content(length: usize) -> Vec<u8> {
    pattern(length.saturating_sub(LEAST)).collect()
}

/// What one event of a stream adds to the text.
pub fn word(event: usize) -> String {
    format!("word{event:02} of a stream ")
}

/// One event, and where in it the seed is; the last one has none.
pub fn event(number: usize) -> (Vec<u8>, Option<usize>) {
    let text = match number {
        0 => format!("data: {CHUNK}{{\"role\":\"assistant\",\"content\":\"{}\"}}{CHUNK_END}\n\n", word(0)),
        middle if middle < EVENTS - 2 => {
            format!("data: {CHUNK}{{\"content\":\"{}\"}}{CHUNK_END}\n\n", word(middle))
        }
        last if last == EVENTS - 2 => format!("data: {CHUNK}{LAST}\n\n"),
        _ => return (b"data: [DONE]\n\n".to_vec(), None),
    };
    let at = seed_place(text.as_bytes());
    (text.into_bytes(), Some(at))
}

fn seed_place(text: &[u8]) -> usize {
    memmem::find(text, b"fp_00000000").map_or(0, |at| at + 3)
}

/// Writes a seed as its eight digits.
pub fn put_seed(place: &mut [u8], seed: u32) {
    let mut rest = seed % 100_000_000;
    for digit in place[..8].iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
}

/// The seeds that are given are of eight digits from the first on, since JSON has no leading zeros.
pub const FIRST_SEED: u32 = 10_000_000;

/// The body of a request, `length` bytes long or as long as it must be, and where its seed is.
pub fn question(length: usize, answer: usize, stream: bool, wait_ms: u64) -> (Vec<u8>, usize) {
    let before = format!(
        r#"{{"model":"gpt-4o-mini","max_tokens":{answer},"seed":10000000,"user":"wait-{wait_ms}","stream":{stream},"messages":[{{"role":"system","content":"You are a terse assistant."}},{{"role":"user","content":""#
    );
    let after = br#""}]}"#;
    let mut body = before.into_bytes();
    let padding = length.saturating_sub(body.len() + after.len());
    body.extend(pattern(padding));
    body.extend_from_slice(after);
    let at = memmem::find(&body, b"\"seed\":").map_or(0, |at| at + 7);
    (body, at)
}

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    pub length: usize,
    pub seed: u32,
    pub stream: bool,
    pub wait_ms: u64,
}

impl Asked {
    /// Reads it, wherever in the body the members are, with spaces or without.
    pub fn read(body: &[u8]) -> Self {
        let number = |name: &[u8]| after(body, name).map(digits);
        Self {
            length: number(b"\"max_tokens\"").map_or(1024, |length| length as usize),
            seed: number(b"\"seed\"").unwrap_or_default() as u32,
            stream: after(body, b"\"stream\"").is_some_and(|rest| rest.starts_with(b"true")),
            wait_ms: after(body, b"\"user\"")
                .and_then(|rest| rest.strip_prefix(b"\"wait-"))
                .map_or(0, digits),
        }
    }
}

/// What stands behind a member's name.
fn after<'a>(body: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let rest = &body[memmem::find(body, name)? + name.len()..];
    let value = rest.iter().position(|byte| !matches!(byte, b':' | b' '))?;
    Some(&rest[value..])
}

fn digits(text: &[u8]) -> u64 {
    text.iter()
        .take_while(|byte| byte.is_ascii_digit())
        .fold(0, |number: u64, digit| number.saturating_mul(10).saturating_add(u64::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_understood_as_it_was_meant() {
        let (mut body, at) = question(900, 2048, true, 7);
        assert_eq!(body.len(), 900);
        put_seed(&mut body[at..], FIRST_SEED + 42);
        let asked = Asked { length: 2048, seed: FIRST_SEED + 42, stream: true, wait_ms: 7 };
        assert_eq!(Asked::read(&body), asked);
        let spaced = String::from_utf8(body).expect("text").replace(':', ": ").replace(',', ", ");
        assert_eq!(Asked::read(spaced.as_bytes()), asked);
    }

    #[test]
    fn an_answer_is_as_long_as_was_asked_and_says_which_it_is() {
        let (mut body, at) = answer(1024);
        assert_eq!(body.len(), 1024);
        put_seed(&mut body[at..], 12_345_678);
        assert!(memmem::find(&body, b"\"fp_12345678\"").is_some());
        assert!(serde_json::from_slice::<serde_json::Value>(&body).is_ok());
    }

    #[test]
    fn every_event_but_the_last_is_json() {
        for number in 0..EVENTS - 1 {
            let text = String::from_utf8(event(number).0).expect("text");
            let json = text.trim_end().strip_prefix("data: ").expect("an event").to_owned();
            assert!(serde_json::from_str::<serde_json::Value>(&json).is_ok(), "{json}");
        }
        assert_eq!(event(EVENTS - 1).0, b"data: [DONE]\n\n");
    }
}
