//! Credentials and their versions.

use keyferry_core::{
    audit::AuditDraft,
    credential::{CredentialSummary, SealedCredential, State, TestResult},
    id::{CredentialId, TenantId},
    port::store::{NewVersion, Page, PageRequest, StoreError},
    time::Timestamp,
    wrapped::WrappedKey,
};
use keyferry_envelope::{KekId, KeyPurpose, Sealed};
use sqlx::{Sqlite, Transaction, sqlite::SqliteRow};

use super::{
    SqliteStore, away, conflict,
    rows::{Reader, cursor, paged},
    tenant::must_exist,
};

impl SqliteStore {
    pub(super) async fn credential_create(
        &self,
        credential: &SealedCredential,
        audit: AuditDraft,
    ) -> Result<(), StoreError> {
        let summary = &credential.summary;
        let mut tx = self.write().await?;
        must_exist(&mut tx, &summary.tenant).await?;
        sqlx::query(
            "INSERT INTO credentials (id, tenant_id, provider, label, version, state, last4,
             fingerprint, kek_id, created_at, created_by, test_status)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(summary.id.as_str())
        .bind(summary.tenant.as_str())
        .bind(summary.provider.as_str())
        .bind(&summary.label)
        .bind(summary.version)
        .bind(summary.state.as_str())
        .bind(&summary.last4)
        .bind(&summary.fingerprint)
        .bind(&summary.kek_id)
        .bind(summary.created_at.millis())
        .bind(&summary.created_by)
        .bind(summary.test.status.as_str())
        .execute(&mut *tx)
        .await
        .map_err(conflict(
            "There is an active key for this provider and label already. Rotate it, or revoke it first.",
        ))?;
        insert_version(&mut tx, &summary.id, summary.version, &credential.origin, &credential.sealed).await?;
        self.commit(tx, audit).await
    }

    pub(super) async fn credential_list(
        &self,
        tenant: &TenantId,
        page: &PageRequest,
    ) -> Result<Page<CredentialSummary>, StoreError> {
        let rows =
            sqlx::query("SELECT * FROM credentials WHERE tenant_id = ? AND n < ? ORDER BY n DESC LIMIT ?")
                .bind(tenant.as_str())
                .bind(cursor(page, i64::MAX)?)
                .bind(i64::from(page.limit) + 1)
                .fetch_all(&self.readers)
                .await
                .map_err(away)?;
        let rows = rows.iter().map(|row| Ok((numbered(row)?, read(row)?)));
        Ok(paged(rows.collect::<Result<_, StoreError>>()?, page.limit))
    }

    pub(super) async fn credential_get(
        &self,
        tenant: &TenantId,
        id: &CredentialId,
    ) -> Result<Option<CredentialSummary>, StoreError> {
        let row = sqlx::query("SELECT * FROM credentials WHERE tenant_id = ? AND id = ?")
            .bind(tenant.as_str())
            .bind(id.as_str())
            .fetch_optional(&self.readers)
            .await
            .map_err(away)?;
        row.as_ref().map(read).transpose()
    }

    pub(super) async fn credential_sealed(
        &self,
        tenant: &TenantId,
    ) -> Result<Vec<SealedCredential>, StoreError> {
        let rows = sqlx::query(
            "SELECT c.*, v.origin, v.wrapped_dek, v.envelope, v.kek_id AS wrapped_by,
             k.root AS kek_root, k.wrapped AS kek_wrapped, k.created_at AS kek_created_at,
             k.retired_at AS kek_retired_at
             FROM credentials c JOIN credential_versions v
             ON v.credential_id = c.id AND v.version = c.version
             LEFT JOIN wrapped_keys k
             ON k.purpose = 'tenant-kek' AND k.owner = c.tenant_id AND k.id = v.kek_id
             WHERE c.tenant_id = ? AND c.state = 'active' ORDER BY c.n",
        )
        .bind(tenant.as_str())
        .fetch_all(&self.readers)
        .await
        .map_err(away)?;
        rows.iter().map(read_sealed).collect()
    }

