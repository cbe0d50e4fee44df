//! The audit log.

use keyferry_core::{
    audit::{AuditChain, AuditDraft, AuditHead, AuditRow},
    id::TenantId,
    port::store::{AuditFilter, Page, PageRequest, StoreError},
    time::Timestamp,
};

use super::PostgresStore;
use crate::{
    errors::away,
    rows::{
        audit::{list_audit, put_head, read, read_head},
        paged,
    },
};

impl PostgresStore {
    /// Begins the log of a new database. An old one has its head, or lost it, and is left as it is.
    pub(crate) async fn audit_begin(&self, chain: AuditChain) -> Result<(), StoreError> {
        let chain = self.chain.get_or_init(|| chain);
        let mut tx = self.begin().await?;
        let new = sqlx::query(
            "INSERT INTO settings (name, value) VALUES ('audit_begun', $1) ON CONFLICT DO NOTHING",
        )
        .bind(&[1_u8][..])
        .execute(&mut *tx)
        .await
        .map_err(away)?;
        if new.rows_affected() == 1 {
            put_head!(chain.begin()).execute(&mut *tx).await.map_err(away)?;
        }
        tx.commit().await.map_err(away)
    }

    pub(crate) async fn audit_append(&self, draft: AuditDraft) -> Result<(), StoreError> {
        self.change().await?.commit(draft).await
    }

    pub(crate) async fn audit_list(
        &self,
        filter: &AuditFilter,
        page: &PageRequest,
    ) -> Result<Page<AuditRow>, StoreError> {
        let rows = list_audit!(filter, page).fetch_all(&self.reports).await.map_err(away)?;
        paged(&rows, page, "seq", read)
    }

    pub(crate) async fn audit_from(&self, seq: i64, limit: u32) -> Result<Vec<AuditRow>, StoreError> {
        let rows = sqlx::query("SELECT * FROM audit WHERE seq > $1 ORDER BY seq LIMIT $2")
            .bind(seq)
            .bind(i64::from(limit))
            .fetch_all(&self.pool)
            .await
            .map_err(away)?;
        rows.iter().map(read).collect()
    }

    pub(crate) async fn audit_end(&self) -> Result<Option<AuditHead>, StoreError> {
        let row = sqlx::query("SELECT * FROM audit_head").fetch_optional(&self.pool).await.map_err(away)?;
        row.as_ref().map(read_head).transpose()
    }
}
