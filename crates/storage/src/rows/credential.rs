//! Credentials and their versions.

use keyferry_core::{
    audit::AuditDraft,
    credential::{CredentialSummary, SealedCredential, State, TestResult},
    id::TenantId,
    port::store::StoreError,
    time::Timestamp,
    wrapped::WrappedKey,
};
use keyferry_envelope::{KekId, KeyPurpose, Sealed};

use super::{Columns, Reader};

pub(crate) const ONE_ACTIVE: &str =
    "There is an active key for this provider and label already. Rotate it, or revoke it first.";
pub(crate) const CAME_BETWEEN: &str = "Another rotation or a revocation came between. Read it again.";
pub(crate) const KEK_GONE: &str = "The tenant's keys were replaced meanwhile. Send it again.";

/// The statement that adds a credential, with its values.
macro_rules! insert_credential {
    ($summary:expr) => {
        sqlx::query(
            "INSERT INTO credentials (id, tenant_id, provider, label, version, state, last4,
             fingerprint, kek_id, created_at, created_by, test_status)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
        )
        .bind($summary.id.as_str())
        .bind($summary.tenant.as_str())
        .bind($summary.provider.as_str())
        .bind(&$summary.label)
        .bind(i64::from($summary.version))
        .bind($summary.state.as_str())
        .bind(&$summary.last4)
        .bind(&$summary.fingerprint)
        .bind(&$summary.kek_id)
        .bind($summary.created_at.millis())
        .bind(&$summary.created_by)
        .bind($summary.test.status.as_str())
    };
}
pub(crate) use insert_credential;

/// The statement that adds a version, if its KEK is there: it may have been destroyed since the key was
/// sealed.
macro_rules! insert_version {
    ($id:expr, $version:expr, $origin:expr, $sealed:expr) => {
        sqlx::query(
            "INSERT INTO credential_versions (credential_id, version, origin, kek_id, wrapped_dek, envelope)
             SELECT c.id, $2, $3, k.id, $5, $6 FROM credentials c
             JOIN wrapped_keys k ON k.purpose = 'tenant-kek' AND k.owner = c.tenant_id AND k.id = $4
             WHERE c.id = $1",
        )
        .bind($id.as_str())
        .bind(i64::from($version))
        .bind($origin)
        .bind($sealed.kek_id.as_str())
        .bind(&$sealed.wrapped_dek)
        .bind(&$sealed.envelope)
    };
}
pub(crate) use insert_version;

/// A tenant's active credentials with what opens them.
pub(crate) const SEALED: &str = "SELECT c.*, v.origin, v.wrapped_dek, v.envelope, v.kek_id AS wrapped_by,
    k.root AS kek_root, k.wrapped AS kek_wrapped, k.created_at AS kek_created_at,
    k.retired_at AS kek_retired_at
    FROM credentials c JOIN credential_versions v ON v.credential_id = c.id AND v.version = c.version
    LEFT JOIN wrapped_keys k ON k.purpose = 'tenant-kek' AND k.owner = c.tenant_id AND k.id = v.kek_id
    WHERE c.tenant_id = $1 AND c.state = 'active' ORDER BY c.n";

pub(crate) fn read<R: Columns>(row: &R) -> Result<CredentialSummary, StoreError> {
    let row = Reader { table: "credentials", row };
    Ok(CredentialSummary {
        id: row.parse("id")?,
        tenant: row.parse("tenant_id")?,
        provider: row.parse("provider")?,
        label: row.get("label")?,
        version: row.get("version")?,
        state: match row.get::<String>("state")?.as_str() {
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

pub(crate) fn read_sealed<R: Columns>(row: &R) -> Result<SealedCredential, StoreError> {
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

fn read_kek<R: Columns>(
    row: &Reader<'_, R>,
    tenant: &TenantId,
    id: String,
) -> Result<Option<WrappedKey>, StoreError> {
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

/// What the log says of a version whose overlap is over.
pub(crate) fn version_destroyed<R: Columns>(row: &R, now: Timestamp) -> Result<AuditDraft, StoreError> {
    let row = Reader { table: "credential_versions", row };
    Ok(AuditDraft {
        at: now,
        actor: "system".to_owned(),
        action: "credential.version_destroyed",
        tenant: row.get("tenant_id")?,
        target: row.get("credential_id")?,
        source: "overlap ended".to_owned(),
        detail: serde_json::json!({"version": row.get::<u32>("version")?}),
    })
}
