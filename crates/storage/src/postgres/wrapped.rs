//! Keys under a root.

use std::collections::BTreeSet;

use keyferry_core::{
    audit::AuditDraft,
    credential::{MovedVersion, VersionToMove},
    id::CredentialId,
    port::store::StoreError,
    time::Timestamp,
    wrapped::{KekUse, WrappedKey},
};
use keyferry_envelope::KeyPurpose;
use sqlx::{Postgres, Transaction};

use super::{PostgresStore, outbox::order, tenant::must_exist};
use crate::{
    errors::away,
    rows::{
        Reader,
        wrapped::{
            LOST, MISPLACED, NAME_KEK, USES, insert_wrapped, kek_destroyed, read, read_misplaced,
            read_numbered, read_use,
        },
    },
};

impl PostgresStore {
    pub(crate) async fn wrapped_get(
        &self,
        purpose: KeyPurpose,
        owner: &str,
    ) -> Result<Option<WrappedKey>, StoreError> {
        let row = sqlx::query(
            "SELECT * FROM wrapped_keys WHERE purpose = $1 AND owner = $2 AND retired_at IS NULL",
        )
        .bind(purpose.name())
        .bind(owner)
        .fetch_optional(&self.pool)
        .await
        .map_err(away)?;
        row.as_ref().map(read).transpose()
    }

    pub(crate) async fn wrapped_init(&self, key: &WrappedKey) -> Result<WrappedKey, StoreError> {
        let mut tx = self.begin().await?;
        if key.purpose == KeyPurpose::TenantKek {
            tenant_must_exist(&mut tx, &key.owner).await?;
        }
        insert_wrapped!(key, "ON CONFLICT DO NOTHING").execute(&mut *tx).await.map_err(away)?;
        let row = sqlx::query(
            "SELECT * FROM wrapped_keys WHERE purpose = $1 AND owner = $2 AND retired_at IS NULL",
        )
        .bind(key.purpose.name())
        .bind(&key.owner)
        .fetch_one(&mut *tx)
        .await
        .map_err(away)?;
        tx.commit().await.map_err(away)?;
        read(&row)
    }

    pub(crate) async fn wrapped_replace(
        &self,
        key: &WrappedKey,
        audit: AuditDraft,
    ) -> Result<(), StoreError> {
        let mut change = self.change().await?;
        if key.purpose == KeyPurpose::TenantKek {
            tenant_must_exist(&mut change.tx, &key.owner).await?;
        }
        sqlx::query(
            "UPDATE wrapped_keys SET retired_at = $1 WHERE purpose = $2 AND owner = $3 AND retired_at IS NULL",
        )
        .bind(key.created_at.millis())
        .bind(key.purpose.name())
        .bind(&key.owner)
        .execute(&mut *change.tx)
        .await
        .map_err(away)?;
        insert_wrapped!(key, "").execute(&mut *change.tx).await.map_err(away)?;
        change.commit(audit).await
    }

    pub(crate) async fn wrapped_after(
        &self,
        after: i64,
        limit: u32,
    ) -> Result<Vec<(i64, WrappedKey)>, StoreError> {
        let rows = sqlx::query("SELECT * FROM wrapped_keys WHERE n > $1 ORDER BY n LIMIT $2")
            .bind(after)
            .bind(i64::from(limit))
            .fetch_all(&self.pool)
            .await
            .map_err(away)?;
        rows.iter().map(read_numbered).collect()
    }

