//! Transactions that are sent to the database whole, in one message.
//!
//! The pool asks a connection whether it lives, when it is taken and when it comes back: two messages more than such a
//! transaction needs. So the connection is kept here from one to the next, until anybody else wants to write.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use keyferry_core::port::store::StoreError;
use sqlx::{AssertSqlSafe, Sqlite, pool::PoolConnection, sqlite::SqliteArguments};

use super::SqliteStore;
use crate::errors::away;

/// The connection that writes, between two such transactions.
#[derive(Default)]
pub(super) struct Kept {
    writer: Mutex<Option<Writer>>,
    /// How many others want it.
    wanted: AtomicUsize,
}

impl Kept {
    /// Nobody keeps the connection as long as this is held.
    pub(super) fn wanted(&self) -> Wanted<'_> {
        // In this order: whoever would keep it afterwards sees that it is wanted.
        self.wanted.fetch_add(1, Ordering::SeqCst);
        drop(self.take());
        Wanted(self)
    }

    fn take(&self) -> Option<Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn keep(&self, writer: Writer) {
        let mut kept = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        if self.wanted.load(Ordering::SeqCst) == 0 {
            *kept = Some(writer);
        }
    }
}

/// Somebody waits for the connection.
pub(super) struct Wanted<'k>(&'k Kept);

impl Drop for Wanted<'_> {
    fn drop(&mut self) {
        self.0.wanted.fetch_sub(1, Ordering::SeqCst);
    }
}

struct Writer {
    connection: PoolConnection<Sqlite>,
    /// It is in a transaction that the driver does not know of.
    begun: bool,
}

impl Drop for Writer {
    fn drop(&mut self) {
        // One that did not come to its end goes with its connection: SQLite rolls it back then.
        if self.begun {
            self.connection.close_on_drop();
        }
    }
}

impl SqliteStore {
    /// Sends one, from `BEGIN` to `COMMIT`.
    pub(super) async fn whole(&self, text: &Arc<str>, values: SqliteArguments) -> Result<(), StoreError> {
        self.in_place()?;
        let mut writer = match self.kept.take() {
            Some(writer) => writer,
            None => Writer { connection: self.writer.acquire().await.map_err(away)?, begun: false },
        };
        writer.begun = true;
        let query = sqlx::query_with(AssertSqlSafe(Arc::clone(text)), values);
        query.execute(&mut *writer.connection).await.map_err(away)?;
        writer.begun = false;
        self.kept.keep(writer);
        Ok(())
    }
}
