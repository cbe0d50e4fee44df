//! HTTP/2 connections: the same comes out however the frames come, it is made of whole frames, and each header block
//! has the fields it came with, the secrets replaced.
#![no_main]

use keyferry::fuzzing::ingress::{hpack, http2};
use keyferry_core::headers::SECRET;
use keyferry_fuzz::cut;
use libfuzzer_sys::fuzz_target;

const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const MAX_HEAD: usize = 16 * 1024;
/// What follows nothing in the library: a frame that is too long.
const BROKEN: [u8; 9] = [0xff; 9];

/// Header blocks in their order, as far as they are complete, and the bytes of all other frames.
fn taken_apart(mut rest: &[u8], strict: bool) -> (Vec<Vec<u8>>, Vec<u8>) {
    let (mut blocks, mut block, mut others) = (Vec::new(), None::<Vec<u8>>, Vec::new());
    while let Some((start, after)) = rest.split_first_chunk::<9>() {
        let length = u32::from_be_bytes([0, start[0], start[1], start[2]]) as usize;
        let (kind, flags) = (start[3], start[4]);
        let payload = &after[..length.min(after.len())];
        rest = &after[payload.len()..];
        if !matches!(kind, HEADERS | CONTINUATION) {
            others.extend_from_slice(start);
            others.extend_from_slice(payload);
            continue;
        }
        if payload.len() < length {
            assert!(!strict, "half of a header block came out");
            break;
        }
        let (mut from, mut to) = (0, payload.len());
        if kind == HEADERS && flags & 0x8 != 0 {
            (from, to) = (1, to - usize::from(payload[0]));
        }
        if kind == HEADERS && flags & 0x20 != 0 {
            from += 5;
        }
        assert!(!strict || from == 0 && to == payload.len());
        block.get_or_insert_default().extend_from_slice(&payload[from..to]);
        if flags & 0x4 != 0 {
            blocks.extend(block.take());
        }
    }
    assert!(!strict || block.is_none());
    (blocks, others)
}

fuzz_target!(|data: &[u8]| {
    let Some((whole, pieces)) = cut(data) else { return };
    let passed = http2(1, [whole]);
    assert_eq!(passed, http2(1, pieces));
    let Some((first, frames)) = whole.split_first() else { return };

    let mut out = passed.out.as_slice();
    assert_eq!(out.first(), Some(first));
    out = &out[1..];
    if passed.refused.is_some() {
        out = out.strip_suffix(&BROKEN).expect("the end");
    }
    let (blocks, others) = taken_apart(out, true);
    // Only those are complete in what came that were read without a fault.
    if passed.refused.is_none() {
        let (came, others_came) = taken_apart(frames, false);
        assert_eq!(others_came, others);
        let came = hpack(came.iter().map(Vec::as_slice));
        assert_eq!(came.len(), blocks.len());
        for (came, block) in came.into_iter().zip(&blocks) {
            compare(&came.expect("it came out"), block);
        }
    }
    for (number, secrets) in &passed.secrets {
        assert!(*number > 0 && !secrets.is_empty());
    }
});

fn compare(came: &[(Vec<u8>, Vec<u8>)], block: &[u8]) {
    // A literal that no table remembers, each.
    let out = hpack([block]).pop().flatten().expect("it was written here");
    let size: usize = came.iter().map(|(name, value)| name.len() + value.len() + 32).sum();
    assert!(out.len() == came.len() || out.len() < came.len() && size > MAX_HEAD);
    for ((name, value), (name_out, value_out)) in came.iter().zip(&out) {
        assert_eq!(name, name_out);
        if !SECRET.iter().any(|secret| name.eq_ignore_ascii_case(secret.as_bytes())) {
            assert_eq!(value, value_out);
            continue;
        }
        assert_eq!(value.len(), value_out.len());
        let plain = |byte: &u8| matches!(byte, 0 | b'*' | b'0'..=b'9' | b'a'..=b'f' | b' ' | b'\t');
        assert!(value_out.iter().all(plain));
    }
}
