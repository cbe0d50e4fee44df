//! Tenants.

use keyferry_core::{
    audit::AuditDraft,
    id::TenantId,
    port::store::{Page, PageRequest, StoreError},
    tenant::{Tenant, TenantChange},
};
use sqlx::{Postgres, Transaction};

use super::PostgresStore;
use crate::{
    errors::{away, conflict},
    rows::{
        one_more,
        tenant::{THERE_IS_ONE, insert_tenant, page_of, read, update_tenant},
    },
};

impl PostgresStore {
    pub(crate) async fn tenant_create(&self, tenant: &Tenant, audit: AuditDraft) -> Result<(), StoreError> {
        let mut change = self.change().await?;
        insert_tenant!(tenant).execute(&mut *change.tx).await.map_err(conflict(THERE_IS_ONE))?;
        change.order(tenant.id.as_str()).await?;
        change.commit(audit).await
    }

    pub(crate) async fn tenant_get(&self, id: &TenantId) -> Result<Option<Tenant>, StoreError> {
        let row = sqlx::query("SELECT * FROM tenants WHERE id = $1")
            .bind(id.as_str())
            .fetch_optional(&self.pool)
            .await
            .map_err(away)?;
        row.as_ref().map(read).transpose()
    }

    pub(crate) async fn tenant_list(&self, page: &PageRequest) -> Result<Page<Tenant>, StoreError> {
        let after = page.cursor.as_deref().unwrap_or_default();
        let rows = sqlx::query("SELECT * FROM tenants WHERE id > $1 ORDER BY id LIMIT $2")
            .bind(after)
            .bind(one_more(page))
            .fetch_all(&self.pool)
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
        let mut logged = self.change().await?;
        let row = sqlx::query("SELECT * FROM tenants WHERE id = $1")
            .bind(id.as_str())
            .fetch_optional(&mut *logged.tx)
            .await
            .map_err(away)?;
        let mut tenant = read(&row.ok_or(StoreError::NotFound("tenant"))?)?;
        change.apply(&mut tenant);
        update_tenant!(&tenant).execute(&mut *logged.tx).await.map_err(away)?;
        logged.order(id.as_str()).await?;
        logged.commit(audit).await?;
        Ok(tenant)
    }

    pub(crate) async fn tenant_delete(&self, id: &TenantId, audit: AuditDraft) -> Result<(), StoreError> {
        let mut change = self.change().await?;
        let done = sqlx::query("DELETE FROM tenants WHERE id = $1")
            .bind(id.as_str())
            .execute(&mut *change.tx)
            .await
            .map_err(away)?;
        if done.rows_affected() == 0 {
            return Err(StoreError::NotFound("tenant"));
        }
        for statement in [
            // In the order of their ids, as whoever writes usage takes them.
            "SELECT 1 FROM credentials WHERE tenant_id = $1 ORDER BY id FOR UPDATE",
            "DELETE FROM credential_versions WHERE credential_id IN
             (SELECT id FROM credentials WHERE tenant_id = $1)",
            "DELETE FROM credentials WHERE tenant_id = $1",
            "DELETE FROM tokens WHERE tenant_id = $1",
            "DELETE FROM issuers WHERE tenant_id = $1",
            "DELETE FROM wrapped_keys WHERE owner = $1",
        ] {
            sqlx::query(statement).bind(id.as_str()).execute(&mut *change.tx).await.map_err(away)?;
        }
        change.order(id.as_str()).await?;
        change.commit(audit).await
    }
}

/// A tenant that something is added to must be there: it may have been deleted since its id was
/// looked up, and what is added to nobody would belong to whoever gets the id next.
/// It stays until the end of the transaction.
pub(super) async fn must_exist(tx: &mut Transaction<'_, Postgres>, id: &TenantId) -> Result<(), StoreError> {
    let row = sqlx::query("SELECT 1 FROM tenants WHERE id = $1 FOR KEY SHARE")
        .bind(id.as_str())
        .fetch_optional(&mut **tx)
        .await
        .map_err(away)?;
    row.map(drop).ok_or(StoreError::NotFound("tenant"))
}
