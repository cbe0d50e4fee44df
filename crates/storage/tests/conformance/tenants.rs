use keyferry_core::{
    port::store::{PageRequest, Store, StoreError},
    tenant::{Ceiling, TenantChange},
};

use crate::sample::{credential, draft, page, tenant, with_tenant};

pub(crate) async fn a_tenant_comes_back_as_it_was_written(store: &dyn Store) {
    let id = with_tenant(store).await;
    assert_eq!(store.tenant(&id).await.expect("read"), Some(tenant("acme")));
    let again = store.create_tenant(&tenant("acme"), draft("tenant.created")).await;
    assert!(matches!(again, Err(StoreError::Conflict(_))));

    let change = TenantChange {
        byok_enabled: Some(false),
        budget_micro_usd: Some(Ceiling(None)),
        ..Default::default()
    };
    let changed = store.update_tenant(&id, &change, draft("tenant.updated")).await.expect("updated");
    assert_eq!(
        changed,
        keyferry_core::tenant::Tenant { byok_enabled: false, budget_micro_usd: None, ..tenant("acme") }
    );
    assert_eq!(store.tenant(&id).await.expect("read"), Some(changed));
    let nobody = "nobody".parse().expect("valid");
    let missing = store.update_tenant(&nobody, &change, draft("tenant.updated")).await;
    assert!(matches!(missing, Err(StoreError::NotFound(_))));

    for name in ["b", "c", "d"] {
        store.create_tenant(&tenant(name), draft("tenant.created")).await.expect("created");
    }
    let first = store.tenants(&page(3)).await.expect("listed");
    assert_eq!(first.data.iter().map(|t| t.id.as_str()).collect::<Vec<_>>(), ["acme", "b", "c"]);
    let rest = store.tenants(&PageRequest { cursor: first.next_cursor, limit: 3 }).await.expect("listed");
    assert_eq!((rest.data.len(), rest.next_cursor), (1, None));

    let key = credential("cred_1", &id, "openai", "default");
    store.create_credential(&key, draft("credential.stored")).await.expect("stored");
    store.delete_tenant(&id, draft("tenant.deleted")).await.expect("deleted");
    assert_eq!(store.tenant(&id).await.expect("read"), None);
    assert!(store.sealed_credentials(&id).await.expect("read").is_empty());
    assert!(matches!(store.delete_tenant(&id, draft("tenant.deleted")).await, Err(StoreError::NotFound(_))));
    let late = store.create_credential(&key, draft("credential.stored")).await;
    assert!(matches!(late, Err(StoreError::NotFound(_))), "nothing is added to a tenant that is gone");
}