    pub(super) async fn credential_rotate(
        &self,
        tenant: &TenantId,
        id: &CredentialId,
        version: NewVersion<'_>,
        audit: AuditDraft,
    ) -> Result<CredentialSummary, StoreError> {
        let mut tx = self.write().await?;
        let row = sqlx::query(
            "UPDATE credentials SET version = ?, last4 = ?, fingerprint = ?, kek_id = ?,
             test_status = 'untested', test_at = NULL
             WHERE tenant_id = ? AND id = ? AND state = 'active' AND version = ? RETURNING *",
        )
        .bind(version.version)
        .bind(version.last4)
        .bind(version.fingerprint)
        .bind(version.sealed.kek_id.as_str())
        .bind(tenant.as_str())
        .bind(id.as_str())
        .bind(version.version - 1)
        .fetch_optional(&mut *tx)
        .await
        .map_err(away)?
        .ok_or(StoreError::Conflict("Another rotation or a revocation came between. Read it again."))?;
        match version.keep_old_until {
            None => sqlx::query("DELETE FROM credential_versions WHERE credential_id = ?").bind(id.as_str()),
            Some(until) => sqlx::query(
                "UPDATE credential_versions SET destroy_at = min(coalesce(destroy_at, ?1), ?1)
                 WHERE credential_id = ?2",
            )
            .bind(until.millis())
            .bind(id.as_str()),
        }
        .execute(&mut *tx)
        .await
        .map_err(away)?;
        insert_version(&mut tx, id, version.version, version.origin, version.sealed).await?;
        let summary = read(&row)?;
        self.commit(tx, audit).await?;
        Ok(summary)
    }

    pub(super) async fn credential_revoke(
        &self,
        tenant: &TenantId,
        id: &CredentialId,
        audit: AuditDraft,
    ) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        let done = sqlx::query(
            "UPDATE credentials SET state = 'revoked'
             WHERE tenant_id = ? AND id = ? AND state = 'active'",
        )
        .bind(tenant.as_str())
        .bind(id.as_str())
        .execute(&mut *tx)
        .await
        .map_err(away)?;
        if done.rows_affected() == 0 {
            return Err(StoreError::NotFound("credential"));
        }
        sqlx::query("DELETE FROM credential_versions WHERE credential_id = ?")
            .bind(id.as_str())
            .execute(&mut *tx)
            .await
            .map_err(away)?;
        self.commit(tx, audit).await
    }

    pub(super) async fn credential_tested(
        &self,
        tenant: &TenantId,
        id: &CredentialId,
        test: TestResult,
        audit: AuditDraft,
    ) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        sqlx::query("UPDATE credentials SET test_status = ?, test_at = ? WHERE tenant_id = ? AND id = ?")
            .bind(test.status.as_str())
            .bind(test.at.map(Timestamp::millis))
            .bind(tenant.as_str())
            .bind(id.as_str())
            .execute(&mut *tx)
            .await
            .map_err(away)?;
        self.commit(tx, audit).await
    }

    pub(super) async fn credential_destroy_overlapped(&self, now: Timestamp) -> Result<u64, StoreError> {
        // Asked first, outside of a transaction: nearly always there is nothing to do.
        let due = sqlx::query("SELECT 1 FROM credential_versions WHERE destroy_at <= ? LIMIT 1")
            .bind(now.millis())
            .fetch_optional(&self.readers)
            .await
            .map_err(away)?;
        if due.is_none() {
            return Ok(0);
        }
        let mut tx = self.write().await?;
        let gone = sqlx::query(
            "DELETE FROM credential_versions WHERE destroy_at <= ? RETURNING credential_id, version,
             (SELECT tenant_id FROM credentials WHERE id = credential_id) AS tenant_id",
        )
        .bind(now.millis())
        .fetch_all(&mut *tx)
        .await
        .map_err(away)?;
        for row in &gone {
            let row = Reader { table: "credential_versions", row };
            let draft = AuditDraft {
                at: now,
                actor: "system".to_owned(),
                action: "credential.version_destroyed",
                tenant: row.get("tenant_id")?,
                target: row.get("credential_id")?,
                source: "overlap ended".to_owned(),
                detail: serde_json::json!({"version": row.get::<u32>("version")?}),
            };
            super::audit::append(self.chain()?, &mut tx, draft).await?;
        }
        tx.commit().await.map_err(away)?;
        Ok(gone.len() as u64)
    }
}

