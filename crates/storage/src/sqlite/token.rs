//! Gateway tokens.

use keyferry_core::{
    audit::AuditDraft,
    id::{TenantId, TokenId},
    port::store::{Page, PageRequest, StoreError, StoredToken},
    time::Timestamp,
    token::Token,
};

use super::{SqliteStore, outbox::order, tenant::must_exist};
use crate::{
    errors::{away, conflict},
    rows::{
        cursor, one_more, paged,
        token::{THERE_IS_ONE, insert_token, read, read_stored},
    },
};

impl SqliteStore {
    pub(crate) async fn token_create(
        &self,
        stored: &StoredToken,
        audit: AuditDraft,
    ) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        must_exist(&mut tx, &stored.token.tenant).await?;
        insert_token!(stored).execute(&mut *tx).await.map_err(conflict(THERE_IS_ONE))?;
        order(&mut tx, stored.token.tenant.as_str()).await?;
        self.commit(tx, audit).await
    }

    pub(crate) async fn token_get(&self, id: &TokenId) -> Result<Option<StoredToken>, StoreError> {
        let row = sqlx::query("SELECT * FROM tokens WHERE id = ?")
            .bind(id.as_str())
            .fetch_optional(&self.readers)
            .await
            .map_err(away)?;
        row.as_ref().map(read_stored).transpose()
    }

    pub(crate) async fn token_list(
        &self,
        tenant: &TenantId,
        page: &PageRequest,
    ) -> Result<Page<Token>, StoreError> {
        let rows = sqlx::query("SELECT * FROM tokens WHERE tenant_id = ? AND n < ? ORDER BY n DESC LIMIT ?")
            .bind(tenant.as_str())
            .bind(cursor(page)?)
            .bind(one_more(page))
            .fetch_all(&self.readers)
            .await
            .map_err(away)?;
        paged(&rows, page, "n", read)
    }

    pub(crate) async fn token_revoke(
        &self,
        tenant: &TenantId,
        id: &TokenId,
        audit: AuditDraft,
    ) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        let done = sqlx::query(
            "UPDATE tokens SET revoked_at = ? WHERE tenant_id = ? AND id = ? AND revoked_at IS NULL",
        )
        .bind(audit.at.millis())
        .bind(tenant.as_str())
        .bind(id.as_str())
        .execute(&mut *tx)
        .await
        .map_err(away)?;
        if done.rows_affected() == 0 {
            return Err(StoreError::NotFound("token"));
        }
        order(&mut tx, tenant.as_str()).await?;
        self.commit(tx, audit).await
    }
}
