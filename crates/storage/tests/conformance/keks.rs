use keyferry_core::{
    credential::{MovedVersion, VersionToMove},
    id::CredentialId,
    port::store::{Store, StoreError},
    wrapped::WrappedKey,
};
use keyferry_envelope::{KekId, KeyPurpose, Sealed};

use crate::sample::{credential, draft, kek, now, sealed, version, with_tenant};

fn moved(one: &VersionToMove, kek: &str) -> MovedVersion {
    MovedVersion {
        credential: one.credential.clone(),
        version: one.version,
        old_wrapped_dek: one.sealed.wrapped_dek.clone(),
        sealed: Sealed { wrapped_dek: vec![9; 90], kek_id: KekId::new(kek), ..one.sealed.clone() },
    }
}

pub(crate) async fn a_tenant_has_one_kek_in_use(store: &dyn Store) {
    let tenant = with_tenant(store).await;
    let in_use = store.init_wrapped_key(&kek(&tenant, "kek_2")).await.expect("answers");
    assert_eq!(in_use.id, "kek_1", "whoever comes second is told the first");
    store.replace_wrapped_key(&kek(&tenant, "kek_2"), draft("kek.rotated")).await.expect("replaced");
    let in_use = store.wrapped_key(KeyPurpose::TenantKek, "acme").await.expect("read").expect("there");
    assert_eq!(in_use, kek(&tenant, "kek_2"));
    let all = store.wrapped_keys_after(0, 10).await.expect("listed");
    assert_eq!(all.iter().map(|(_, key)| key.retired_at.is_some()).collect::<Vec<_>>(), [true, false]);
    assert!(store.wrapped_keys_after(all[1].0, 10).await.expect("listed").is_empty());

    let nobody = WrappedKey { owner: "nobody".to_owned(), ..kek(&tenant, "kek_3") };
    assert!(matches!(store.init_wrapped_key(&nobody).await, Err(StoreError::NotFound(_))));
    store.delete_tenant(&tenant, draft("tenant.deleted")).await.expect("deleted");
    assert!(store.wrapped_keys_after(0, 10).await.expect("listed").is_empty(), "its KEKs went with it");
}

pub(crate) async fn versions_move_to_a_new_kek_once(store: &dyn Store) {
    let tenant = with_tenant(store).await;
    for (id, label) in [("cred_1", "a"), ("cred_2", "b"), ("cred_3", "c")] {
        let one = credential(id, &tenant, "openai", label);
        store.create_credential(&one, draft("credential.stored")).await.expect("stored");
    }
    assert!(store.versions_to_move(None, 10).await.expect("read").is_empty());
    store.replace_wrapped_key(&kek(&tenant, "kek_2"), draft("kek.rotated")).await.expect("replaced");

    let first = store.versions_to_move(None, 2).await.expect("read");
    assert_eq!(first.iter().map(|one| one.credential.as_str()).collect::<Vec<_>>(), ["cred_1", "cred_2"]);
    assert_eq!((&first[0].sealed, first[0].kek.id.as_str()), (&sealed(1), "kek_1"));
    let moves: Vec<_> = first.iter().map(|one| moved(one, "kek_2")).collect();
    assert_eq!(store.move_versions(&moves).await.expect("moved"), 2);
    assert_eq!(store.move_versions(&moves).await.expect("moved"), 0, "the old bytes are gone");
    let after = Some((&first[1].credential, first[1].version));
    let rest = store.versions_to_move(after, 10).await.expect("read");
    assert_eq!(rest.iter().map(|one| one.credential.as_str()).collect::<Vec<_>>(), ["cred_3"]);

    let read = store.sealed_credentials(&tenant).await.expect("read");
    let (under, kek_of) = (&read[0].sealed.kek_id, read[0].kek.as_ref().map(|kek| kek.id.as_str()));
    assert_eq!((under.as_str(), kek_of, read[0].summary.kek_id.as_str()), ("kek_2", Some("kek_2"), "kek_2"));
    let uses = store.kek_uses().await.expect("counted");
    let uses: Vec<_> = uses.iter().map(|kek| (kek.kek.as_str(), kek.retired, kek.versions)).collect();
    assert_eq!(uses, [("kek_1", true, 1), ("kek_2", false, 2)]);

    let later = now().plus_secs(1);
    assert_eq!(store.destroy_unused_keks(later, now()).await.expect("swept"), 0, "it still wraps one");
    assert_eq!(store.move_versions(&[moved(&rest[0], "kek_2")]).await.expect("moved"), 1);
    assert_eq!(store.destroy_unused_keks(now(), now()).await.expect("swept"), 0, "retired just now");
    assert_eq!(store.destroy_unused_keks(later, now()).await.expect("swept"), 1);
    let late = credential("cred_4", &tenant, "openai", "d");
    let refused = store.create_credential(&late, draft("credential.stored")).await;
    assert!(matches!(refused, Err(StoreError::Conflict(_))), "its KEK was destroyed meanwhile");
}

pub(crate) async fn a_rotation_wins_over_a_move(store: &dyn Store) {
    let tenant = with_tenant(store).await;
    let one = credential("cred_1", &tenant, "openai", "default");
    store.create_credential(&one, draft("credential.stored")).await.expect("stored");
    store.replace_wrapped_key(&kek(&tenant, "kek_2"), draft("kek.rotated")).await.expect("replaced");
    let found = store.versions_to_move(None, 10).await.expect("read");
    let id: CredentialId = "cred_1".parse().expect("valid");
    let new = Sealed { kek_id: KekId::new("kek_2"), ..sealed(2) };
    store
        .rotate_credential(&tenant, &id, version(2, &new, None), draft("credential.rotated"))
        .await
        .expect("rotated");
    assert_eq!(store.move_versions(&[moved(&found[0], "kek_2")]).await.expect("moved"), 0);
    assert_eq!(store.sealed_credentials(&tenant).await.expect("read")[0].sealed, new);
}

pub(crate) async fn a_key_is_rewrapped_if_it_is_still_the_one(store: &dyn Store) {
    let tenant = with_tenant(store).await;
    let new = WrappedKey { root: "vault:x".to_owned(), wrapped: b"new".to_vec(), ..kek(&tenant, "kek_1") };
    assert!(!store.rewrap_key(&new, b"other").await.expect("answers"));
    assert!(store.rewrap_key(&new, b"kek_1").await.expect("answers"));
    assert!(!store.rewrap_key(&new, b"kek_1").await.expect("answers"));
    let read = store.wrapped_key(KeyPurpose::TenantKek, "acme").await.expect("read");
    assert_eq!(read, Some(new));
}
