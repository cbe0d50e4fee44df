//! The audit log.

use keyferry_core::{
    audit::{AuditChain, AuditDraft, AuditHead, AuditRow},
    id::TenantId,
    port::store::{AuditFilter, Page, PageRequest, StoreError},
    time::Timestamp,
};
use sqlx::{Sqlite, Transaction, sqlite::SqliteRow};

use super::{
    SqliteStore, away,
    rows::{Reader, cursor, paged},
};

/// Puts a draft at the end of the chain, within the transaction of the change it describes.
pub(super) async fn append(
    chain: &AuditChain,
    tx: &mut Transaction<'_, Sqlite>,
    draft: AuditDraft,
) -> Result<(), StoreError> {
    let head = sqlx::query("SELECT * FROM audit_head").fetch_optional(&mut **tx).await.map_err(away)?;
    let head = read_head(head.as_ref().ok_or(HEADLESS)?)?;
    let (row, head) = chain.extend(&head, draft);
    sqlx::query(
        "INSERT INTO audit (seq, at, actor, action, tenant_id, target, source, detail, prev_hash,
         hash, mac) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(row.seq)
    .bind(row.at.millis())
    .bind(row.actor)
    .bind(row.action)
    .bind(row.tenant)
    .bind(row.target)
    .bind(row.source)
    .bind(row.detail)
    .bind(row.prev_hash)
    .bind(row.hash)
    .bind(row.mac)
    .execute(&mut **tx)
    .await
    .map_err(away)?;
    write_head(tx, head).await
}

async fn write_head(tx: &mut Transaction<'_, Sqlite>, head: AuditHead) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO audit_head (one, seq, hash, mac) VALUES (1, ?1, ?2, ?3)
         ON CONFLICT (one) DO UPDATE SET seq = ?1, hash = ?2, mac = ?3",
    )
    .bind(head.seq)
    .bind(head.hash)
    .bind(head.mac)
    .execute(&mut **tx)
    .await
    .map(drop)
    .map_err(away)
}

/// Somebody removed the end of the log: nothing is written behind the gap.
const HEADLESS: StoreError =
    StoreError::Inconsistent { table: "audit_head", column: "seq", row: String::new() };

impl SqliteStore {
    /// Begins the log of a new database. An old one has its head, or lost it, and is left as it is.
    pub(super) async fn audit_begin(&self, chain: AuditChain) -> Result<(), StoreError> {
        let chain = self.chain.get_or_init(|| chain);
        let mut tx = self.write().await?;
        let new = sqlx::query(
            "INSERT INTO settings (name, value) VALUES ('audit_begun', x'01') ON CONFLICT DO NOTHING",
        )
        .execute(&mut *tx)
        .await
        .map_err(away)?;
        if new.rows_affected() == 1 {
            write_head(&mut tx, chain.begin()).await?;
        }
        tx.commit().await.map_err(away)
    }

    pub(super) async fn audit_list(
        &self,
        filter: &AuditFilter,
        page: &PageRequest,
    ) -> Result<Page<AuditRow>, StoreError> {
        let rows = sqlx::query(
            "SELECT * FROM audit WHERE (?1 IS NULL OR tenant_id = ?1) AND at >= ?2 AND at < ?3
             AND (?4 IS NULL OR action = ?4) AND (?5 IS NULL OR actor = ?5) AND seq < ?6
             ORDER BY seq DESC LIMIT ?7",
        )
        .bind(filter.tenant.as_ref().map(TenantId::as_str))
        .bind(filter.from.map_or(i64::MIN, Timestamp::millis))
        .bind(filter.to.map_or(i64::MAX, Timestamp::millis))
        .bind(filter.action.as_deref())
        .bind(filter.actor.as_deref())
        .bind(cursor(page, i64::MAX)?)
        .bind(i64::from(page.limit) + 1)
        .fetch_all(&self.reports)
        .await
        .map_err(away)?;
        let rows = rows.iter().map(|row| read(row).map(|row| (row.seq, row)));
        Ok(paged(rows.collect::<Result<_, _>>()?, page.limit))
    }

    pub(super) async fn audit_from(&self, seq: i64, limit: u32) -> Result<Vec<AuditRow>, StoreError> {
        let rows = sqlx::query("SELECT * FROM audit WHERE seq > ? ORDER BY seq LIMIT ?")
            .bind(seq)
            .bind(limit)
            .fetch_all(&self.readers)
            .await
            .map_err(away)?;
        rows.iter().map(read).collect()
    }

    pub(super) async fn audit_end(&self) -> Result<Option<AuditHead>, StoreError> {
        let row =
            sqlx::query("SELECT * FROM audit_head").fetch_optional(&self.readers).await.map_err(away)?;
        row.as_ref().map(read_head).transpose()
    }
}

fn read_head(row: &SqliteRow) -> Result<AuditHead, StoreError> {
    let row = Reader { table: "audit_head", row };
    Ok(AuditHead { seq: row.get("seq")?, hash: row.get("hash")?, mac: row.get("mac")? })
}

fn read(row: &SqliteRow) -> Result<AuditRow, StoreError> {
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
