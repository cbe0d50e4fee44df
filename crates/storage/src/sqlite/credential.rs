//! Credentials and their versions.

use std::collections::BTreeSet;

use keyferry_core::{
    audit::AuditDraft,
    credential::{CredentialSummary, SealedCredential, TestResult},
    id::{CredentialId, TenantId},
    port::store::{NewVersion, Page, PageRequest, StoreError},
    time::Timestamp,
};
use keyferry_envelope::Sealed;
use sqlx::{Sqlite, Transaction};

use super::{SqliteStore, audit::append, outbox::order, tenant::must_exist};
use crate::{
    errors::{away, conflict},
    rows::{
        credential::{
            CAME_BETWEEN, KEK_GONE, ONE_ACTIVE, SEALED, insert_credential, insert_version, read, read_sealed,
            version_destroyed,
        },
        cursor, one_more, paged,
    },
};

impl SqliteStore {
    pub(crate) async fn credential_create(
        &self,
        credential: &SealedCredential,
        audit: AuditDraft,
    ) -> Result<(), StoreError> {
        let summary = &credential.summary;
        let mut tx = self.write().await?;
        must_exist(&mut tx, &summary.tenant).await?;
        insert_credential!(summary).execute(&mut *tx).await.map_err(conflict(ONE_ACTIVE))?;
        add_version(&mut tx, &summary.id, summary.version, &credential.origin, &credential.sealed).await?;
        order(&mut tx, summary.tenant.as_str()).await?;
        self.commit(tx, audit).await
    }

    pub(crate) async fn credential_list(
        &self,
        tenant: &TenantId,
        page: &PageRequest,
    ) -> Result<Page<CredentialSummary>, StoreError> {
        let rows =
            sqlx::query("SELECT * FROM credentials WHERE tenant_id = ? AND n < ? ORDER BY n DESC LIMIT ?")
                .bind(tenant.as_str())
                .bind(cursor(page)?)
                .bind(one_more(page))
                .fetch_all(&self.readers)
                .await
                .map_err(away)?;
        paged(&rows, page, "n", read)
    }

    pub(crate) async fn credential_get(
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

    pub(crate) async fn credential_sealed(
        &self,
        tenant: &TenantId,
    ) -> Result<Vec<SealedCredential>, StoreError> {
        let rows = sqlx::query(SEALED).bind(tenant.as_str()).fetch_all(&self.readers).await.map_err(away)?;
        rows.iter().map(read_sealed).collect()
    }

    pub(crate) async fn credential_rotate(
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
        .ok_or(StoreError::Conflict(CAME_BETWEEN))?;
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
        add_version(&mut tx, id, version.version, version.origin, version.sealed).await?;
        order(&mut tx, tenant.as_str()).await?;
        let summary = read(&row)?;
        self.commit(tx, audit).await?;
        self.shred(true).await;
        Ok(summary)
    }

    pub(crate) async fn credential_revoke(
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
        order(&mut tx, tenant.as_str()).await?;
        self.commit(tx, audit).await?;
        self.shred(true).await;
        Ok(())
    }

    pub(crate) async fn credential_tested(
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

    pub(crate) async fn credential_destroy_overlapped(&self, now: Timestamp) -> Result<u64, StoreError> {
        // Asked first, outside of a transaction: nearly always there is nothing to do.
        let due = sqlx::query("SELECT 1 FROM credential_versions WHERE destroy_at <= ? LIMIT 1")
            .bind(now.millis())
            .fetch_optional(&self.readers)
            .await
            .map_err(away)?;
        if due.is_none() {
            // A reader may have been in the way the last time.
            self.shred(false).await;
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
        let mut tenants = BTreeSet::new();
        for row in &gone {
            let draft = version_destroyed(row, now)?;
            tenants.extend(draft.tenant.clone());
            append(self.chain()?, &mut tx, draft).await?;
        }
        for tenant in tenants {
            order(&mut tx, &tenant).await?;
        }
        tx.commit().await.map_err(away)?;
        self.shred(!gone.is_empty()).await;
        Ok(gone.len() as u64)
    }
}

/// Adds a version, whose KEK must be there.
async fn add_version(
    tx: &mut Transaction<'_, Sqlite>,
    id: &CredentialId,
    version: u32,
    origin: &str,
    sealed: &Sealed,
) -> Result<(), StoreError> {
    let added = insert_version!(id, version, origin, sealed).execute(&mut **tx).await.map_err(away)?;
    if added.rows_affected() == 0 {
        return Err(StoreError::Conflict(KEK_GONE));
    }
    Ok(())
}
