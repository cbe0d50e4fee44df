//! Copies a whole store from SQLite to PostgreSQL, in one transaction on each side.
//!
//! Rows keep their numbers, so cursors, the order of lists and the audit chain go on. The gateway must
//! not run meanwhile: what it wrote into the old store would be missing in the new one.

mod tables;

use futures_util::TryStreamExt;
use keyferry_core::port::store::StoreError;
use sqlx::{AssertSqlSafe, Executor, PgConnection, Row, SqliteConnection};

use self::tables::{Batch, TABLES, Table};
use crate::{errors::away, postgres::PostgresStore, rows::audit::read_head, sqlite::SqliteStore};

/// Rows that are sent at once.
const BATCH: usize = 500;

/// Why nothing was copied.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// One of the two stores.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is something in the new store, which would be mixed with what comes.
    #[error("the new store is not empty: there are rows in table {0}")]
    NotEmpty(&'static str),
    /// What arrived is not what was sent.
    #[error("table {0} did not arrive whole")]
    Incomplete(&'static str),
}

/// Copies everything into an empty store, and tells of each table how many rows have arrived. Either all
/// of it is there afterwards, or nothing.
pub async fn copy(
    from: &SqliteStore,
    to: &PostgresStore,
    mut progress: impl FnMut(&str, u64),
) -> Result<(), CopyError> {
    let mut source = from.snapshot().await?;
    let mut target = to.alone().await?;
    lock(&mut target).await?;
    for table in &TABLES {
        let sent = copy_table(table, &mut source, &mut target, &mut progress).await?;
        if count(&mut target, table).await? != sent {
            return Err(CopyError::Incomplete(table.name));
        }
    }
    let head = "SELECT * FROM audit_head";
    let old = sqlx::query(head).fetch_optional(&mut *source).await.map_err(away)?;
    let new = sqlx::query(head).fetch_optional(&mut *target).await.map_err(away)?;
    if old.as_ref().map(read_head).transpose()? != new.as_ref().map(read_head).transpose()? {
        return Err(CopyError::Incomplete("audit_head"));
    }
    target.commit().await.map_err(away)?;
    Ok(())
}

/// Keeps everybody else out of the new store, and makes sure that it is new.
async fn lock(target: &mut PgConnection) -> Result<(), CopyError> {
    let names: Vec<_> = TABLES.iter().map(|table| table.name).collect();
    let lock = AssertSqlSafe(format!("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE", names.join(", ")));
    target.execute(lock).await.map_err(away)?;
    for table in &TABLES {
        if count(target, table).await? != 0 {
            return Err(CopyError::NotEmpty(table.name));
        }
    }
    Ok(())
}

async fn copy_table(
    table: &Table,
    source: &mut SqliteConnection,
    target: &mut PgConnection,
    progress: &mut impl FnMut(&str, u64),
) -> Result<u64, CopyError> {
    let mut sent = 0;
    progress(table.name, sent);
    {
        let mut rows = sqlx::query(table.select()).fetch(&mut *source);
        let mut batch = Batch::of(table);
        loop {
            let row = rows.try_next().await.map_err(away)?;
            let ended = row.is_none();
            if let Some(row) = row {
                batch.push(&row)?;
            }
            if batch.len() == BATCH || (ended && batch.len() > 0) {
                sent += batch.len() as u64;
                batch.insert(target).await?;
                progress(table.name, sent);
                batch = Batch::of(table);
            }
            if ended {
                break;
            }
        }
    }
    if table.is_numbered() {
        go_on_behind(table, source, target).await?;
    }
    Ok(sent)
}

/// Numbers are given out once: those of rows that are gone are not given out again either.
async fn go_on_behind(
    table: &Table,
    source: &mut SqliteConnection,
    target: &mut PgConnection,
) -> Result<(), CopyError> {
    let last = sqlx::query("SELECT seq FROM sqlite_sequence WHERE name = $1").bind(table.name);
    let Some(last) = last.fetch_optional(source).await.map_err(away)? else { return Ok(()) };
    let last: i64 = last.try_get(0).map_err(away)?;
    if last > 0 {
        let advance = sqlx::query("SELECT setval(pg_get_serial_sequence($1, 'n'), $2)");
        advance.bind(table.name).bind(last).execute(target).await.map_err(away)?;
    }
    Ok(())
}

async fn count(target: &mut PgConnection, table: &Table) -> Result<u64, StoreError> {
    let count = AssertSqlSafe(format!("SELECT count(*) FROM {}", table.name));
    let row = sqlx::query(count).fetch_one(target).await.map_err(away)?;
    Ok(row.try_get::<i64, _>(0).map_err(away)? as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::Reader;

    #[tokio::test]
    async fn every_table_and_every_column_is_copied() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = SqliteStore::open(&folder.path().join("test.db")).await.expect("opens");
        let columns = sqlx::query(
            "SELECT t.name AS tab, c.name AS col FROM sqlite_schema t JOIN pragma_table_info(t.name) c
             WHERE t.type = 'table' AND t.name NOT IN ('_sqlx_migrations', 'sqlite_sequence')",
        );
        let rows = columns.fetch_all(&mut *store.snapshot().await.expect("a snapshot")).await.expect("read");
        let read = |row| {
            let row = Reader { table: "sqlite_schema", row };
            (row.get::<String>("tab").expect("text"), row.get::<String>("col").expect("text"))
        };
        let mut there: Vec<_> = rows.iter().map(read).collect();
        let mut copied: Vec<_> = TABLES.iter().flat_map(Table::places).collect();
        there.sort();
        copied.sort();
        assert_eq!(copied, there);
    }
}
