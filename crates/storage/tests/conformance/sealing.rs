use keyferry_core::{
    port::store::Store,
    sealing::{SealClaim, StoredSealingKey},
    time::Timestamp,
    wrapped::WrappedKey,
};
use keyferry_envelope::KeyPurpose;

use crate::sample::{draft, now};

fn key(kid: &str, kem: u16, not_before: Timestamp) -> StoredSealingKey {
    StoredSealingKey {
        kem,
        public_key: vec![kem as u8; 32],
        not_before,
        not_after: not_before.plus_secs(100),
        private: WrappedKey {
            purpose: KeyPurpose::Sealing,
            owner: String::new(),
            id: kid.to_owned(),
            root: "local:1".to_owned(),
            wrapped: kid.as_bytes().to_vec(),
            created_at: now(),
            retired_at: None,
        },
    }
}

pub(crate) async fn sealing_keys_follow_each_other(store: &dyn Store) {
    let made = || draft("sealing_key.made");
    let first = key("seal_1", 32, now());
    assert!(store.create_sealing_key(&first, Some(now().plus_secs(-50)), made()).await.expect("made"));
    let twin = key("seal_2", 32, now().plus_secs(1));
    let too_early = store.create_sealing_key(&twin, Some(now().plus_secs(-1)), made()).await;
    assert!(!too_early.expect("answers"), "another process made one meanwhile");
    let other_kem = key("seal_3", 16, now());
    assert!(store.create_sealing_key(&other_kem, Some(now().plus_secs(-50)), made()).await.expect("made"));
    let next = key("seal_4", 32, now().plus_secs(50));
    assert!(store.create_sealing_key(&next, None, made()).await.expect("made"));
    let listed = store.sealing_keys().await.expect("listed");
    assert_eq!(listed, [other_kem, first, next.clone()]);

    assert_eq!(store.destroy_sealing_keys(now().plus_secs(100), now()).await.expect("swept"), 0);
    assert_eq!(store.destroy_sealing_keys(now().plus_secs(101), now()).await.expect("swept"), 2);
    assert_eq!(store.sealing_keys().await.expect("listed"), [next]);
    assert_eq!(store.wrapped_keys_after(0, 10).await.expect("listed").len(), 1, "the private halves too");
}

pub(crate) async fn a_sealed_key_is_good_so_often_and_for_one_caller(store: &dyn Store) {
    let claim = |key: u8, owner: u8, max_uses| SealClaim {
        key: [key; 32],
        owner: [owner; 32],
        max_uses,
        until: now().plus_secs(120),
    };
    assert!(store.claim_seal(&claim(1, 1, 1)).await.expect("answers"));
    assert!(!store.claim_seal(&claim(1, 1, 1)).await.expect("answers"));
    for (owner, allowed) in [(1, true), (2, false), (1, true), (1, true), (1, false)] {
        assert_eq!(store.claim_seal(&claim(2, owner, 3)).await.expect("answers"), allowed);
    }
    store.forget_seals(now()).await.expect("swept");
    assert!(!store.claim_seal(&claim(1, 1, 1)).await.expect("answers"), "it is still remembered");
    store.forget_seals(now().plus_secs(121)).await.expect("swept");
    assert!(store.claim_seal(&claim(1, 1, 1)).await.expect("answers"));
}

pub(crate) async fn a_hundred_uses_at_once_of_one_are_one(store: &dyn Store) {
    let claim = SealClaim { key: [9; 32], owner: [1; 32], max_uses: 1, until: now().plus_secs(120) };
    let claims = futures_util::future::join_all((0..100).map(|_| store.claim_seal(&claim))).await;
    assert_eq!(claims.into_iter().filter(|claim| matches!(claim, Ok(true))).count(), 1);
}
