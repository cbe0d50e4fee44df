//! The connection that writes.
//!
//! Usage rows come in transactions that are sent whole, in one message. The pool asks a connection whether it lives, when
//! it is taken and when it comes back: two messages more than such a transaction needs. So the connection is kept here
//! from one to the next, until anybody else wants to write. The pool is nobody else's: who took the connection from it
//! without saying so would wait for one that is kept.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU32, AtomicUsize, Ordering},
};

use sqlx::{
    AssertSqlSafe, Error, Sqlite, Transaction,
    pool::PoolConnection,
    sqlite::{SqliteArguments, SqlitePool},
};
use tokio::sync::Notify;

/// The pool of the one connection that writes.
pub(super) struct Writer {
    pool: SqlitePool,
    /// The connection, between two transactions that are sent whole.
    kept: Mutex<Option<Sent>>,
    /// How many others want it.
    wanted: AtomicUsize,
    /// Transactions since [`many`](Self::many) was told.
    transactions: AtomicU32,
    told: Notify,
}

/// Transactions after which the log is copied into the database.
const MANY: u32 = 200;

impl Writer {
    pub(super) fn new(pool: SqlitePool) -> Self {
        let (wanted, transactions, told) = (AtomicUsize::new(0), AtomicU32::new(0), Notify::new());
        Self { pool, kept: Mutex::default(), wanted, transactions, told }
    }

    /// The connection, when it is free.
    pub(super) async fn acquire(&self) -> Result<PoolConnection<Sqlite>, Error> {
        let _wanted = self.want();
        self.pool.acquire().await
    }

    /// Begins a transaction.
    pub(super) async fn begin(&self) -> Result<Transaction<'static, Sqlite>, Error> {
        let _wanted = self.want();
        self.count();
        self.pool.begin_with("BEGIN IMMEDIATE").await
    }

    /// Sends a transaction, from `BEGIN` to `COMMIT`.
    pub(super) async fn whole(&self, text: &Arc<str>, values: SqliteArguments) -> Result<(), Error> {
        self.count();
        let kept = self.take();
        let mut sent = match kept {
            Some(kept) => kept,
            None => Sent { connection: self.acquire().await?, begun: false },
        };
        sent.begun = true;
        let query = sqlx::query_with(AssertSqlSafe(Arc::clone(text)), values);
        query.execute(&mut *sent.connection).await?;
        sent.begun = false;
        self.keep(sent);
        Ok(())
    }

    /// Closes it, when it is free.
    pub(super) async fn close(&self) {
        let _wanted = self.want();
        self.pool.close().await;
    }

    /// Waits until many transactions were begun since the last time.
    pub(super) async fn many(&self) {
        self.told.notified().await;
    }

    fn count(&self) {
        if self.transactions.fetch_add(1, Ordering::Relaxed) % MANY == MANY - 1 {
            self.told.notify_one();
        }
    }

    /// Nobody keeps the connection as long as this is held.
    fn want(&self) -> Wanted<'_> {
        // In this order: whoever would keep it afterwards sees that it is wanted.
        self.wanted.fetch_add(1, Ordering::SeqCst);
        drop(self.take());
        Wanted(&self.wanted)
    }

    fn take(&self) -> Option<Sent> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn keep(&self, connection: Sent) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if self.wanted.load(Ordering::SeqCst) == 0 {
            *kept = Some(connection);
        }
    }
}

/// Somebody waits for the connection.
struct Wanted<'w>(&'w AtomicUsize);

impl Drop for Wanted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A connection in a transaction that the driver does not know of, or that comes from one.
struct Sent {
    connection: PoolConnection<Sqlite>,
    begun: bool,
}

impl Drop for Sent {
    fn drop(&mut self) {
        // A transaction that did not come to its end goes with its connection: SQLite rolls it back then.
        if self.begun {
            self.connection.close_on_drop();
        }
    }
}