/// Adds a version, whose KEK must be there: it may have been destroyed since the key was sealed.
async fn insert_version(
    tx: &mut Transaction<'_, Sqlite>,
    id: &CredentialId,
    version: u32,
    origin: &str,
    sealed: &Sealed,
) -> Result<(), StoreError> {
    let done = sqlx::query(
        "INSERT INTO credential_versions (credential_id, version, origin, kek_id, wrapped_dek, envelope)
         SELECT ?1, ?2, ?3, id, ?5, ?6 FROM wrapped_keys
         WHERE purpose = 'tenant-kek' AND id = ?4
         AND owner = (SELECT tenant_id FROM credentials WHERE id = ?1)",
    )
    .bind(id.as_str())
    .bind(version)
    .bind(origin)
    .bind(sealed.kek_id.as_str())
    .bind(&sealed.wrapped_dek)
    .bind(&sealed.envelope)
    .execute(&mut **tx)
    .await
    .map_err(away)?;
    if done.rows_affected() == 0 {
        return Err(StoreError::Conflict("The tenant's keys were replaced meanwhile. Send it again."));
    }
    Ok(())
}

fn numbered(row: &SqliteRow) -> Result<i64, StoreError> {
    Reader { table: "credentials", row }.get("n")
}

fn read(row: &SqliteRow) -> Result<CredentialSummary, StoreError> {
    let row = Reader { table: "credentials", row };
    Ok(CredentialSummary {
        id: row.parse("id")?,
        tenant: row.parse("tenant_id")?,
        provider: row.parse("provider")?,
        label: row.get("label")?,
        version: row.get("version")?,
        state: match row.get("state")? {
            "active" => State::Active,
            "revoked" => State::Revoked,
            _ => return Err(row.bad("state")),
        },
        last4: row.get("last4")?,
        fingerprint: row.get("fingerprint")?,
        kek_id: row.get("kek_id")?,
        created_at: row.time("created_at")?,
        created_by: row.get("created_by")?,
        last_used_at: row.maybe_time("last_used_at")?,
        test: TestResult { status: row.parse("test_status")?, at: row.maybe_time("test_at")? },
    })
}

fn read_sealed(row: &SqliteRow) -> Result<SealedCredential, StoreError> {
    let summary = read(row)?;
    let row = Reader { table: "credential_versions", row };
    let kek_id: String = row.get("wrapped_by")?;
    Ok(SealedCredential {
        origin: row.get("origin")?,
        sealed: Sealed {
            envelope: row.get("envelope")?,
            wrapped_dek: row.get("wrapped_dek")?,
            kek_id: KekId::new(kek_id.clone()),
        },
        kek: read_kek(&row, &summary.tenant, kek_id)?,
        summary,
    })
}

fn read_kek(row: &Reader<'_>, tenant: &TenantId, id: String) -> Result<Option<WrappedKey>, StoreError> {
    let Some(root) = row.get("kek_root")? else { return Ok(None) };
    Ok(Some(WrappedKey {
        purpose: KeyPurpose::TenantKek,
        owner: tenant.as_str().to_owned(),
        id,
        root,
        wrapped: row.get("kek_wrapped")?,
        created_at: row.time("kek_created_at")?,
        retired_at: row.maybe_time("kek_retired_at")?,
    }))
}
