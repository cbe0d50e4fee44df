//! The write-ahead log, and when what stands in it goes into the database.
//!
//! By itself SQLite does that within a commit, as soon as the log has a thousand pages: it writes them and waits for the
//! disk, and so does whoever waits for that commit. Here most of it is copied while others commit, on a connection of its
//! own. The log is not let grow long before that: what is looked for in it, and added to it, takes longer the more often
//! the same pages stand in it.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use sqlx::{Error, Row, SqliteConnection, sqlite::SqlitePool};
use tokio::sync::Mutex;

use super::writer::Writer;

/// The log of a store.
pub(super) struct Log {
    /// The one connection that copies beside the others.
    beside: SqlitePool,
    writer: Arc<Writer>,
    /// Two at once would be in each other's way.
    turn: Mutex<()>,
    /// Destroyed keys still stand in it.
    to_shred: AtomicBool,
}

impl Log {
    pub(super) fn new(beside: SqlitePool, writer: Arc<Writer>) -> Self {
        Self { beside, writer, turn: Mutex::default(), to_shred: AtomicBool::new(true) }
    }

    /// Keeps it short, until its connections are closed.
    pub(super) async fn keep_short(self: Arc<Self>) {
        loop {
            self.writer.many().await;
            if let Err(error) = self.copy().await {
                if matches!(error, Error::PoolClosed) {
                    return;
                }
                // Nothing is lost: the log is longer. Commits tell those who wait for them if the disk is full.
                tracing::warn!(event = "log_not_copied", %error);
            }
        }
    }

    /// Copies what is committed into the database.
    async fn copy(&self) -> Result<(), Error> {
        let _turn = self.turn.lock().await;
        checkpoint(&mut *self.beside.acquire().await?, BESIDE).await?;
        // What was committed meanwhile is little, and goes in a moment in which nobody commits. Who commits next finds all of
        // it copied, and begins the log anew.
        checkpoint(&mut *self.writer.acquire().await?, BESIDE).await.map(drop)
    }

    /// Notes that keys were destroyed, and empties the log, in which older images of their pages stand. A reader can be
    /// in the way; then the next call does it.
    pub(super) async fn shred(&self, destroyed: bool) {
        if destroyed {
            self.to_shred.store(true, Ordering::SeqCst);
        }
        if self.to_shred.load(Ordering::SeqCst) {
            let is_empty = self.empty().await.unwrap_or(false);
            self.to_shred.store(!is_empty, Ordering::SeqCst);
        }
    }

    async fn empty(&self) -> Result<bool, Error> {
        let _turn = self.turn.lock().await;
        checkpoint(&mut *self.writer.acquire().await?, WHOLE).await
    }

    /// Gives the connection back, once what is being copied is.
    pub(super) async fn close(&self) {
        self.beside.close().await;
    }
}

/// Copies what it can while others commit.
const BESIDE: &str = "PRAGMA wal_checkpoint(PASSIVE)";
/// Waits until all is copied, and cuts the file off.
const WHOLE: &str = "PRAGMA wal_checkpoint(TRUNCATE)";

/// Whether nobody was in the way.
async fn checkpoint(connection: &mut SqliteConnection, how: &'static str) -> Result<bool, Error> {
    let row = sqlx::query(how).fetch_one(connection).await?;
    Ok(row.try_get::<i64, _>(0)? == 0)
}
