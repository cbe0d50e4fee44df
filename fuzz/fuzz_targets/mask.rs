//! Texts of providers: eight bytes of the key in a row do not come through, in whatever spelling they stand there, and
//! a JSON text stays one.
//!
//! The input says the key, and a text in which the key is put in several spellings.
#![no_main]

use std::collections::HashSet;

use arbitrary::Arbitrary;
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use keyferry_core::mask::scrub;
use keyferry_fuzz::find;
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    key: &'a [u8],
    parts: Vec<Part<'a>>,
}

#[derive(Arbitrary, Debug)]
enum Part<'a> {
    Text(&'a [u8]),
    Key(Spelling),
    /// Some of its bytes, each in a spelling of its own.
    Piece {
        from: u8,
        to: u8,
        how: u32,
    },
}

#[derive(Arbitrary, Debug, Clone, Copy)]
enum Spelling {
    Plain,
    Percent,
    Unicode,
    Base64(u8),
    Base64Url(u8),
}

fn spelled(byte: u8, how: u32) -> Vec<u8> {
    match how % 4 {
        0 => format!("%{byte:02x}").into_bytes(),
        1 => format!("\\u{byte:04X}").into_bytes(),
        _ => vec![byte],
    }
}

/// As a reader of the text would undo it.
fn undone(text: &[u8]) -> Vec<u8> {
    let (mut out, mut at) = (Vec::new(), 0);
    while at < text.len() {
        let hex = |from: usize, digits: usize| {
            let digits = text.get(from..from + digits).filter(|d| d.iter().all(u8::is_ascii_hexdigit))?;
            u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
        };
        let (byte, len) = match text[at..] {
            [b'%', ..] => hex(at + 1, 2).map_or((b'%', 1), |byte| (byte as u8, 3)),
            [b'\\', b'u', ..] => {
                hex(at + 2, 4).map_or((0xff, 2), |unit| (u8::try_from(unit).unwrap_or(0xff), 6))
            }
            [b'\\', b'/', ..] => (b'/', 2),
            [b'\\', _, ..] => (0xff, 2),
            [byte, ..] => (byte, 1),
            [] => break,
        };
        out.push(byte);
        at += len;
    }
    out
}

/// What must not come through: every eight bytes in a row of the key, and of its base64 a longer piece of its middle.
fn parts_of(key: &[u8]) -> (HashSet<&[u8]>, Vec<String>) {
    let encoded = (0..3).map(|before| URL_SAFE_NO_PAD.encode([vec![0; before], key.to_vec()].concat()));
    let inside = encoded.filter_map(|encoded| encoded.get(4..encoded.len() - 2).map(str::to_owned));
    (key.windows(8).collect(), inside.filter(|inside| inside.len() >= 12).collect())
}

fn is_clean(text: &[u8], (windows, inside): &(HashSet<&[u8]>, Vec<String>)) {
    assert!(!text.windows(8).any(|window| windows.contains(window)), "a part of the key came through");
    assert!(!inside.iter().any(|inside| find(text, inside.as_bytes()).is_some()), "its base64 came through");
}

fuzz_target!(|input: Input<'_>| {
    // As a key is: visible, and without what an escape begins with, which would spell another one.
    let is_key = |byte: &&u8| byte.is_ascii_graphic() && !matches!(byte, b'\\' | b'%' | b'"');
    let key: Vec<u8> = input.key.iter().filter(is_key).copied().take(128).collect();
    if key.len() < 8 {
        return;
    }
    let mut text = Vec::new();
    for part in input.parts {
        match part {
            Part::Text(bytes) => text.extend_from_slice(bytes),
            Part::Key(Spelling::Plain) => text.extend_from_slice(&key),
            Part::Key(Spelling::Percent) => text.extend(key.iter().flat_map(|byte| spelled(*byte, 0))),
            Part::Key(Spelling::Unicode) => text.extend(key.iter().flat_map(|byte| spelled(*byte, 1))),
            Part::Key(Spelling::Base64(before)) => {
                text.extend(STANDARD.encode([vec![b'x'; usize::from(before)], key.clone()].concat()).bytes());
            }
            Part::Key(Spelling::Base64Url(before)) => {
                text.extend(
                    URL_SAFE_NO_PAD.encode([vec![b'x'; usize::from(before)], key.clone()].concat()).bytes(),
                );
            }
            Part::Piece { from, to, mut how } => {
                let (from, to) = (usize::from(from) % key.len(), usize::from(to) % (key.len() + 1));
                for byte in key.get(from..to).unwrap_or_default() {
                    text.extend(spelled(*byte, how));
                    how = how.rotate_right(2);
                }
            }
        }
    }
    let clean = scrub(&text, Some(&key));
    assert!(clean.len() <= text.len() + text.len() / 4 + 10);
    // Between the marks, which may spell a part of a key themselves.
    let parts = parts_of(&key);
    let mut rest = clean.as_ref();
    while !rest.is_empty() {
        let end = find(rest, b"[redacted]").unwrap_or(rest.len());
        is_clean(&rest[..end], &parts);
        is_clean(&undone(&rest[..end]), &parts);
        rest = &rest[(end + 10).min(rest.len())..];
    }
    if serde_json::from_slice::<serde::de::IgnoredAny>(&text).is_ok() {
        assert!(serde_json::from_slice::<serde::de::IgnoredAny>(&clean).is_ok(), "JSON was broken");
    }
    let _ = scrub(&text, None);
});
