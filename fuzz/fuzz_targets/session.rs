//! Blobs of the session mode: the genuine one opens, no other does.
//!
//! The first byte of the input says how much of the rest is the key.
#![no_main]

use keyferry_envelope::{SecretBytes, open_session};
use keyferry_fuzz::seed;
use libfuzzer_sys::fuzz_target;

/// Made with Python's `cryptography`: the key `00 01 .. 1f`, the nonce `40 .. 4b`, the text `sk-test-not-a-real-key`.
const BLOB: &str =
    "404142434445464748494a4b91d28357434ff32ea3ab631bfa49613e18aa7f37d24ce715f5b7aa698f34c6a62aca7690e5d3";

fn genuine() -> Vec<u8> {
    let blob = BLOB
        .as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap());
    [32].into_iter().chain(0..32).chain(blob).collect()
}

fuzz_target!(init: { seed("genuine", &genuine()); }, |data: &[u8]| {
    let Some((&len, rest)) = data.split_first() else { return };
    let (key, blob) = rest.split_at(usize::from(len).min(rest.len()));
    let opened = open_session(&SecretBytes::copy_of(key), &SecretBytes::copy_of(blob));
    // Whoever has the key may seal what it likes, so only this key's blob is known beforehand.
    if key == &genuine()[1..33] {
        assert_eq!(opened.is_ok(), data == genuine());
    } else {
        assert!(opened.is_err() || key.len() == 32);
    }
});
