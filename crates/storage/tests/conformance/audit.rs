use keyferry_core::port::store::{AuditFilter, Store};

use crate::sample::{chain, draft, page, tenant, whole_chain, with_tenant};

pub(crate) async fn every_change_is_in_the_chain(store: &dyn Store) {
    assert_eq!(
        store.audit_head().await.expect("read"),
        Some(chain().begin()),
        "there is a head before any row"
    );
    let acme = with_tenant(store).await;
    for name in ["b", "c"] {
        let mut audit = draft("tenant.created");
        audit.tenant = Some(name.into());
        store.create_tenant(&tenant(name), audit).await.expect("created");
    }
    let refused = store.create_tenant(&tenant("b"), draft("tenant.created")).await;
    assert!(refused.is_err());
    store.append_audit(draft("key.tested")).await.expect("appended");

    let rows = store.audit_after(0, 100).await.expect("read");
    assert_eq!(
        rows.iter().map(|row| row.seq).collect::<Vec<_>>(),
        [1, 2, 3, 4],
        "a refused change left no row"
    );
    assert_eq!(whole_chain(store).await, 4);
    assert_eq!(store.audit_after(2, 1).await.expect("read")[0].seq, 3);

    let filter = AuditFilter { tenant: Some(acme), ..AuditFilter::default() };
    let of_acme = store.audit(&filter, &page(10)).await.expect("listed");
    assert_eq!(of_acme.data.iter().map(|row| row.seq).collect::<Vec<_>>(), [4, 1]);
    let filter = AuditFilter { action: Some("key.tested".into()), ..AuditFilter::default() };
    assert_eq!(store.audit(&filter, &page(10)).await.expect("listed").data.len(), 1);
}
