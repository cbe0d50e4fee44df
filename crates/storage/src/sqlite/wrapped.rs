//! Keys under a root.

use keyferry_core::{
    audit::AuditDraft,
    credential::{MovedVersion, VersionToMove},
    id::CredentialId,
    port::store::StoreError,
    time::Timestamp,
    wrapped::{KekUse, WrappedKey},
};
use keyferry_envelope::{KekId, KeyPurpose, Sealed};
use sqlx::{Sqlite, Transaction, sqlite::SqliteRow};

use super::{SqliteStore, audit::append, away, rows::Reader};

impl SqliteStore {
    pub(super) async fn wrapped_get(
        &self,
        purpose: KeyPurpose,
        owner: &str,
    ) -> Result<Option<WrappedKey>, StoreError> {
        let row =
            sqlx::query("SELECT * FROM wrapped_keys WHERE purpose = ? AND owner = ? AND retired_at IS NULL")
                .bind(purpose.name())
                .bind(owner)
                .fetch_optional(&self.readers)
                .await
                .map_err(away)?;
        row.as_ref().map(read).transpose()
    }

    pub(super) async fn wrapped_init(&self, key: &WrappedKey) -> Result<WrappedKey, StoreError> {
        let mut tx = self.write().await?;
        if key.purpose == KeyPurpose::TenantKek {
            tenant_must_exist(&mut tx, &key.owner).await?;
        }
        insert(&mut tx, INSERT_UNLESS_THERE, key).await?;
        let row =
            sqlx::query("SELECT * FROM wrapped_keys WHERE purpose = ? AND owner = ? AND retired_at IS NULL")
                .bind(key.purpose.name())
                .bind(&key.owner)
                .fetch_one(&mut *tx)
                .await
                .map_err(away)?;
        tx.commit().await.map_err(away)?;
        read(&row)
    }

    pub(super) async fn wrapped_replace(
        &self,
        key: &WrappedKey,
        audit: AuditDraft,
    ) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        if key.purpose == KeyPurpose::TenantKek {
            tenant_must_exist(&mut tx, &key.owner).await?;
        }
        sqlx::query(
            "UPDATE wrapped_keys SET retired_at = ? WHERE purpose = ? AND owner = ? AND retired_at IS NULL",
        )
        .bind(key.created_at.millis())
        .bind(key.purpose.name())
        .bind(&key.owner)
        .execute(&mut *tx)
        .await
        .map_err(away)?;
        insert(&mut tx, INSERT, key).await?;
        self.commit(tx, audit).await
    }

    pub(super) async fn wrapped_after(
        &self,
        after: i64,
        limit: u32,
    ) -> Result<Vec<(i64, WrappedKey)>, StoreError> {
        let rows = sqlx::query("SELECT * FROM wrapped_keys WHERE n > ? ORDER BY n LIMIT ?")
            .bind(after)
            .bind(limit)
            .fetch_all(&self.readers)
            .await
            .map_err(away)?;
        rows.iter().map(|row| Ok((Reader { table: "wrapped_keys", row }.get("n")?, read(row)?))).collect()
    }

    pub(super) async fn wrapped_rewrap(&self, key: &WrappedKey, old: &[u8]) -> Result<bool, StoreError> {
        let mut tx = self.write().await?;
        let done = sqlx::query(
            "UPDATE wrapped_keys SET root = ?, wrapped = ?
             WHERE purpose = ? AND owner = ? AND id = ? AND wrapped = ?",
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
        tx.commit().await.map_err(away)?;
        Ok(done.rows_affected() == 1)
    }

    pub(super) async fn keks_destroy(&self, before: Timestamp, now: Timestamp) -> Result<u64, StoreError> {
        let mut tx = self.write().await?;
        let gone = sqlx::query(
            "DELETE FROM wrapped_keys WHERE purpose = 'tenant-kek' AND retired_at < ?
             AND NOT EXISTS (SELECT 1 FROM credential_versions v WHERE v.kek_id = wrapped_keys.id)
             RETURNING owner, id",
        )
        .bind(before.millis())
        .fetch_all(&mut *tx)
        .await
        .map_err(away)?;
        for row in &gone {
            let row = Reader { table: "wrapped_keys", row };
            let draft = AuditDraft {
                at: now,
                actor: "system".to_owned(),
                action: "kek.destroyed",
                tenant: Some(row.get("owner")?),
                target: row.get("id")?,
                source: "wraps nothing any more".to_owned(),
                detail: serde_json::json!({}),
            };
            append(self.chain()?, &mut tx, draft).await?;
        }
        tx.commit().await.map_err(away)?;
        Ok(gone.len() as u64)
    }

    pub(super) async fn kek_used(&self) -> Result<Vec<KekUse>, StoreError> {
        let rows = sqlx::query(
            "SELECT owner, id, root, retired_at IS NOT NULL AS retired,
             (SELECT count(*) FROM credential_versions v WHERE v.kek_id = k.id) AS versions
             FROM wrapped_keys k WHERE purpose = 'tenant-kek' ORDER BY n",
        )
        .fetch_all(&self.reports)
        .await
        .map_err(away)?;
        let read = |row| {
            let row = Reader { table: "wrapped_keys", row };
            Ok(KekUse {
                tenant: row.parse("owner")?,
                kek: row.get("id")?,
                root: row.get("root")?,
                retired: row.get("retired")?,
                versions: row.count("versions")?,
            })
        };
        rows.iter().map(read).collect()
    }

    pub(super) async fn versions_lost(&self) -> Result<u64, StoreError> {
        let row = sqlx::query(
            "SELECT count(*) AS lost FROM credential_versions v
             LEFT JOIN credentials c ON c.id = v.credential_id
             LEFT JOIN wrapped_keys k
             ON k.purpose = 'tenant-kek' AND k.owner = c.tenant_id AND k.id = v.kek_id
             WHERE k.id IS NULL",
        )
        .fetch_one(&self.reports)
        .await
        .map_err(away)?;
        Reader { table: "credential_versions", row: &row }.count("lost")
    }

    pub(super) async fn versions_misplaced(
        &self,
        after: Option<(&CredentialId, u32)>,
        limit: u32,
    ) -> Result<Vec<VersionToMove>, StoreError> {
        let (id, version) = after.map_or(("", 0), |(id, version)| (id.as_str(), version));
        let rows = sqlx::query(
            "SELECT k.*, v.credential_id, v.version, v.origin, v.wrapped_dek, v.envelope,
             c.tenant_id, c.provider
             FROM credential_versions v
             JOIN credentials c ON c.id = v.credential_id
             JOIN wrapped_keys k ON k.purpose = 'tenant-kek' AND k.owner = c.tenant_id AND k.id = v.kek_id
             WHERE (v.credential_id, v.version) > (?, ?) AND k.retired_at IS NOT NULL
             ORDER BY v.credential_id, v.version LIMIT ?",
        )
        .bind(id)
        .bind(version)
        .bind(limit)
        .fetch_all(&self.reports)
        .await
        .map_err(away)?;
        rows.iter().map(read_misplaced).collect()
    }

    pub(super) async fn versions_move(&self, moved: &[MovedVersion]) -> Result<u64, StoreError> {
        let mut tx = self.write().await?;
        let mut count = 0;
        for one in moved {
            let done = sqlx::query(
                "UPDATE credential_versions SET wrapped_dek = ?, kek_id = ?
                 WHERE credential_id = ? AND version = ? AND wrapped_dek = ?",
            )
            .bind(&one.sealed.wrapped_dek)
            .bind(one.sealed.kek_id.as_str())
            .bind(one.credential.as_str())
            .bind(one.version)
            .bind(&one.old_wrapped_dek)
            .execute(&mut *tx)
            .await
            .map_err(away)?;
            count += done.rows_affected();
            sqlx::query(
                "UPDATE credentials SET kek_id = ?1 WHERE id = ?2 AND version = ?3
                 AND EXISTS (SELECT 1 FROM credential_versions v WHERE v.credential_id = credentials.id
                             AND v.version = credentials.version AND v.kek_id = ?1)",
            )
            .bind(one.sealed.kek_id.as_str())
            .bind(one.credential.as_str())
            .bind(one.version)
            .execute(&mut *tx)
            .await
            .map_err(away)?;
        }
        tx.commit().await.map_err(away)?;
        Ok(count)
    }
}

