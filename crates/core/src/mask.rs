//! Takes keys out of the texts that providers answer with. Never lets eight bytes of the caller's key in a row pass,
//! and never breaks a JSON text: escapes are replaced whole or not at all, and only by plain ASCII.
//!
//! Providers quote the key in their errors, whole or starred. The text is therefore searched twice: for the key that
//! was used, in the spellings it may have come back in, and for anything that looks like some key.

use std::{borrow::Cow, ops::Range};

use base64::{
    Engine,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};
use keyferry_secretmem::scrubbed;

/// What stands in the place of a key.
const MARK: &[u8] = b"[redacted]";

/// So many bytes of the key in a row are no coincidence, and no longer harmless.
const WINDOW: usize = 8;

/// How keys begin. The longest that fits decides, so that the bare name of a long one is no match for a short one.
const PREFIXES: [&[u8]; 15] = [
    b"sk-svcacct-",
    b"sk-admin-",
    b"sk-proj-",
    b"sk-ant-",
    b"tgp_v1_",
    b"sk-or-",
    b"sk-kf-",
    b"nvapi-",
    b"ya29.",
    b"pplx-",
    b"gsk_",
    b"csk-",
    b"xai-",
    b"AIza",
    b"AQ.",
];
/// Fits all that the longer ones leave over.
const SHORT_PREFIX: &[u8] = b"sk-";

/// Key characters that must follow a prefix.
const MIN_AFTER_PREFIX: usize = 8;

/// A word after `Bearer` is a token if it has a digit or star and this length, or twice that and more.
const MIN_BEARER: usize = 8;
const MIN_BEARER_WORD: usize = 20;

/// Replaces everything in `text` that is or may be a key by `[redacted]`.
///
/// - Whatever shares eight bytes in a row with `key`, as it is, JSON-escaped, percent-encoded or in base64, together
///   with the key-like characters around it, so that a starred echo goes whole.
/// - Tokens that begin as known keys do, and what follows `Bearer`.
///
/// The result is borrowed when nothing matched, and at most a quarter longer than the text. A key shorter than eight
/// bytes cannot be told from ordinary words and is not searched for. A match that may be a JSON number becomes `0`.
///
/// Nothing of the key is left on the stack, where sorting its pieces takes them apart.
pub fn scrub<'t>(text: &'t [u8], key: Option<&[u8]>) -> Cow<'t, [u8]> {
    match key {
        Some(key) => scrubbed(|| replace(text, Some(key))),
        None => replace(text, None),
    }
}

fn replace<'t>(text: &'t [u8], key: Option<&[u8]>) -> Cow<'t, [u8]> {
    let view = Decoded::of(text);
    let mut found = Vec::new();
    if let Some(windows) = key.and_then(Windows::of) {
        // One token can hold many matches; its limits are looked for once.
        let mut add = |range: Range<usize>| {
            let known = |last: &Range<usize>| last.start <= range.start && range.end <= last.end;
            if !found.last().is_some_and(known) {
                found.push(view.token_around(range));
            }
        };
        windows.find_in(&view.bytes, &mut add);
        if view.is_changed() {
            windows.find_in(text, |range| add(view.covering(range)));
        }
    }
    view.known_prefixes(|range| found.push(range));
    view.bearers(|range| found.push(range));
    if found.is_empty() {
        return Cow::Borrowed(text);
    }
    found.sort_unstable_by_key(|range| range.start);

    let mut masked = Vec::with_capacity(text.len() + MARK.len());
    let mut copied = 0;
    let mut ranges = found.into_iter().peekable();
    while let Some(mut range) = ranges.next() {
        while let Some(next) = ranges.next_if(|next| next.start <= range.end) {
            range.end = range.end.max(next.end);
        }
        masked.extend_from_slice(text.get(copied..view.raw(range.start)).unwrap_or_default());
        masked.extend_from_slice(if view.is_number(range.clone()) { b"0" } else { MARK });
        copied = view.raw(range.end);
    }
    masked.extend_from_slice(text.get(copied..).unwrap_or_default());
    Cow::Owned(masked)
}

/// Characters that keys and their starred echoes are made of.
const fn is_key_char(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'*' | b'~')
}

/// Also those of base64, as in RFC 6750's `b64token`.
const fn is_bearer_char(byte: u8) -> bool {
    is_key_char(byte) || matches!(byte, b'+' | b'/' | b'=')
}

/// Characters that JSON numbers are made of.
const fn is_number_char(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'.' | b'-' | b'+' | b'e' | b'E')
}

/// A text with its JSON escapes and percent-encodings undone, and the way back. Each escape is one byte here, so that
/// a range of it never ends inside an escape of the text.
struct Decoded<'t> {
    bytes: Cow<'t, [u8]>,
    /// Behind each escape: where the decoded text goes on, and where the raw one does.
    joints: Vec<(usize, usize)>,
}

