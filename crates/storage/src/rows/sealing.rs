//! Sealing keys.

use keyferry_core::{
    audit::AuditDraft,
    port::store::StoreError,
    sealing::{SealUse, StoredSealingKey},
    time::Timestamp,
};

use super::{Columns, Reader, wrapped};

/// All keys with their private halves, oldest first.
pub(crate) const LIST: &str = "SELECT w.*, s.kem, s.public_key, s.not_before, s.not_after FROM sealing_keys s
    JOIN wrapped_keys w ON w.purpose = 'sealing' AND w.owner = '' AND w.id = s.kid
    ORDER BY s.not_before, s.kem";

/// The statement that adds a key, with its values, unless one of its KEM begins between two times.
macro_rules! insert_sealing {
    ($key:expr, $unless_between:expr) => {
        sqlx::query(
            "INSERT INTO sealing_keys (kid, kem, public_key, not_before, not_after)
             SELECT $1, $2, $3, $4, $5
             WHERE NOT EXISTS (SELECT 1 FROM sealing_keys WHERE kem = $2
                               AND not_before > $6 AND not_before <= $7)",
        )
        .bind($key.kid())
        .bind(i64::from($key.kem))
        .bind(&$key.public_key)
        .bind($key.not_before.millis())
        .bind($key.not_after.millis())
        .bind($unless_between.map_or(i64::MAX, |(after, _)| after.millis()))
        .bind($unless_between.map_or(i64::MAX, |(_, until)| until.millis()))
    };
}
pub(crate) use insert_sealing;

/// The statement that tells whether a sealed key may be used, with its values.
macro_rules! look_at_seal {
    ($claim:expr) => {
        sqlx::query(
            "SELECT EXISTS (SELECT 1 FROM sealing_keys WHERE kid = $1) AS there,
             EXISTS (SELECT 1 FROM seal_claims WHERE key = $2 AND (owner <> $3 OR uses >= $4))
             OR $5 <= coalesce((SELECT until FROM seal_floor), -1) AS used",
        )
        .bind(&$claim.kid)
        .bind(&$claim.key[..])
        .bind(&$claim.owner[..])
        .bind(i64::from($claim.max_uses))
        .bind($claim.until.millis())
    };
}
pub(crate) use look_at_seal;

pub(crate) fn read_use<R: Columns>(row: &R) -> Result<SealUse, StoreError> {
    let row = Reader { table: "seal_claims", row };
    Ok(match (row.get("there")?, row.get("used")?) {
        (false, _) => SealUse::KeyGone,
        (true, true) => SealUse::UsedUp,
        (true, false) => SealUse::Allowed,
    })
}

pub(crate) fn read<R: Columns>(row: &R) -> Result<StoredSealingKey, StoreError> {
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

/// What the log says of a sealing key that ended.
pub(crate) fn key_destroyed(kid: String, now: Timestamp) -> AuditDraft {
    AuditDraft {
        at: now,
        actor: "system".to_owned(),
        action: "sealing_key.destroyed",
        tenant: None,
        target: kid,
        source: "its time is over".to_owned(),
        detail: serde_json::json!({}),
    }
}
