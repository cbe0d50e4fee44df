//! Answers of roots: a key has 32 bytes and stands in the answer, and nothing else of an answer is told on.
//!
//! The first byte of the input says which status the rest came with.
#![no_main]

use base64::{Engine, engine::general_purpose::STANDARD};
use keyferry_fuzz::find;
use keyferry_kms::fuzzing::{Read, aws, pkcs11, vault};
use libfuzzer_sys::fuzz_target;

const STATUSES: [u16; 16] = [200, 400, 401, 403, 404, 405, 412, 429, 472, 473, 500, 503, 301, 204, 999, 100];

fuzz_target!(|data: &[u8]| {
    let Some((&first, body)) = data.split_first() else { return };
    let status = STATUSES[usize::from(first & 15)];
    let Some(keys) = vault::key(status, body).zip(aws::key(status, body)) else { return };
    for key in [keys.0, keys.1] {
        if let Some(key) = judged(status, body, key) {
            assert_eq!(key.len(), 32);
            assert!(find(body, STANDARD.encode(&key).as_bytes()).is_some());
        }
    }
    if let Some(wrapped) = vault::wrapped(status, body).and_then(|read| judged(status, body, read)) {
        assert!(find(body, &wrapped).is_some() && wrapped.len() <= 4096);
        let version = vault::version(&wrapped).expect("what is stored is read again");
        assert!(wrapped.starts_with(format!("vault:v{version}:").as_bytes()));
    }
    if let Some(wrapped) = aws::wrapped(status, body).and_then(|read| judged(status, body, read)) {
        assert!((1..=4096).contains(&wrapped.len()));
        assert!(find(body, STANDARD.encode(&wrapped).as_bytes()).is_some());
    }
    for lease in vault::lease(status, body).into_iter().flatten() {
        judged(status, body, lease);
    }
    credentials(status, body);
    if let Some((iv, sealed)) = pkcs11::read(body) {
        assert_eq!(pkcs11::write(&iv, &sealed).as_deref(), Some(body));
    }
    let _ = vault::version(body);
});

fn judged<T>(status: u16, body: &[u8], read: Read<T>) -> Option<T> {
    match read {
        Ok(read) => {
            assert_eq!(status, 200);
            Some(read)
        }
        Err(told) => {
            for word in body.split(|byte| !byte.is_ascii_graphic()).filter(|word| word.len() > 24) {
                assert!(find(told.as_bytes(), word).is_none(), "an error quotes the answer");
            }
            None
        }
    }
}

fn credentials(status: u16, body: &[u8]) {
    let found = [
        Some(aws::credentials::document(body)),
        aws::credentials::token_service(status, body),
        aws::credentials::profile(body, "default"),
    ];
    for (id, secret, token, _) in found.into_iter().flatten().flatten() {
        for part in [Some(id.into_bytes()), Some(secret), token].into_iter().flatten() {
            assert!(!part.is_empty() && part.iter().all(u8::is_ascii_graphic));
            assert!(find(body, &part).is_some());
        }
    }
}
