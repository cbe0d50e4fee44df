//! The connection that writes.
//!
//! What is written for requests comes in transactions of one message or two. The pool asks a connection whether it lives,
//! when it is taken and when it comes back: two messages more. So the connection is kept here from one to the next, until
//! anybody else wants to write. Whoever wants it stands in one line. The pool is nobody else's: who took the connection from
//! it without standing there would wait for one that is kept.

use std::{
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use keyferry_core::port::store::StoreError;
use sqlx::{
    Error, SqlSafeStr, Sqlite, Transaction,
    pool::PoolConnection,
    sqlite::{SqliteArguments, SqlitePool, SqliteRow},
};
use tokio::{
    sync::{Mutex, MutexGuard, Notify},
    time::timeout,
};

use super::PATIENCE;
use crate::errors::away;

/// The pool of the one connection that writes.
pub(super) struct Writer {
    pool: SqlitePool,
    file: PathBuf,
    /// Which file that was when it was opened.
    identity: Option<(u64, u64)>,
    /// The connection, between two transactions that are sent.
    kept: Mutex<Option<PoolConnection<Sqlite>>>,
    /// How many transactions were begun.
    transactions: AtomicU32,
    told: Notify,
}

/// Transactions after which the log is copied into the database.
const MANY: u32 = 200;

impl Writer {
    pub(super) fn new(pool: SqlitePool, file: &Path) -> Self {
        Self {
            pool,
            file: file.to_owned(),
            identity: identity(file),
            kept: Mutex::default(),
            transactions: AtomicU32::new(0),
            told: Notify::new(),
        }
    }

    /// The connection, when it is free.
    pub(super) async fn acquire(&self) -> Result<PoolConnection<Sqlite>, Error> {
        self.turn(async {
            // Nobody keeps it again before this has it.
            let mut kept = self.kept.lock().await;
            drop(kept.take());
            self.pool.acquire().await
        })
        .await
    }

    /// Begins a transaction.
    pub(super) async fn begin(&self) -> Result<Transaction<'static, Sqlite>, StoreError> {
        self.in_place()?;
        self.count();
        let begun = self.turn(async {
            let mut kept = self.kept.lock().await;
            drop(kept.take());
            self.pool.begin_with("BEGIN IMMEDIATE").await
        });
        begun.await.map_err(away)
    }

    /// The connection for what is sent: one statement, or a transaction from `BEGIN` to `COMMIT`.
    pub(super) async fn send(&self) -> Result<Sending<'_>, StoreError> {
        self.in_place()?;
        self.count();
        let sending = self.turn(async {
            let mut kept = self.kept.lock().await;
            let connection = match kept.take() {
                Some(connection) => connection,
                None => Box::pin(self.pool.acquire()).await?,
            };
            Ok(Sending { connection: Some(connection), kept })
        });
        sending.await.map_err(away)
    }

    async fn turn<T>(&self, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        timeout(PATIENCE, work).await.unwrap_or(Err(Error::PoolTimedOut))
    }

    /// SQLite goes on with a file that was deleted or replaced; all of it would be gone later.
    pub(super) fn in_place(&self) -> Result<(), StoreError> {
        if identity(&self.file) == self.identity {
            return Ok(());
        }
        Err(StoreError::Away("the database file was removed or replaced".to_owned()))
    }

    /// Closes it, when it is free.
    pub(super) async fn close(&self) {
        // Nobody keeps it again before the pool is closed, which waits for it.
        let mut kept = self.kept.lock().await;
        drop(kept.take());
        self.pool.close().await;
    }

    /// Waits until many transactions were begun since the last time.
    pub(super) async fn many(&self) {
        self.told.notified().await;
    }

    /// As if there had been many: one of them was large.
    pub(super) fn much(&self) {
        self.told.notify_one();
    }

    fn count(&self) {
        if self.transactions.fetch_add(1, Ordering::Relaxed) % MANY == MANY - 1 {
            self.told.notify_one();
        }
    }
}

/// Device and inode of a file.
fn identity(path: &Path) -> Option<(u64, u64)> {
    std::fs::metadata(path).ok().map(|meta| (meta.dev(), meta.ino()))
}

/// A connection on which something is sent that the driver does not know of. What does not come to its end goes with the
/// connection: SQLite rolls it back then.
pub(super) struct Sending<'w> {
    connection: Option<PoolConnection<Sqlite>>,
    /// Where the connection is kept afterwards.
    kept: MutexGuard<'w, Option<PoolConnection<Sqlite>>>,
}

impl Sending<'_> {
    /// Says the first of it, and answers with the rows.
    pub(super) async fn rows(
        &mut self,
        text: impl SqlSafeStr,
        values: SqliteArguments,
    ) -> Result<Vec<SqliteRow>, StoreError> {
        let connection = self.connection.as_deref_mut().ok_or(Error::PoolClosed).map_err(away)?;
        sqlx::query_with(text, values).fetch_all(connection).await.map_err(away)
    }

    /// Says the last of it, or all.
    pub(super) async fn end(
        mut self,
        text: impl SqlSafeStr,
        values: SqliteArguments,
    ) -> Result<(), StoreError> {
        let connection = self.connection.as_deref_mut().ok_or(Error::PoolClosed).map_err(away)?;
        sqlx::query_with(text, values).execute(connection).await.map_err(away)?;
        *self.kept = self.connection.take();
        Ok(())
    }
}

impl Drop for Sending<'_> {
    fn drop(&mut self) {
        if let Some(mut unfinished) = self.connection.take() {
            unfinished.close_on_drop();
        }
    }
}
