//! Orders to move a tenant's epoch, written with the change that calls for it.

use keyferry_core::{id::TenantId, port::store::StoreError};
use sqlx::{Postgres, Transaction};

use super::PostgresStore;
use crate::{errors::away, rows::outbox::read};

/// Orders a move within the transaction of the change.
pub(super) async fn order(tx: &mut Transaction<'_, Postgres>, tenant: &str) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO outbox (tenant_id) VALUES ($1)")
        .bind(tenant)
        .execute(&mut **tx)
        .await
        .map(drop)
        .map_err(away)
}

impl PostgresStore {
    pub(crate) async fn outbox_list(&self, limit: u32) -> Result<Vec<(i64, TenantId)>, StoreError> {
        let rows = sqlx::query("SELECT * FROM outbox ORDER BY n LIMIT $1")
            .bind(i64::from(limit))
            .fetch_all(&self.pool)
            .await
            .map_err(away)?;
        rows.iter().map(read).collect()
    }

    pub(crate) async fn outbox_clear(&self, rows: &[i64]) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM outbox WHERE n = ANY($1)")
            .bind(rows)
            .execute(&self.pool)
            .await
            .map(drop)
            .map_err(away)
    }
}
