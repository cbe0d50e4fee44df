//! Sealing keys, and the uses of what was sealed to them.

use keyferry_core::{
    audit::AuditDraft,
    port::store::StoreError,
    sealing::{SealClaim, SealUse, StoredSealingKey},
    time::Timestamp,
};

use super::PostgresStore;
use crate::{
    errors::away,
    rows::{
        Reader,
        sealing::{LIST, insert_sealing, key_destroyed, read},
        wrapped::insert_wrapped,
    },
};

impl PostgresStore {
    pub(crate) async fn sealing_list(&self) -> Result<Vec<StoredSealingKey>, StoreError> {
        let rows = sqlx::query(LIST).fetch_all(&self.pool).await.map_err(away)?;
        rows.iter().map(read).collect()
    }

    pub(crate) async fn sealing_create(
        &self,
        key: &StoredSealingKey,
        unless_between: Option<(Timestamp, Timestamp)>,
        audit: AuditDraft,
    ) -> Result<bool, StoreError> {
        let mut change = self.change().await?;
        let done = insert_sealing!(key, unless_between).execute(&mut *change.tx).await.map_err(away)?;
        if done.rows_affected() == 0 {
            return Ok(false);
        }
        insert_wrapped!(&key.private, "").execute(&mut *change.tx).await.map_err(away)?;
        change.commit(audit).await?;
        Ok(true)
    }

    pub(crate) async fn sealing_destroy(&self, ended: Timestamp, now: Timestamp) -> Result<u64, StoreError> {
        let due = sqlx::query("SELECT 1 FROM sealing_keys WHERE not_after < $1 LIMIT 1")
            .bind(ended.millis())
            .fetch_optional(&self.pool)
            .await
            .map_err(away)?;
        if due.is_none() {
            return Ok(0);
        }
        let mut change = self.change().await?;
        let gone = sqlx::query("DELETE FROM sealing_keys WHERE not_after < $1 RETURNING kid AS id")
            .bind(ended.millis())
            .fetch_all(&mut *change.tx)
            .await
            .map_err(away)?;
        for row in &gone {
            let kid: String = Reader { table: "sealing_keys", row }.get("id")?;
            sqlx::query("DELETE FROM wrapped_keys WHERE purpose = 'sealing' AND id = $1")
                .bind(&kid)
                .execute(&mut *change.tx)
                .await
                .map_err(away)?;
            change.note(key_destroyed(kid, now)).await?;
        }
        change.end().await?;
        Ok(gone.len() as u64)
    }

    pub(crate) async fn seal_claim(&self, claim: &SealClaim) -> Result<SealUse, StoreError> {
        let mut tx = self.begin().await?;
        // The key stays until the end of the transaction.
        let key = sqlx::query("SELECT 1 FROM sealing_keys WHERE kid = $1 FOR KEY SHARE").bind(&claim.kid);
        if key.fetch_optional(&mut *tx).await.map_err(away)?.is_none() {
            return Ok(SealUse::KeyGone);
        }
        let used = sqlx::query(
            "INSERT INTO seal_claims (key, owner, uses, until) VALUES ($1, $2, 1, $3)
             ON CONFLICT (key) DO UPDATE SET uses = seal_claims.uses + 1
             WHERE seal_claims.owner = $2 AND seal_claims.uses < $4",
        )
        .bind(&claim.key[..])
        .bind(&claim.owner[..])
        .bind(claim.until.millis())
        .bind(i64::from(claim.max_uses))
        .execute(&mut *tx)
        .await
        .map_err(away)?;
        // Asked last: if an older use was forgotten meanwhile, its end is here now.
        let floor = sqlx::query("SELECT 1 FROM seal_floor WHERE until >= $1").bind(claim.until.millis());
        let forgotten = floor.fetch_optional(&mut *tx).await.map_err(away)?.is_some();
        if used.rows_affected() == 0 || forgotten {
            return Ok(SealUse::UsedUp);
        }
        tx.commit().await.map_err(away)?;
        Ok(SealUse::Allowed)
    }

    pub(crate) async fn seal_look(&self, claim: &SealClaim) -> Result<SealUse, StoreError> {
        let row = sqlx::query(
            "SELECT EXISTS (SELECT 1 FROM sealing_keys WHERE kid = $1) AS there,
             EXISTS (SELECT 1 FROM seal_claims WHERE key = $2 AND (owner <> $3 OR uses >= $4))
             OR $5 <= coalesce((SELECT until FROM seal_floor), -1) AS used",
        )
        .bind(&claim.kid)
        .bind(&claim.key[..])
        .bind(&claim.owner[..])
        .bind(i64::from(claim.max_uses))
        .bind(claim.until.millis())
        .fetch_one(&self.pool)
        .await
        .map_err(away)?;
        let row = Reader { table: "seal_claims", row: &row };
        Ok(match (row.get("there")?, row.get("used")?) {
            (false, _) => SealUse::KeyGone,
            (true, true) => SealUse::UsedUp,
            (true, false) => SealUse::Allowed,
        })
    }

    pub(crate) async fn seals_forget(&self, now: Timestamp) -> Result<(), StoreError> {
        let due = sqlx::query("SELECT 1 FROM seal_claims WHERE until < $1 LIMIT 1")
            .bind(now.millis())
            .fetch_optional(&self.pool)
            .await
            .map_err(away)?;
        if due.is_none() {
            return Ok(());
        }
        // One statement: what it deletes is what it remembers the end of.
        sqlx::query(
            "WITH gone AS (DELETE FROM seal_claims WHERE until < $1 RETURNING until)
             INSERT INTO seal_floor (one, until)
             SELECT 1, max(until) FROM gone HAVING max(until) IS NOT NULL
             ON CONFLICT (one) DO UPDATE SET until = GREATEST(seal_floor.until, excluded.until)",
        )
        .bind(now.millis())
        .execute(&self.pool)
        .await
        .map(drop)
        .map_err(away)
    }
}