impl<'t> Decoded<'t> {
    fn of(text: &'t [u8]) -> Self {
        let Some(first) = memchr::memchr2(b'\\', b'%', text) else {
            return Self { bytes: Cow::Borrowed(text), joints: Vec::new() };
        };
        let mut bytes = Vec::with_capacity(text.len());
        let mut joints = Vec::new();
        let mut at = 0;
        let mut next = Some(first);
        while let Some(found) = next {
            let stop = at + found;
            bytes.extend_from_slice(text.get(at..stop).unwrap_or_default());
            let rest = text.get(stop..).unwrap_or_default();
            let (byte, len) = decode(rest);
            bytes.push(byte);
            at = stop + len;
            if len > 1 {
                joints.push((bytes.len(), at));
            }
            next = memchr::memchr2(b'\\', b'%', text.get(at..).unwrap_or_default());
        }
        bytes.extend_from_slice(text.get(at..).unwrap_or_default());
        Self { bytes: Cow::Owned(bytes), joints }
    }

    fn is_changed(&self) -> bool {
        !self.joints.is_empty()
    }

    /// Where the byte at `index` begins in the raw text.
    fn raw(&self, index: usize) -> usize {
        match self.joints.partition_point(|&(decoded, _)| decoded <= index).checked_sub(1) {
            Some(joint) => self.joints.get(joint).map_or(index, |&(decoded, raw)| raw + (index - decoded)),
            None => index,
        }
    }

    /// The bytes that a raw range touches.
    fn covering(&self, raw: Range<usize>) -> Range<usize> {
        self.index_of(raw.start)..self.index_of(raw.end - 1) + 1
    }

    /// The byte whose raw spelling contains the position.
    fn index_of(&self, raw: usize) -> usize {
        let after = self.joints.partition_point(|&(_, end)| end <= raw);
        let (decoded, start) =
            after.checked_sub(1).and_then(|joint| self.joints.get(joint)).copied().unwrap_or((0, 0));
        let index = decoded + (raw - start);
        // Inside of the next escape, which is the last byte before its joint.
        self.joints.get(after).map_or(index, |&(joint, _)| index.min(joint - 1))
    }

    fn slice(&self, range: Range<usize>) -> &[u8] {
        self.bytes.get(range).unwrap_or_default()
    }

    /// Made of a number's characters, and where JSON may have a number: there the mark would break it.
    fn is_number(&self, range: Range<usize>) -> bool {
        let before = self.slice(0..range.start).trim_ascii_end();
        matches!(before.last(), None | Some(b':' | b',' | b'['))
            && self.slice(range).iter().all(|&byte| is_number_char(byte))
    }

    /// The number that a range is a part of: one with a sign within has a character that is no key's.
    fn number_around(&self, found: Range<usize>) -> Option<Range<usize>> {
        let before = self.slice(0..found.start);
        let start = before.iter().rposition(|&byte| !is_number_char(byte)).map_or(0, |at| at + 1);
        let whole = start..self.run_from(found.end, is_number_char);
        self.is_number(whole.clone()).then_some(whole)
    }

    fn run_from(&self, start: usize, belongs: impl Fn(u8) -> bool) -> usize {
        let rest = self.bytes.get(start..).unwrap_or_default();
        start + rest.iter().position(|&byte| !belongs(byte)).unwrap_or(rest.len())
    }

    /// Leaves the full stop of a sentence out.
    fn without_stop(&self, range: Range<usize>) -> Range<usize> {
        let stops = self.slice(range.clone()).iter().rev().take_while(|&&byte| byte == b'.').count();
        range.start..range.end - stops
    }

    fn token_around(&self, found: Range<usize>) -> Range<usize> {
        let before = self.bytes.get(..found.start).unwrap_or_default();
        let start = before.iter().rposition(|&byte| !is_key_char(byte)).map_or(0, |at| at + 1);
        let end = self.without_stop(start..self.run_from(found.end, is_key_char)).end;
        let token = start..end.max(found.end);
        self.number_around(token.clone()).unwrap_or(token)
    }

    fn known_prefixes(&self, mut report: impl FnMut(Range<usize>)) {
        let mut at = 0;
        while let Some(rest) = self.bytes.get(at..).filter(|rest| !rest.is_empty()) {
            let is_start =
                at.checked_sub(1).and_then(|i| self.bytes.get(i)).is_none_or(|b| !b.is_ascii_alphanumeric());
            let mut prefixes = PREFIXES.into_iter().chain([SHORT_PREFIX]);
            let prefix = if is_start { prefixes.find(|prefix| rest.starts_with(prefix)) } else { None };
            at += 1;
            if let Some(prefix) = prefix {
                let start = at - 1;
                let range = self.without_stop(start..self.run_from(start + prefix.len(), is_key_char));
                if range.len() >= prefix.len() + MIN_AFTER_PREFIX {
                    at = range.end;
                    report(range);
                }
            }
        }
    }

