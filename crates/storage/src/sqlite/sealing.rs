//! Sealing keys, and the uses of what was sealed to them.

use keyferry_core::{
    audit::AuditDraft,
    port::store::StoreError,
    sealing::{SealClaim, SealUse, StoredSealingKey},
    time::Timestamp,
};

use super::{SqliteStore, audit::append};
use crate::{
    errors::away,
    rows::{
        Reader,
        sealing::{LIST, insert_sealing, key_destroyed, read},
        wrapped::insert_wrapped,
    },
};

impl SqliteStore {
    pub(crate) async fn sealing_list(&self) -> Result<Vec<StoredSealingKey>, StoreError> {
        let rows = sqlx::query(LIST).fetch_all(&self.readers).await.map_err(away)?;
        rows.iter().map(read).collect()
    }

    pub(crate) async fn sealing_create(
        &self,
        key: &StoredSealingKey,
        unless_between: Option<(Timestamp, Timestamp)>,
        audit: AuditDraft,
    ) -> Result<bool, StoreError> {
        let mut tx = self.write().await?;
        let done = insert_sealing!(key, unless_between).execute(&mut *tx).await.map_err(away)?;
        if done.rows_affected() == 0 {
            return Ok(false);
        }
        insert_wrapped!(&key.private, "").execute(&mut *tx).await.map_err(away)?;
        self.commit(tx, audit).await?;
        Ok(true)
    }

    pub(crate) async fn sealing_destroy(&self, ended: Timestamp, now: Timestamp) -> Result<u64, StoreError> {
        let due = sqlx::query("SELECT 1 FROM sealing_keys WHERE not_after < ? LIMIT 1")
            .bind(ended.millis())
            .fetch_optional(&self.readers)
            .await
            .map_err(away)?;
        if due.is_none() {
            // A reader may have been in the way the last time.
            self.shred(false).await;
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
            append(self.chain()?, &mut tx, key_destroyed(kid, now)).await?;
        }
        tx.commit().await.map_err(away)?;
        self.shred(!gone.is_empty()).await;
        Ok(gone.len() as u64)
    }

    pub(crate) async fn seal_claim(&self, claim: &SealClaim) -> Result<SealUse, StoreError> {
        self.seals.ask(claim, true).await
    }

    pub(crate) async fn seal_look(&self, claim: &SealClaim) -> Result<SealUse, StoreError> {
        self.seals.ask(claim, false).await
    }

    pub(crate) async fn seals_forget(&self, now: Timestamp) -> Result<(), StoreError> {
        let due = sqlx::query("SELECT 1 FROM seal_claims WHERE until < ? LIMIT 1")
            .bind(now.millis())
            .fetch_optional(&self.readers)
            .await
            .map_err(away)?;
        if due.is_none() {
            return Ok(());
        }
        let mut tx = self.write().await?;
        sqlx::query(
            "INSERT INTO seal_floor (one, until)
             SELECT 1, max(until) FROM seal_claims WHERE until < ?1 HAVING max(until) IS NOT NULL
             ON CONFLICT (one) DO UPDATE SET until = max(seal_floor.until, excluded.until)",
        )
        .bind(now.millis())
        .execute(&mut *tx)
        .await
        .map_err(away)?;
        sqlx::query("DELETE FROM seal_claims WHERE until < ?")
            .bind(now.millis())
            .execute(&mut *tx)
            .await
            .map_err(away)?;
        tx.commit().await.map_err(away)?;
        self.writer.much();
        Ok(())
    }
}
