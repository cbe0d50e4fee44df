//! Sealing keys, and the uses of what was sealed to them.

use keyferry_core::{
    audit::AuditDraft,
    port::store::StoreError,
    sealing::{SealClaim, StoredSealingKey},
    time::Timestamp,
};
use sqlx::sqlite::SqliteRow;

use super::{SqliteStore, audit::append, away, rows::Reader, wrapped};

impl SqliteStore {
    pub(super) async fn sealing_list(&self) -> Result<Vec<StoredSealingKey>, StoreError> {
        let rows = sqlx::query(
            "SELECT w.*, s.kem, s.public_key, s.not_before, s.not_after FROM sealing_keys s
             JOIN wrapped_keys w ON w.purpose = 'sealing' AND w.owner = '' AND w.id = s.kid
             ORDER BY s.not_before, s.kem",
        )
        .fetch_all(&self.readers)
        .await
        .map_err(away)?;
        rows.iter().map(read).collect()
    }

    pub(super) async fn sealing_create(
        &self,
        key: &StoredSealingKey,
        unless_after: Option<Timestamp>,
        audit: AuditDraft,
    ) -> Result<bool, StoreError> {
        let mut tx = self.write().await?;
        let done = sqlx::query(
            "INSERT INTO sealing_keys (kid, kem, public_key, not_before, not_after)
             SELECT ?1, ?2, ?3, ?4, ?5
             WHERE NOT EXISTS (SELECT 1 FROM sealing_keys WHERE kem = ?2 AND not_before > ?6)",
        )
        .bind(key.kid())
        .bind(key.kem)
        .bind(&key.public_key)
        .bind(key.not_before.millis())
        .bind(key.not_after.millis())
        .bind(unless_after.map_or(i64::MAX, Timestamp::millis))
        .execute(&mut *tx)
        .await
        .map_err(away)?;
        if done.rows_affected() == 0 {
            return Ok(false);
        }
        wrapped::insert(&mut tx, wrapped::INSERT, &key.private).await?;
        self.commit(tx, audit).await?;
        Ok(true)
    }

    pub(super) async fn sealing_destroy(&self, ended: Timestamp, now: Timestamp) -> Result<u64, StoreError> {
        let due = sqlx::query("SELECT 1 FROM sealing_keys WHERE not_after < ? LIMIT 1")
            .bind(ended.millis())
            .fetch_optional(&self.readers)
            .await
            .map_err(away)?;
        if due.is_none() {
            return Ok(0);
        }
        let mut tx = self.write().await?;
        let gone = sqlx::query("DELETE FROM sealing_keys WHERE not_after < ? RETURNING kid AS id")
            .bind(ended.millis())
            .fetch_all(&mut *tx)
            .await
            .map_err(away)?;
        for row in &gone {
            let kid: String = Reader { table: "sealing_keys", row }.get("id")?;
            sqlx::query("DELETE FROM wrapped_keys WHERE purpose = 'sealing' AND id = ?")
                .bind(&kid)
                .execute(&mut *tx)
                .await
                .map_err(away)?;
            let draft = AuditDraft {
                at: now,
                actor: "system".to_owned(),
                action: "sealing_key.destroyed",
                tenant: None,
                target: kid,
                source: "its time is over".to_owned(),
                detail: serde_json::json!({}),
            };
            append(self.chain()?, &mut tx, draft).await?;
        }
        tx.commit().await.map_err(away)?;
        Ok(gone.len() as u64)
    }

    pub(super) async fn seal_claim(&self, claim: &SealClaim) -> Result<bool, StoreError> {
        let mut tx = self.write().await?;
        let used = sqlx::query(
            "INSERT INTO seal_claims (key, owner, uses, until) VALUES (?1, ?2, 1, ?3)
             ON CONFLICT (key) DO UPDATE SET uses = uses + 1 WHERE owner = ?2 AND uses < ?4
             RETURNING uses",
        )
        .bind(&claim.key[..])
        .bind(&claim.owner[..])
        .bind(claim.until.millis())
        .bind(claim.max_uses)
        .fetch_optional(&mut *tx)
        .await
        .map_err(away)?;
        tx.commit().await.map_err(away)?;
        Ok(used.is_some())
    }

    pub(super) async fn seals_forget(&self, now: Timestamp) -> Result<(), StoreError> {
        let due = sqlx::query("SELECT 1 FROM seal_claims WHERE until < ? LIMIT 1")
            .bind(now.millis())
            .fetch_optional(&self.readers)
            .await
            .map_err(away)?;
        if due.is_none() {
            return Ok(());
        }
        let mut tx = self.write().await?;
        sqlx::query("DELETE FROM seal_claims WHERE until < ?")
            .bind(now.millis())
            .execute(&mut *tx)
            .await
            .map_err(away)?;
        tx.commit().await.map_err(away)
    }
}

fn read(row: &SqliteRow) -> Result<StoredSealingKey, StoreError> {
    let private = wrapped::read(row)?;
    let row = Reader { table: "sealing_keys", row };
    Ok(StoredSealingKey {
        kem: row.get("kem")?,
        public_key: row.get("public_key")?,
        not_before: row.time("not_before")?,
        not_after: row.time("not_after")?,
        private,
    })
}
