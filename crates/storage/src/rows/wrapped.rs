//! Keys under a root.

use keyferry_core::{
    audit::AuditDraft,
    credential::VersionToMove,
    port::store::StoreError,
    time::Timestamp,
    wrapped::{KekUse, WrappedKey},
};
use keyferry_envelope::{KekId, KeyPurpose, Sealed};

use super::{Columns, Reader};

/// The statement that adds a key, with its values; `$or` is what to do if there is one.
macro_rules! insert_wrapped {
    ($key:expr, $or:literal) => {
        sqlx::query(concat!(
            "INSERT INTO wrapped_keys (purpose, owner, id, root, wrapped, created_at, retired_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7) ",
            $or
        ))
        .bind($key.purpose.name())
        .bind(&$key.owner)
        .bind(&$key.id)
        .bind(&$key.root)
        .bind(&$key.wrapped)
        .bind($key.created_at.millis())
        .bind($key.retired_at.map(Timestamp::millis))
    };
}
pub(crate) use insert_wrapped;

/// How many versions each tenant's KEK wraps.
pub(crate) const USES: &str = "SELECT owner, id, root, retired_at IS NOT NULL AS retired,
    (SELECT count(*) FROM credential_versions v WHERE v.kek_id = k.id) AS versions
    FROM wrapped_keys k WHERE purpose = 'tenant-kek' ORDER BY n";
/// How many versions lie under a KEK that is gone.
pub(crate) const LOST: &str = "SELECT count(*) AS lost FROM credential_versions v
    LEFT JOIN credentials c ON c.id = v.credential_id
    LEFT JOIN wrapped_keys k ON k.purpose = 'tenant-kek' AND k.owner = c.tenant_id AND k.id = v.kek_id
    WHERE k.id IS NULL";
/// Versions under a retired KEK.
pub(crate) const MISPLACED: &str =
    "SELECT k.*, v.credential_id, v.version, v.origin, v.wrapped_dek, v.envelope, c.tenant_id, c.provider
    FROM credential_versions v
    JOIN credentials c ON c.id = v.credential_id
    JOIN wrapped_keys k ON k.purpose = 'tenant-kek' AND k.owner = c.tenant_id AND k.id = v.kek_id
    WHERE (v.credential_id, v.version) > ($1, $2) AND k.retired_at IS NOT NULL
    ORDER BY v.credential_id, v.version LIMIT $3";
/// Keeps the KEK that the summary names right after a version was moved.
pub(crate) const NAME_KEK: &str = "UPDATE credentials SET kek_id = $1 WHERE id = $2 AND version = $3
    AND EXISTS (SELECT 1 FROM credential_versions v WHERE v.credential_id = credentials.id
                AND v.version = credentials.version AND v.kek_id = $1)";

/// The key of a row that has all columns of the table.
pub(crate) fn read<R: Columns>(row: &R) -> Result<WrappedKey, StoreError> {
    let row = Reader { table: "wrapped_keys", row };
    Ok(WrappedKey {
        purpose: match row.get::<String>("purpose")?.as_str() {
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

pub(crate) fn read_misplaced<R: Columns>(row: &R) -> Result<VersionToMove, StoreError> {
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

pub(crate) fn read_use<R: Columns>(row: &R) -> Result<KekUse, StoreError> {
    let row = Reader { table: "wrapped_keys", row };
    Ok(KekUse {
        tenant: row.parse("owner")?,
        kek: row.get("id")?,
        root: row.get("root")?,
        retired: row.get("retired")?,
        versions: row.get("versions")?,
    })
}

/// A key with its position.
pub(crate) fn read_numbered<R: Columns>(row: &R) -> Result<(i64, WrappedKey), StoreError> {
    Ok((Reader { table: "wrapped_keys", row }.get("n")?, read(row)?))
}

/// What the log says of a KEK that wraps nothing any more.
pub(crate) fn kek_destroyed<R: Columns>(row: &R, now: Timestamp) -> Result<AuditDraft, StoreError> {
    let row = Reader { table: "wrapped_keys", row };
    Ok(AuditDraft {
        at: now,
        actor: "system".to_owned(),
        action: "kek.destroyed",
        tenant: Some(row.get("owner")?),
        target: row.get("id")?,
        source: "wraps nothing any more".to_owned(),
        detail: serde_json::json!({}),
    })
}
