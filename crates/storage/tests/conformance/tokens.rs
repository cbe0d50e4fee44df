use keyferry_core::port::store::{Store, StoreError};

use crate::sample::{draft, now, page, token, with_tenant};

pub(crate) async fn a_token_lives_from_issue_to_revocation(store: &dyn Store) {
    let tenant = with_tenant(store).await;
    let stored = token("tok1", &tenant);
    store.create_token(&stored, draft("token.issued")).await.expect("issued");
    let read = store.token(&stored.token.id).await.expect("read").expect("there");
    assert!(read.hash.matches(&stored.hash));
    assert_eq!(serde_json::json!(read.token), serde_json::json!(stored.token));
    assert!(read.token.is_live(now()) && !read.token.is_live(now().plus_secs(60)));

    let id = &stored.token.id;
    let stranger = "stranger".parse().expect("valid");
    assert!(matches!(
        store.revoke_token(&stranger, id, draft("token.revoked")).await,
        Err(StoreError::NotFound(_))
    ));
    store.revoke_token(&tenant, id, draft("token.revoked")).await.expect("revoked");
    assert!(matches!(
        store.revoke_token(&tenant, id, draft("token.revoked")).await,
        Err(StoreError::NotFound(_))
    ));
    assert!(!store.token(id).await.expect("read").expect("there").token.is_live(now()));
    assert_eq!(store.tokens(&tenant, &page(10)).await.expect("listed").data.len(), 1);
}
