//! Tenants.

use keyferry_core::{
    audit::AuditDraft,
    id::TenantId,
    port::store::{Page, PageRequest, StoreError},
    tenant::{Tenant, TenantChange},
};
use sqlx::{Sqlite, Transaction};

use super::{SqliteStore, outbox::order};
use crate::{
    errors::{away, conflict},
    rows::{
        one_more,
        tenant::{THERE_IS_ONE, insert_tenant, page_of, read, update_tenant},
    },
};

impl SqliteStore {
    pub(crate) async fn tenant_create(&self, tenant: &Tenant, audit: AuditDraft) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        insert_tenant!(tenant).execute(&mut *tx).await.map_err(conflict(THERE_IS_ONE))?;
        order(&mut tx, tenant.id.as_str()).await?;
        self.commit(tx, audit).await
    }

    pub(crate) async fn tenant_get(&self, id: &TenantId) -> Result<Option<Tenant>, StoreError> {
        let row = sqlx::query("SELECT * FROM tenants WHERE id = ?")
            .bind(id.as_str())
            .fetch_optional(&self.readers)
            .await
            .map_err(away)?;
        row.as_ref().map(read).transpose()
    }

    pub(crate) async fn tenant_list(&self, page: &PageRequest) -> Result<Page<Tenant>, StoreError> {
        let after = page.cursor.as_deref().unwrap_or_default();
        let rows = sqlx::query("SELECT * FROM tenants WHERE id > ? ORDER BY id LIMIT ?")
            .bind(after)
            .bind(one_more(page))
            .fetch_all(&self.readers)
            .await
            .map_err(away)?;
        page_of(&rows, page)
    }

    pub(crate) async fn tenant_update(
        &self,
        id: &TenantId,
        change: &TenantChange,
        audit: AuditDraft,
    ) -> Result<Tenant, StoreError> {
        let mut tx = self.write().await?;
        let row = sqlx::query("SELECT * FROM tenants WHERE id = ?")
            .bind(id.as_str())
            .fetch_optional(&mut *tx)
            .await
            .map_err(away)?;
        let mut tenant = read(&row.ok_or(StoreError::NotFound("tenant"))?)?;
        change.apply(&mut tenant);
        update_tenant!(&tenant).execute(&mut *tx).await.map_err(away)?;
        order(&mut tx, id.as_str()).await?;
        self.commit(tx, audit).await?;
        Ok(tenant)
    }

    pub(crate) async fn tenant_delete(&self, id: &TenantId, audit: AuditDraft) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        let done = sqlx::query("DELETE FROM tenants WHERE id = ?")
            .bind(id.as_str())
            .execute(&mut *tx)
            .await
            .map_err(away)?;
        if done.rows_affected() == 0 {
            return Err(StoreError::NotFound("tenant"));
        }
        for statement in [
            "DELETE FROM credential_versions WHERE credential_id IN
             (SELECT id FROM credentials WHERE tenant_id = ?)",
            "DELETE FROM credentials WHERE tenant_id = ?",
            "DELETE FROM tokens WHERE tenant_id = ?",
            "DELETE FROM issuers WHERE tenant_id = ?",
            "DELETE FROM wrapped_keys WHERE owner = ?",
        ] {
            sqlx::query(statement).bind(id.as_str()).execute(&mut *tx).await.map_err(away)?;
        }
        order(&mut tx, id.as_str()).await?;
        self.commit(tx, audit).await?;
        self.shred(true).await;
        Ok(())
    }
}

/// A tenant that something is added to must be there: it may have been deleted since its id was
/// looked up, and what is added to nobody would belong to whoever gets the id next.
pub(super) async fn must_exist(tx: &mut Transaction<'_, Sqlite>, id: &TenantId) -> Result<(), StoreError> {
    let row = sqlx::query("SELECT 1 FROM tenants WHERE id = ?")
        .bind(id.as_str())
        .fetch_optional(&mut **tx)
        .await
        .map_err(away)?;
    row.map(drop).ok_or(StoreError::NotFound("tenant"))
}
