//! Texts of sealed keys: what is taken apart has one spelling, and nothing opens but the genuine text.
#![no_main]

use std::sync::LazyLock;

use keyferry_envelope::{
    ApiKey, Kem, Kid, SealFor, SealPurpose, SealedKey, SealingKey, SecretBytes, seal_key,
};
use keyferry_fuzz::{Counting, seed};
use libfuzzer_sys::fuzz_target;

const FOR: SealFor<'static> =
    SealFor { purpose: SealPurpose::Request, tenant: "acme", provider: "openai", ts: 1_800_000_000 };

static GENUINE: LazyLock<[(SealingKey, String); 2]> = LazyLock::new(|| {
    Kem::ALL.map(|kem| {
        let key = SealingKey::generate(kem, &Counting::from(0x30));
        let kid = Kid::parse("kid_1").unwrap();
        let secret = ApiKey::parse(SecretBytes::new(b"sk-test-not-a-real-key".to_vec())).unwrap();
        let text = seal_key(key.public(), &kid, &FOR, &secret, &Counting::from(0x70)).unwrap();
        seed(&format!("{kem:?}"), text.as_bytes());
        (key, text)
    })
});

fuzz_target!(init: { LazyLock::force(&GENUINE); }, |data: &[u8]| {
    let Ok(sealed) = SealedKey::parse(data) else { return };
    let head = format!("v=1;kid={};provider={};ts={};n=", sealed.kid(), sealed.provider(), sealed.ts());
    assert!(data.starts_with(head.as_bytes()));
    assert!(data.len() <= 4096 && data.iter().filter(|&&byte| byte == b';').count() == 6);
    for (key, text) in &*GENUINE {
        let opens = sealed.open(key, FOR.purpose, FOR.tenant).is_ok();
        assert_eq!(opens, data == text.as_bytes());
        assert!(sealed.open(key, SealPurpose::Store, FOR.tenant).is_err());
    }
});
