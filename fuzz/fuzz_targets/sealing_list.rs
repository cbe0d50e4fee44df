//! Lists of sealing keys: nothing verifies but the genuine signature, and what is read can be written and read again.
#![no_main]

use std::sync::LazyLock;

use keyferry_core::sealing::{PublishedKey, SealingKeyList};
use keyferry_core::time::Timestamp;
use keyferry_envelope::{Kem, Kid, SealingKey, SigningKey, VerifyingKey};
use keyferry_fuzz::{Counting, seed};
use libfuzzer_sys::fuzz_target;

static GENUINE: LazyLock<(VerifyingKey, String)> = LazyLock::new(|| {
    let keys = Kem::ALL.map(|kem| {
        let key = SealingKey::generate(kem, &Counting::from(0x30));
        let kid = Kid::parse(&format!("kid_{}", kem.id())).unwrap();
        PublishedKey::new(&kid, key.public(), Timestamp::from_secs(0), Timestamp::from_secs(86_400))
    });
    let list = SealingKeyList { keys: keys.to_vec() };
    let signing = SigningKey::generate(&Counting::from(0x50));
    let jws = list.sign(&signing);
    seed("list.json", list.to_json().as_bytes());
    seed("list.jws", jws.as_bytes());
    (signing.verifying_key(), jws)
});

fuzz_target!(init: { LazyLock::force(&GENUINE); }, |data: &[u8]| {
    let (key, jws) = &*GENUINE;
    if let Ok(text) = std::str::from_utf8(data) {
        let verified = SealingKeyList::verify(text, key).ok();
        assert_eq!(verified.is_some(), text == jws);
        let said = SealingKeyList::payload_of(text);
        assert!(verified.is_none() || verified == said);
    }
    if let Ok(list) = SealingKeyList::parse(data) {
        let again = SealingKeyList::parse(list.to_json().as_bytes());
        assert_eq!(again.as_ref(), Ok(&list));
        for now in list.keys.iter().flat_map(|key| [key.not_before, key.not_after]) {
            if let Some((kid, _)) = list.choose(now) {
                assert!(list.keys.iter().any(|key| key.kid == kid.as_str() && key.is_live(now)));
            }
        }
    }
});
