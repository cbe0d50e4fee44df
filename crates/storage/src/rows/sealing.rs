//! Sealing keys.

use keyferry_core::{audit::AuditDraft, port::store::StoreError, sealing::StoredSealingKey, time::Timestamp};

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
