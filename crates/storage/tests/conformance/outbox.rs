use keyferry_core::{
    credential::MovedVersion,
    id::{CredentialId, TenantId},
    port::store::Store,
    tenant::TenantChange,
    wrapped::WrappedKey,
};
use keyferry_envelope::{KekId, Sealed};

use crate::sample::{credential, draft, issuer, kek, now, sealed, tenant, token, version, with_tenant};

/// Carries out what was ordered; answers for whom.
async fn relay(store: &dyn Store) -> Vec<String> {
    let rows = store.epochs_to_move(100).await.expect("listed");
    assert!(rows.is_sorted_by_key(|(n, _)| *n), "oldest first");
    let numbers: Vec<_> = rows.iter().map(|(n, _)| *n).collect();
    store.epochs_moved(&numbers).await.expect("struck out");
    store.epochs_moved(&numbers).await.expect("twice is harmless");
    rows.into_iter().map(|(_, tenant)| tenant.to_string()).collect()
}

pub(crate) async fn a_change_to_a_tenants_things_orders_its_epoch_to_move(store: &dyn Store) {
    let acme = with_tenant(store).await;
    assert_eq!(relay(store).await, ["acme"], "a tenant was made");
    store.create_tenant(&tenant("other"), draft("tenant.created")).await.expect("created");
    let change = TenantChange { byok_enabled: Some(false), ..TenantChange::default() };
    store.update_tenant(&acme, &change, draft("tenant.updated")).await.expect("updated");
    let first = store.epochs_to_move(1).await.expect("listed");
    assert_eq!(first.iter().map(|(_, tenant)| tenant.as_str()).collect::<Vec<_>>(), ["other"]);
    assert_eq!(relay(store).await, ["other", "acme"]);
    assert!(store.create_tenant(&tenant("other"), draft("tenant.created")).await.is_err());
    assert!(relay(store).await.is_empty(), "a refused change orders nothing");

    tokens_and_issuers(store, &acme).await;
    credentials(store, &acme).await;
    store.append_audit(draft("key.tested")).await.expect("appended");
    assert!(relay(store).await.is_empty(), "nothing of a tenant's was changed");
    store.delete_tenant(&acme, draft("tenant.deleted")).await.expect("deleted");
    assert_eq!(relay(store).await, ["acme"], "a tenant was removed");
}

async fn tokens_and_issuers(store: &dyn Store, acme: &TenantId) {
    let stored = token("tok1", acme);
    store.create_token(&stored, draft("token.issued")).await.expect("issued");
    assert_eq!(relay(store).await, ["acme"], "a token was issued");
    store.revoke_token(acme, &stored.token.id, draft("token.revoked")).await.expect("revoked");
    assert_eq!(relay(store).await, ["acme"], "a token was revoked");

    let issuer = issuer(acme);
    store.create_issuer(&issuer, draft("issuer.registered")).await.expect("registered");
    assert_eq!(relay(store).await, ["acme"], "an issuer was registered");
    store.delete_issuer(acme, &issuer.id, draft("issuer.removed")).await.expect("removed");
    assert_eq!(relay(store).await, ["acme"], "an issuer was removed");
}

async fn credentials(store: &dyn Store, acme: &TenantId) {
    let id: CredentialId = "cred_1".parse().expect("valid");
    let one = credential("cred_1", acme, "openai", "default");
    store.create_credential(&one, draft("credential.stored")).await.expect("stored");
    assert_eq!(relay(store).await, ["acme"], "a credential was stored");
    let (new, until) = (sealed(2), now().plus_secs(60));
    let rotated =
        store.rotate_credential(acme, &id, version(2, &new, Some(until)), draft("credential.rotated"));
    rotated.await.expect("rotated");
    assert_eq!(relay(store).await, ["acme"], "a credential was rotated");
    assert_eq!(store.destroy_overlapped(until).await.expect("swept"), 1);
    assert_eq!(relay(store).await, ["acme"], "an overlap ended");

    let rewrapped = WrappedKey { root: "vault:x".to_owned(), wrapped: b"new".to_vec(), ..kek(acme, "kek_1") };
    assert!(store.rewrap_key(&rewrapped, b"kek_1").await.expect("answers"));
    assert_eq!(relay(store).await, ["acme"], "another root opens its KEK");
    store.replace_wrapped_key(&kek(acme, "kek_2"), draft("kek.rotated")).await.expect("replaced");
    relay(store).await;
    let moved = MovedVersion {
        credential: id.clone(),
        version: 2,
        old_wrapped_dek: new.wrapped_dek.clone(),
        sealed: Sealed { wrapped_dek: vec![9; 90], kek_id: KekId::new("kek_2"), ..new.clone() },
    };
    assert_eq!(store.move_versions(std::slice::from_ref(&moved)).await.expect("moved"), 1);
    assert_eq!(relay(store).await, ["acme"], "a version went to another KEK");
    assert_eq!(store.move_versions(&[moved]).await.expect("moved"), 0);
    assert!(relay(store).await.is_empty(), "none went");

    store.revoke_credential(acme, &id, draft("credential.revoked")).await.expect("revoked");
    assert_eq!(relay(store).await, ["acme"], "a credential was revoked");
}
