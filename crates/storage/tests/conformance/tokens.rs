use keyferry_core::{
    port::store::{Store, StoreError, StoredToken},
    token::{Role, Token, TokenHash},
};

use crate::sample::{draft, now, page, with_tenant};

pub(crate) async fn a_token_lives_from_issue_to_revocation(store: &dyn Store) {
    let tenant = with_tenant(store).await;
    let token = Token {
        id: "tok1".parse().expect("valid"),
        tenant: tenant.clone(),
        name: Some("ci".into()),
        role: Role::TenantAdmin,
        models: Some(vec!["gpt".into()]),
        rate: Some("7/min".parse().expect("valid")),
        expires_at: Some(now().plus_secs(60)),
        created_at: now(),
        created_by: "operator".into(),
        revoked_at: None,
    };
    let stored = StoredToken { token, hash: TokenHash::of(b"secret") };
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
