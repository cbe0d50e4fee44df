//! The shapes in which a secret may lie in memory.

use base64::{
    Engine,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};

use crate::huffman;

/// A shape, and the bytes it has.
pub struct Form {
    pub name: &'static str,
    pub bytes: Vec<u8>,
}

/// Every shape of a text, such as a provider's key.
pub fn of_text(text: &[u8]) -> Vec<Form> {
    let mut forms = of_any(text);
    forms.push(form("percent", text.iter().flat_map(|byte| format!("%{byte:02X}").into_bytes()).collect()));
    forms.push(form("percent", text.iter().flat_map(|byte| format!("%{byte:02x}").into_bytes()).collect()));
    forms.push(form("json", text.iter().flat_map(|byte| format!("\\u{byte:04x}").into_bytes()).collect()));
    forms.push(form("utf-16", text.iter().flat_map(|&byte| [byte, 0]).collect()));
    forms.push(form("utf-16", text.iter().flat_map(|&byte| [0, byte]).collect()));
    forms.extend((0..8).map(|skip| form("huffman", huffman::encoded(text, skip))));
    forms
}

/// Every shape of a binary key. Beside the encodings: what HMAC makes of its key.
pub fn of_key(key: &[u8]) -> Vec<Form> {
    let mut forms = of_any(key);
    for pad in [0x36, 0x5c] {
        let padded: Vec<u8> = key.iter().map(|byte| byte ^ pad).collect();
        forms.push(form("hmac", swapped(&padded, 0)));
        forms.push(form("hmac", padded));
    }
    forms
}

fn of_any(bytes: &[u8]) -> Vec<Form> {
    let mut forms = vec![form("raw", bytes.to_vec())];
    for skip in 0..3 {
        // What stands before and behind is not known, so the characters that it has a share in are left out.
        let padded = [&vec![0; skip][..], bytes].concat();
        let own = (skip * 8).div_ceil(6)..padded.len() * 8 / 6;
        forms.push(form("base64", STANDARD_NO_PAD.encode(&padded).as_bytes()[own.clone()].to_vec()));
        forms.push(form("base64", URL_SAFE_NO_PAD.encode(&padded).as_bytes()[own].to_vec()));
    }
    forms.push(form("hex", bytes.iter().flat_map(|byte| format!("{byte:02x}").into_bytes()).collect()));
    forms.push(form("hex", bytes.iter().flat_map(|byte| format!("{byte:02X}").into_bytes()).collect()));
    // SHA-256 reads its input as big-endian words: so it lies in the message schedule.
    forms.extend((0..4).map(|skip| form("sha-256", swapped(bytes, skip))));
    forms
}

fn form(name: &'static str, bytes: Vec<u8>) -> Form {
    Form { name, bytes }
}

/// The whole words of `bytes` from `skip` on, each turned round.
fn swapped(bytes: &[u8], skip: usize) -> Vec<u8> {
    bytes[skip..].chunks_exact(4).flat_map(|word| word.iter().rev().copied()).collect()
}

#[test]
fn base64_is_found_wherever_it_begins() {
    let secret = b"sk-proj-0123456789abcdefghij";
    for skip in 0..3 {
        let message = [&b"xyz"[..skip], secret, b"!!!"].concat();
        let encoded = STANDARD_NO_PAD.encode(message);
        let found = of_any(secret).iter().any(|form| {
            form.name == "base64" && encoded.contains(std::str::from_utf8(&form.bytes).expect("text"))
        });
        assert!(found, "{skip}");
    }
}
