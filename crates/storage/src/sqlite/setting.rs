//! Settings of the installation.

use keyferry_core::{audit::AuditDraft, port::store::StoreError};
use sqlx::Row;

use super::SqliteStore;
use crate::errors::away;

impl SqliteStore {
    pub(crate) async fn setting_get(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let row = sqlx::query("SELECT value FROM settings WHERE name = $1")
            .bind(name)
            .fetch_optional(&self.readers)
            .await
            .map_err(away)?;
        row.map(|row| row.try_get(0).map_err(away)).transpose()
    }

    pub(crate) async fn setting_put(
        &self,
        name: &str,
        value: Option<&[u8]>,
        audit: AuditDraft,
    ) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        match value {
            Some(value) => sqlx::query(
                "INSERT INTO settings (name, value) VALUES ($1, $2)
                 ON CONFLICT (name) DO UPDATE SET value = $2",
            )
            .bind(name)
            .bind(value),
            None => sqlx::query("DELETE FROM settings WHERE name = $1").bind(name),
        }
        .execute(&mut *tx)
        .await
        .map_err(away)?;
        self.commit(tx, audit).await
    }

    pub(crate) async fn setting_init(&self, name: &str, value: &[u8]) -> Result<Vec<u8>, StoreError> {
        sqlx::query("INSERT INTO settings (name, value) VALUES ($1, $2) ON CONFLICT DO NOTHING")
            .bind(name)
            .bind(value)
            .execute(&mut *self.writer.acquire().await.map_err(away)?)
            .await
            .map_err(away)?;
        Ok(self.setting_get(name).await?.unwrap_or_default())
    }
}
