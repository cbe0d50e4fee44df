use keyferry_core::{
    issuer::Jwks,
    port::store::{Store, StoreError},
};

use crate::sample::{draft, issuer, with_tenant};

pub(crate) async fn an_issuer_comes_and_goes(store: &dyn Store) {
    let tenant = with_tenant(store).await;
    assert!(!store.has_issuers().await.expect("read"));
    let mut issuer = issuer(&tenant);
    store.create_issuer(&issuer, draft("issuer.registered")).await.expect("registered");
    assert_eq!(store.issuers(&tenant).await.expect("read"), [issuer.clone()]);
    assert!(store.has_issuers().await.expect("read"));

    issuer.id = "iss_2".parse().expect("valid");
    let twin = store.create_issuer(&issuer, draft("issuer.registered")).await;
    assert!(matches!(twin, Err(StoreError::Conflict(_))));
    issuer.audience = "other".into();
    issuer.keys = Jwks::Url("https://app.example/jwks.json".into());
    store.create_issuer(&issuer, draft("issuer.registered")).await.expect("another audience");
    assert_eq!(store.issuers(&tenant).await.expect("read").len(), 2);

    store.delete_issuer(&tenant, &issuer.id, draft("issuer.removed")).await.expect("removed");
    let again = store.delete_issuer(&tenant, &issuer.id, draft("issuer.removed")).await;
    assert!(matches!(again, Err(StoreError::NotFound(_))));
}
