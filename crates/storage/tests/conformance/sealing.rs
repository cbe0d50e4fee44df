use keyferry_core::{
    port::store::Store,
    sealing::{SealClaim, SealUse, StoredSealingKey},
    time::Timestamp,
    wrapped::WrappedKey,
};
use keyferry_envelope::KeyPurpose;

use crate::sample::{draft, now};

pub(crate) fn key(kid: &str, kem: u16, not_before: Timestamp) -> StoredSealingKey {
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
    let lately = Some((now().plus_secs(-50), now().plus_secs(1)));
    let first = key("seal_1", 32, now());
    assert!(store.create_sealing_key(&first, lately, made()).await.expect("made"));
    let twin = key("seal_2", 32, now().plus_secs(1));
    let too_early = store.create_sealing_key(&twin, lately, made()).await;
    assert!(!too_early.expect("answers"), "another process made one meanwhile");
    let other_kem = key("seal_3", 16, now());
    assert!(store.create_sealing_key(&other_kem, lately, made()).await.expect("made"));
    let next = key("seal_4", 32, now().plus_secs(50));
    assert!(store.create_sealing_key(&next, None, made()).await.expect("made"));
    let between = Some((now(), now().plus_secs(49)));
    let meanwhile = key("seal_5", 32, now().plus_secs(10));
    let made_meanwhile = store.create_sealing_key(&meanwhile, between, made()).await;
    assert!(made_meanwhile.expect("made"), "a key whose time is to come is none for now");
    let listed = store.sealing_keys().await.expect("listed");
    assert_eq!(listed, [other_kem, first, meanwhile.clone(), next.clone()]);

    assert_eq!(store.destroy_sealing_keys(now().plus_secs(100), now()).await.expect("swept"), 0);
    assert_eq!(store.destroy_sealing_keys(now().plus_secs(101), now()).await.expect("swept"), 2);
    assert_eq!(store.sealing_keys().await.expect("listed"), [meanwhile, next]);
    assert_eq!(store.wrapped_keys_after(0, 10).await.expect("listed").len(), 2, "the private halves too");
}

async fn store_with_a_key(store: &dyn Store) {
    let made = store.create_sealing_key(&key("seal_1", 32, now()), None, draft("sealing_key.made")).await;
    assert!(made.expect("made"));
}

fn claim(key: u8, owner: u8, max_uses: u32) -> SealClaim {
    SealClaim {
        kid: "seal_1".to_owned(),
        key: [key; 32],
        owner: [owner; 32],
        max_uses,
        until: now().plus_secs(120),
    }
}

pub(crate) async fn a_sealed_key_is_good_so_often_and_for_one_caller(store: &dyn Store) {
    store_with_a_key(store).await;
    let once = claim(1, 1, 1);
    for _ in 0..2 {
        assert_eq!(store.look_at_seal(&once).await.expect("answers"), SealUse::Allowed, "a look is no use");
    }
    assert_eq!(store.claim_seal(&once).await.expect("answers"), SealUse::Allowed);
    assert_eq!(store.look_at_seal(&once).await.expect("answers"), SealUse::UsedUp);
    assert_eq!(store.claim_seal(&once).await.expect("answers"), SealUse::UsedUp);
    for (owner, allowed) in [(1, true), (2, false), (1, true), (1, true), (1, false)] {
        let used = store.claim_seal(&claim(2, owner, 3)).await.expect("answers");
        assert_eq!(used == SealUse::Allowed, allowed);
    }
    store.forget_seals(now()).await.expect("swept");
    assert_eq!(store.claim_seal(&once).await.expect("answers"), SealUse::UsedUp, "it is still remembered");
}

pub(crate) async fn what_was_forgotten_is_not_allowed_again_when_the_clock_goes_back(store: &dyn Store) {
    store_with_a_key(store).await;
    assert_eq!(store.claim_seal(&claim(1, 1, 1)).await.expect("answers"), SealUse::Allowed);
    store.forget_seals(now().plus_secs(121)).await.expect("swept");
    assert_eq!(store.claim_seal(&claim(1, 1, 1)).await.expect("answers"), SealUse::UsedUp);
    let later = SealClaim { until: now().plus_secs(121), ..claim(3, 1, 1) };
    assert_eq!(store.claim_seal(&later).await.expect("answers"), SealUse::Allowed);
}

pub(crate) async fn nothing_is_good_that_was_sealed_to_a_destroyed_key(store: &dyn Store) {
    assert_eq!(store.claim_seal(&claim(1, 1, 1)).await.expect("answers"), SealUse::KeyGone);
    store_with_a_key(store).await;
    assert_eq!(store.claim_seal(&claim(1, 1, 2)).await.expect("answers"), SealUse::Allowed);
    store.destroy_sealing_keys(now().plus_secs(101), now()).await.expect("destroyed");
    assert_eq!(store.claim_seal(&claim(1, 1, 2)).await.expect("answers"), SealUse::KeyGone);
    assert_eq!(store.look_at_seal(&claim(1, 1, 2)).await.expect("answers"), SealUse::KeyGone);
}

pub(crate) async fn of_a_hundred_uses_at_once_as_many_are_allowed_as_may_be(store: &dyn Store) {
    store_with_a_key(store).await;
    // Keys that may be used once, twice and three times, and one of them by somebody else as well.
    let kinds = [claim(1, 1, 1), claim(2, 1, 2), claim(3, 1, 3), claim(3, 2, 3)];
    let asked = kinds.iter().cycle().take(400);
    let answers = futures_util::future::join_all(asked.map(|claim| store.claim_seal(claim))).await;
    let allowed: Vec<usize> = (0..kinds.len())
        .map(|kind| {
            let of_kind = answers.iter().skip(kind).step_by(kinds.len());
            of_kind.filter(|answer| matches!(answer, Ok(SealUse::Allowed))).count()
        })
        .collect();
    assert_eq!(allowed[..2], [1, 2]);
    assert!(allowed[2..] == [3, 0] || allowed[2..] == [0, 3], "{allowed:?}");
}
