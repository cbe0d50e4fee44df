//! A store that moves from SQLite to PostgreSQL.

use std::collections::BTreeMap;

use keyferry_core::{
    port::store::{AuditFilter, GroupBy, PageRequest, Store},
    record::Outcome,
    sealing::{SealClaim, SealUse},
};
use keyferry_envelope::KeyPurpose;
use keyferry_storage::{CopyError, copy, postgres::PostgresStore};
use keyferry_storage_testing::Postgres;
use serde_json::json;

use crate::{
    sample::{
        self, chain, credential, draft, issuer, kek, now, page, sealed, tenant, token, version, whole_chain,
        with_tenant,
    },
    sealing::key,
    usage::record,
};

fn claim(byte: u8) -> SealClaim {
    SealClaim {
        kid: "seal_1".to_owned(),
        key: [byte; 32],
        owner: [1; 32],
        max_uses: 1,
        until: now().plus_secs(i64::from(byte)),
    }
}

/// Something in every table.
async fn fill(store: &dyn Store) {
    let acme = with_tenant(store).await;
    store.create_tenant(&tenant("other"), draft("tenant.created")).await.expect("created");
    store.put_setting("operator", Some(&[0, 1, 255]), draft("operator.set")).await.expect("set");
    for (id, label) in [("cred_1", "a"), ("cred_2", "b"), ("cred_3", "c")] {
        let one = credential(id, &acme, "openai", label);
        store.create_credential(&one, draft("credential.stored")).await.expect("stored");
    }
    let (first, last) = ("cred_1".parse().expect("valid"), "cred_3".parse().expect("valid"));
    store.revoke_credential(&acme, &last, draft("credential.revoked")).await.expect("revoked");
    let new = sealed(2);
    let version = version(2, &new, Some(now().plus_secs(60)));
    store.rotate_credential(&acme, &first, version, draft("credential.rotated")).await.expect("rotated");
    store.replace_wrapped_key(&kek(&acme, "kek_2"), draft("kek.rotated")).await.expect("replaced");
    for id in ["tok1", "tok2"] {
        store.create_token(&token(id, &acme), draft("token.issued")).await.expect("issued");
    }
    store.create_issuer(&issuer(&acme), draft("issuer.registered")).await.expect("registered");
    let made = store.create_sealing_key(&key("seal_1", 32, now()), None, draft("sealing_key.made")).await;
    assert!(made.expect("made"));
    for byte in [1, 2] {
        assert_eq!(store.claim_seal(&claim(byte)).await.expect("claimed"), SealUse::Allowed);
    }
    store.forget_seals(now().plus_secs(2)).await.expect("forgotten");
    // More than go at once.
    let mut usage: Vec<_> =
        (0..1234).map(|n| record(&format!("req_{n}"), "openai", n, Outcome::Ok)).collect();
    usage[0].cost_micro_usd = 30;
    store.record_usage(&usage).await.expect("recorded");
    let orders = store.epochs_to_move(1).await.expect("listed");
    store.epochs_moved(&[orders[0].0]).await.expect("moved");
}

/// All that the port tells of it.
async fn everything(store: &dyn Store) -> serde_json::Value {
    let acme = "acme".parse().expect("valid");
    let token = store.token(&"tok1".parse().expect("valid")).await.expect("read").expect("there");
    let mut seals = Vec::new();
    for byte in 1..4 {
        seals.push(format!("{:?}", store.look_at_seal(&claim(byte)).await.expect("read")));
    }
    let debug = |text: &dyn std::fmt::Debug| format!("{text:?}");
    let sealed = store.sealed_credentials(&acme).await.expect("read");
    let bytes: Vec<_> = sealed.iter().map(|one| (&one.sealed.envelope, &one.sealed.wrapped_dek)).collect();
    let keys = store.wrapped_keys_after(0, 100).await.expect("read");
    let keys: Vec<_> =
        keys.iter().map(|(n, key)| (n, &key.id, &key.wrapped, debug(&key.retired_at))).collect();
    let sealing = store.sealing_keys().await.expect("read");
    let usage = PageRequest { cursor: Some("1000".to_owned()), limit: 2000 };
    let by = [GroupBy::Provider, GroupBy::Day];
    let sums = store.usage(&acme, None, None, &by).await.expect("read");
    let uses = store.kek_uses().await.expect("read");
    let uses: Vec<_> = uses.iter().map(|one| (&one.kek, one.retired, one.versions)).collect();
    json!({
        "tenants": store.tenants(&page(10)).await.expect("read"),
        "setting": store.setting("operator").await.expect("read"),
        "service": store.wrapped_key(KeyPurpose::Service, "").await.expect("read").is_some(),
        "credentials": store.credentials(&acme, &page(10)).await.expect("read"),
        "sealed": bytes,
        "tokens": store.tokens(&acme, &page(10)).await.expect("read"),
        "hash": token.hash.as_bytes(),
        "issuers": store.issuers(&acme).await.expect("read"),
        "keys": keys,
        "uses": uses,
        "sealing": sealing.iter().map(|key| (key.kem, &key.public_key)).collect::<Vec<_>>(),
        "seals": seals,
        "usage": store.usage_rows(&acme, None, None, &usage).await.expect("read"),
        "sums": debug(&sums),
        "audit": store.audit(&AuditFilter::default(), &page(100)).await.expect("read"),
        "head": store.audit_head().await.expect("read"),
        "outbox": store.epochs_to_move(100).await.expect("read"),
    })
}

#[tokio::test]
async fn a_copy_is_the_same_and_goes_on_as_the_old_store_would() {
    let test = "a_copy_is_the_same_and_goes_on_as_the_old_store_would";
    let Some(server) = Postgres::shared(test).await else { return };
    let (old, _folder) = sample::sqlite(test).await.expect("a store");
    fill(&old).await;
    let address = keyferry_storage::postgres::Address::parse(&server.new_database().await).expect("a URL");
    let new = PostgresStore::open(&address).await.expect("opens");
    let mut told = BTreeMap::new();
    copy(&old, &new, |table, rows| {
        told.insert(table.to_owned(), rows);
    })
    .await
    .expect("copied");
    assert_eq!((told.len(), told["usage"], told["audit_head"]), (15, 1234, 1), "{told:?}");
    assert!(told.values().all(|rows| *rows > 0), "{told:?}");
    assert_eq!(everything(&new).await, everything(&old).await);

    let again = copy(&old, &new, |_, _| {}).await;
    assert!(matches!(again, Err(CopyError::NotEmpty("settings"))), "{again:?}");

    new.open_audit(chain()).await.expect("opens");
    let acme = "acme".parse().expect("valid");
    new.create_token(&token("tok3", &acme), draft("token.issued")).await.expect("issued");
    let tokens = new.tokens(&acme, &page(1)).await.expect("listed");
    assert_eq!(tokens.data[0].id.as_str(), "tok3", "its number is the next");
    assert!(whole_chain(&new).await > 10);
}
