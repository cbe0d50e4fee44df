//! Files that hold keys: what is read is written as it was, up to the ends of lines and the case of digits.
#![no_main]

use keyferry_envelope::{LocalRoot, SigningKey, VerifyingKey};
use keyferry_fuzz::{Counting, seed};
use libfuzzer_sys::fuzz_target;

fn lines(data: &[u8]) -> Vec<&[u8]> {
    let text = data.strip_suffix(b"\n").unwrap_or(data);
    text.split(|&byte| byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line)).collect()
}

fuzz_target!(init: {
    let signing = SigningKey::generate(&Counting::from(0x50));
    seed("private.pem", signing.to_pem().expose());
    seed("public.pem", signing.verifying_key().to_pem().as_bytes());
    seed("master.key", LocalRoot::generate(&Counting::from(0)).to_hex_line().expose());
}, |data: &[u8]| {
    if let Ok(key) = SigningKey::from_pem(data) {
        assert_eq!(lines(key.to_pem().expose()), lines(data));
    }
    if let Ok(key) = VerifyingKey::from_pem(data) {
        assert_eq!(lines(key.to_pem().as_bytes()), lines(data));
    }
    if let Ok(root) = LocalRoot::from_hex(data) {
        let line = data.to_ascii_lowercase();
        assert_eq!(root.to_hex_line().expose().strip_suffix(b"\n"), Some(line.strip_suffix(b"\n").unwrap_or(&line)));
    }
});