pub(super) const INSERT: &str =
    "INSERT INTO wrapped_keys (purpose, owner, id, root, wrapped, created_at, retired_at)
    VALUES (?, ?, ?, ?, ?, ?, ?)";
const INSERT_UNLESS_THERE: &str =
    "INSERT INTO wrapped_keys (purpose, owner, id, root, wrapped, created_at, retired_at)
    VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING";

pub(super) async fn insert(
    tx: &mut Transaction<'_, Sqlite>,
    statement: &'static str,
    key: &WrappedKey,
) -> Result<(), StoreError> {
    sqlx::query(statement)
        .bind(key.purpose.name())
        .bind(&key.owner)
        .bind(&key.id)
        .bind(&key.root)
        .bind(&key.wrapped)
        .bind(key.created_at.millis())
        .bind(key.retired_at.map(Timestamp::millis))
        .execute(&mut **tx)
        .await
        .map(drop)
        .map_err(away)
}

/// As for credentials: what is added to a tenant that is gone would belong to whoever gets the id next.
async fn tenant_must_exist(tx: &mut Transaction<'_, Sqlite>, id: &str) -> Result<(), StoreError> {
    let id = id.parse().map_err(|_| StoreError::NotFound("tenant"))?;
    super::tenant::must_exist(tx, &id).await
}

/// The key of a row that has all columns of the table.
pub(super) fn read(row: &SqliteRow) -> Result<WrappedKey, StoreError> {
    let row = Reader { table: "wrapped_keys", row };
    Ok(WrappedKey {
        purpose: match row.get("purpose")? {
            "tenant-kek" => KeyPurpose::TenantKek,
            "service" => KeyPurpose::Service,
            "sealing" => KeyPurpose::Sealing,
            _ => return Err(row.bad("purpose")),
        },
        owner: row.get("owner")?,
        id: row.get("id")?,
        root: row.get("root")?,
        wrapped: row.get("wrapped")?,
        created_at: row.time("created_at")?,
        retired_at: row.maybe_time("retired_at")?,
    })
}

fn read_misplaced(row: &SqliteRow) -> Result<VersionToMove, StoreError> {
    let kek = read(row)?;
    let row = Reader { table: "credential_versions", row };
    Ok(VersionToMove {
        tenant: row.parse("tenant_id")?,
        provider: row.parse("provider")?,
        credential: row.parse("credential_id")?,
        version: row.get("version")?,
        origin: row.get("origin")?,
        sealed: Sealed {
            envelope: row.get("envelope")?,
            wrapped_dek: row.get("wrapped_dek")?,
            kek_id: KekId::new(kek.id.clone()),
        },
        kek,
    })
}
