//! Audit rows.

use keyferry_core::{
    audit::{AuditHead, AuditRow},
    port::store::StoreError,
};

use super::{Columns, Reader};

/// Somebody removed the end of the log: nothing is written behind the gap.
pub(crate) const HEADLESS: StoreError =
    StoreError::Inconsistent { table: "audit_head", column: "seq", row: String::new() };

/// The statement that adds a row, with its values.
macro_rules! insert_audit {
    ($row:expr) => {
        sqlx::query(
            "INSERT INTO audit (seq, at, actor, action, tenant_id, target, source, detail, prev_hash,
             hash, mac) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        )
        .bind($row.seq)
        .bind($row.at.millis())
        .bind($row.actor)
        .bind($row.action)
        .bind($row.tenant)
        .bind($row.target)
        .bind($row.source)
        .bind($row.detail)
        .bind($row.prev_hash)
        .bind($row.hash)
        .bind($row.mac)
    };
}
pub(crate) use insert_audit;

/// The statement that writes the head, with its values.
macro_rules! put_head {
    ($head:expr) => {
        sqlx::query(
            "INSERT INTO audit_head (one, seq, hash, mac) VALUES (1, $1, $2, $3)
             ON CONFLICT (one) DO UPDATE SET seq = $1, hash = $2, mac = $3",
        )
        .bind($head.seq)
        .bind(&$head.hash)
        .bind(&$head.mac)
    };
}
pub(crate) use put_head;

/// The statement that lists rows, with its values.
macro_rules! list_audit {
    ($filter:expr, $page:expr) => {
        sqlx::query(
            "SELECT * FROM audit WHERE (CAST($1 AS TEXT) IS NULL OR tenant_id = $1)
             AND at >= $2 AND at < $3
             AND (CAST($4 AS TEXT) IS NULL OR action = $4) AND (CAST($5 AS TEXT) IS NULL OR actor = $5)
             AND seq < $6 ORDER BY seq DESC LIMIT $7",
        )
        .bind($filter.tenant.as_ref().map(TenantId::as_str))
        .bind($filter.from.map_or(i64::MIN, Timestamp::millis))
        .bind($filter.to.map_or(i64::MAX, Timestamp::millis))
        .bind($filter.action.as_deref())
        .bind($filter.actor.as_deref())
        .bind($crate::rows::cursor($page)?)
        .bind($crate::rows::one_more($page))
    };
}
pub(crate) use list_audit;

pub(crate) fn read_head<R: Columns>(row: &R) -> Result<AuditHead, StoreError> {
    let row = Reader { table: "audit_head", row };
    Ok(AuditHead { seq: row.get("seq")?, hash: row.get("hash")?, mac: row.get("mac")? })
}

pub(crate) fn read<R: Columns>(row: &R) -> Result<AuditRow, StoreError> {
    let row = Reader { table: "audit", row };
    Ok(AuditRow {
        seq: row.get("seq")?,
        at: row.time("at")?,
        actor: row.get("actor")?,
        action: row.get("action")?,
        tenant: row.get("tenant_id")?,
        target: row.get("target")?,
        source: row.get("source")?,
        detail: row.get("detail")?,
        prev_hash: row.get("prev_hash")?,
        hash: row.get("hash")?,
        mac: row.get("mac")?,
    })
}