    fn bearers(&self, mut report: impl FnMut(Range<usize>)) {
        const WORD: &[u8] = b"bearer";
        let mut at = 0;
        while let Some(found) = memchr::memchr2(b'b', b'B', self.bytes.get(at..).unwrap_or_default()) {
            let start = at + found;
            at = start + 1;
            if !self.slice(start..start + WORD.len()).eq_ignore_ascii_case(WORD) {
                continue;
            }
            let word_end = start + WORD.len();
            let token = self.run_from(word_end, |byte| byte == b' ');
            let range = self.without_stop(token..self.run_from(token, is_bearer_char));
            let has_sign = self.slice(range.clone()).iter().any(|byte| matches!(byte, b'0'..=b'9' | b'*'));
            if token > word_end && range.len() >= if has_sign { MIN_BEARER } else { MIN_BEARER_WORD } {
                at = range.end;
                report(range);
            }
        }
    }
}

/// The byte that an escape at the beginning of `rest` stands for, and the length of its spelling. What is no ASCII
/// character becomes a byte that no key has.
fn decode(rest: &[u8]) -> (u8, usize) {
    match rest {
        [b'%', high, low, ..] => match (hex(*high), hex(*low)) {
            (Some(high), Some(low)) => (high << 4 | low, 3),
            _ => (b'%', 1),
        },
        [b'\\', b'u', a, b, c, d, ..] => match (hex(*a), hex(*b), hex(*c), hex(*d)) {
            (Some(0), Some(0), Some(high), Some(low)) => (high << 4 | low, 6),
            (Some(_), Some(_), Some(_), Some(_)) => (0xFF, 6),
            _ => (0xFF, 2),
        },
        [b'\\', b'/', ..] => (b'/', 2),
        // A line break, tab and so on, which separates like a blank; a quote or backslash, which are no key's either.
        [b'\\', byte, ..] => (if byte.is_ascii_alphanumeric() { b' ' } else { *byte }, 2),
        [byte, ..] => (*byte, 1),
        [] => (0xFF, 1),
    }
}

fn hex(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).map(|digit| digit as u8)
}

/// Every eight bytes in a row of a key's spellings.
struct Windows {
    sorted: Vec<[u8; WINDOW]>,
    /// A set of hashes that turns almost all positions of a text away at once.
    filter: [u64; 64],
}

impl Windows {
    fn of(key: &[u8]) -> Option<Self> {
        if key.len() < WINDOW {
            return None;
        }
        let mut spellings = vec![key.to_vec(), Decoded::of(key).bytes.into_owned()];
        spellings.extend((0..3).flat_map(|shift| base64_inside(key, shift)));
        let mut sorted: Vec<[u8; WINDOW]> = spellings
            .iter()
            .flat_map(|spelling| spelling.windows(WINDOW))
            .filter_map(|w| w.try_into().ok())
            .collect();
        sorted.sort_unstable();
        sorted.dedup();
        let mut filter = [0; 64];
        for &window in &sorted {
            let (word, bit) = filter_bit(window);
            if let Some(word) = filter.get_mut(word) {
                *word |= bit;
            }
        }
        Some(Self { sorted, filter })
    }

    /// Reports each run of bytes that is made of windows.
    fn find_in(&self, text: &[u8], mut report: impl FnMut(Range<usize>)) {
        let mut run: Option<Range<usize>> = None;
        for (at, window) in text.windows(WINDOW).enumerate() {
            if !self.contains(window) {
                continue;
            }
            match &mut run {
                Some(run) if at <= run.end => run.end = at + WINDOW,
                _ => {
                    run.replace(at..at + WINDOW).map(&mut report);
                }
            }
        }
        run.map(report);
    }

    fn contains(&self, window: &[u8]) -> bool {
        let Ok(window) = window.try_into() else { return false };
        let (word, bit) = filter_bit(window);
        self.filter.get(word).is_some_and(|bits| bits & bit != 0)
            && self.sorted.binary_search(&window).is_ok()
    }
}

fn filter_bit(window: [u8; WINDOW]) -> (usize, u64) {
    let hash = u64::from_le_bytes(window).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 52;
    ((hash >> 6) as usize, 1 << (hash & 63))
}

/// The base64 of the key as it stands when `shift` bytes more than a multiple of three come before it, without the
/// characters that depend on the neighbours.
fn base64_inside(key: &[u8], shift: usize) -> [Vec<u8>; 2] {
    let mut shifted = vec![0; shift];
    shifted.extend_from_slice(key);
    [STANDARD_NO_PAD.encode(&shifted), URL_SAFE_NO_PAD.encode(&shifted)].map(|encoded| {
        let from = (shift * 8).div_ceil(6);
        let to = shifted.len() * 8 / 6;
        encoded.as_bytes().get(from..to).unwrap_or_default().to_vec()
    })
}
