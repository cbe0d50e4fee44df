//! Issuers of JWTs.

use keyferry_core::{
    audit::AuditDraft,
    id::{IssuerId, TenantId},
    issuer::{Issuer, Jwks},
    port::store::StoreError,
};

use super::{PostgresStore, tenant::must_exist};
use crate::{
    errors::{away, conflict},
    rows::issuer::{THERE_IS_ONE, insert_issuer, read},
};

impl PostgresStore {
    pub(crate) async fn issuer_create(&self, issuer: &Issuer, audit: AuditDraft) -> Result<(), StoreError> {
        let mut change = self.change().await?;
        must_exist(&mut change.tx, &issuer.tenant).await?;
        insert_issuer!(issuer).execute(&mut *change.tx).await.map_err(conflict(THERE_IS_ONE))?;
        change.order(issuer.tenant.as_str()).await?;
        change.commit(audit).await
    }

    pub(crate) async fn issuer_list(&self, tenant: &TenantId) -> Result<Vec<Issuer>, StoreError> {
        let rows = sqlx::query("SELECT * FROM issuers WHERE tenant_id = $1 ORDER BY id")
            .bind(tenant.as_str())
            .fetch_all(&self.pool)
            .await
            .map_err(away)?;
        rows.iter().map(read).collect()
    }

    pub(crate) async fn issuer_any(&self) -> Result<bool, StoreError> {
        let row =
            sqlx::query("SELECT 1 FROM issuers LIMIT 1").fetch_optional(&self.pool).await.map_err(away)?;
        Ok(row.is_some())
    }

    pub(crate) async fn issuer_delete(
        &self,
        tenant: &TenantId,
        id: &IssuerId,
        audit: AuditDraft,
    ) -> Result<(), StoreError> {
        let mut change = self.change().await?;
        let done = sqlx::query("DELETE FROM issuers WHERE tenant_id = $1 AND id = $2")
            .bind(tenant.as_str())
            .bind(id.as_str())
            .execute(&mut *change.tx)
            .await
            .map_err(away)?;
        if done.rows_affected() == 0 {
            return Err(StoreError::NotFound("issuer"));
        }
        change.order(tenant.as_str()).await?;
        change.commit(audit).await
    }
}
