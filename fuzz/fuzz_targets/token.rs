//! Gateway tokens: what is taken apart has one spelling, and its secret is the one in it.
//!
//! A random text never has the right checksum, so a second reading is made of the same text with the right one.
#![no_main]

use std::sync::LazyLock;

use aws_lc_rs::digest;
use keyferry_core::token::{self, MintedToken, PREFIX, TokenHash};
use keyferry_fuzz::{Counting, seed};
use libfuzzer_sys::fuzz_target;

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

static GENUINE: LazyLock<MintedToken> = LazyLock::new(|| {
    let minted = token::mint(&Counting::from(0));
    seed("minted", minted.text.expose());
    minted
});

/// The checksum as the documentation has it: of the first 12 characters and the 43 behind the hyphen.
fn checked(text: &[u8]) -> Option<Vec<u8>> {
    let rest = text.strip_prefix(PREFIX.as_bytes())?;
    let (id, secret) = (rest.get(..12)?, rest.get(13..56)?);
    let sum = digest::digest(&digest::SHA256, &[b"keyferry token checksum", id, secret].concat());
    let check = sum.as_ref().iter().take(6).map(|byte| ALPHABET[usize::from(byte % 62)]);
    Some(text[..PREFIX.len() + 56].iter().copied().chain(check).collect())
}

fn judge(text: &[u8]) -> bool {
    let Some(read) = token::read(text) else { return false };
    assert!(token::looks_like_token(text));
    assert_eq!(text.len(), 68);
    assert_eq!(read.id.as_str().as_bytes(), &text[6..18]);
    assert_eq!(text[18], b'-');
    assert!(read.hash.matches(&TokenHash::of(&text[19..62])));
    assert_eq!(read.hash.matches(&GENUINE.hash), text[19..62] == GENUINE.text.expose()[19..62]);
    assert_eq!(checked(text).as_deref(), Some(text));
    true
}

fuzz_target!(init: { LazyLock::force(&GENUINE); }, |data: &[u8]| {
    judge(data);
    if let Some(text) = checked(data) {
        let is_form = text[6..18].iter().all(u8::is_ascii_alphanumeric) && text[18] == b'-';
        assert_eq!(judge(&text), is_form);
    }
});