    pub(crate) async fn wrapped_rewrap(&self, key: &WrappedKey, old: &[u8]) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        let done = sqlx::query(
            "UPDATE wrapped_keys SET root = $1, wrapped = $2
             WHERE purpose = $3 AND owner = $4 AND id = $5 AND wrapped = $6",
        )
        .bind(&key.root)
        .bind(&key.wrapped)
        .bind(key.purpose.name())
        .bind(&key.owner)
        .bind(&key.id)
        .bind(old)
        .execute(&mut *tx)
        .await
        .map_err(away)?;
        let done = done.rows_affected() == 1;
        if done && key.purpose == KeyPurpose::TenantKek {
            // What is cached of the tenant holds the old bytes, which the old root alone can open.
            order(&mut tx, &key.owner).await?;
        }
        tx.commit().await.map_err(away)?;
        Ok(done)
    }

    pub(crate) async fn keks_destroy(&self, before: Timestamp, now: Timestamp) -> Result<u64, StoreError> {
        let due = "SELECT 1 FROM wrapped_keys WHERE purpose = 'tenant-kek' AND retired_at < $1 LIMIT 1";
        let due = sqlx::query(due).bind(before.millis()).fetch_optional(&self.pool).await.map_err(away)?;
        if due.is_none() {
            return Ok(0);
        }
        let mut change = self.change().await?;
        let gone = sqlx::query(
            "DELETE FROM wrapped_keys WHERE purpose = 'tenant-kek' AND retired_at < $1
             AND NOT EXISTS (SELECT 1 FROM credential_versions v WHERE v.kek_id = wrapped_keys.id)
             RETURNING owner, id",
        )
        .bind(before.millis())
        .fetch_all(&mut *change.tx)
        .await
        .map_err(away)?;
        for row in &gone {
            change.note(kek_destroyed(row, now)?).await?;
        }
        change.end().await?;
        Ok(gone.len() as u64)
    }

    pub(crate) async fn kek_used(&self) -> Result<Vec<KekUse>, StoreError> {
        let rows = sqlx::query(USES).fetch_all(&self.reports).await.map_err(away)?;
        rows.iter().map(read_use).collect()
    }

    pub(crate) async fn versions_lost(&self) -> Result<u64, StoreError> {
        let row = sqlx::query(LOST).fetch_one(&self.reports).await.map_err(away)?;
        Reader { table: "credential_versions", row: &row }.get("lost")
    }

    pub(crate) async fn versions_misplaced(
        &self,
        after: Option<(&CredentialId, u32)>,
        limit: u32,
    ) -> Result<Vec<VersionToMove>, StoreError> {
        let (id, version) = after.map_or(("", 0), |(id, version)| (id.as_str(), version));
        let rows = sqlx::query(MISPLACED)
            .bind(id)
            .bind(i64::from(version))
            .bind(i64::from(limit))
            .fetch_all(&self.reports)
            .await
            .map_err(away)?;
        rows.iter().map(read_misplaced).collect()
    }

    pub(crate) async fn versions_move(&self, moved: &[MovedVersion]) -> Result<u64, StoreError> {
        // Nothing to log, but behind the same lock: no KEK is destroyed while a version goes to it.
        let mut change = self.change().await?;
        let mut count = 0;
        let mut tenants = BTreeSet::new();
        for one in moved {
            let kek = one.sealed.kek_id.as_str();
            let row = sqlx::query(
                "UPDATE credential_versions SET wrapped_dek = $1, kek_id = $2
                 WHERE credential_id = $3 AND version = $4 AND wrapped_dek = $5
                 RETURNING (SELECT tenant_id FROM credentials WHERE id = credential_id) AS tenant_id",
            )
            .bind(&one.sealed.wrapped_dek)
            .bind(kek)
            .bind(one.credential.as_str())
            .bind(i64::from(one.version))
            .bind(&one.old_wrapped_dek)
            .fetch_optional(&mut *change.tx)
            .await
            .map_err(away)?;
            if let Some(row) = row {
                count += 1;
                tenants.insert(Reader { table: "credentials", row: &row }.get::<String>("tenant_id")?);
            }
            sqlx::query(NAME_KEK)
                .bind(kek)
                .bind(one.credential.as_str())
                .bind(i64::from(one.version))
                .execute(&mut *change.tx)
                .await
                .map_err(away)?;
        }
        for tenant in tenants {
            change.order(&tenant).await?;
        }
        change.end().await?;
        Ok(count)
    }
}

/// As for credentials: what is added to a tenant that is gone would belong to whoever gets the id next.
async fn tenant_must_exist(tx: &mut Transaction<'_, Postgres>, id: &str) -> Result<(), StoreError> {
    let id = id.parse().map_err(|_| StoreError::NotFound("tenant"))?;
    must_exist(tx, &id).await
}
