//! The write-ahead log, and when what stands in it goes into the database.
//!
//! By itself SQLite does that within a commit, as soon as the log has a thousand pages: it writes them and waits for the
//! disk, and so does whoever waits for that commit. Here most of it is copied while others commit, on a connection of its
//! own. The log is not let grow long before that: what is looked for in it, and added to it, takes longer the more often
//! the same pages stand in it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use keyferry_core::port::store::StoreError;
use sqlx::{
    Error, Row, SqliteConnection,
    sqlite::{SqliteArguments, SqlitePool},
};
use tokio::{
    sync::Mutex,
    time::{sleep, timeout},
};

use super::{PATIENCE, writer::Writer};
use crate::errors::away;

/// Pages that are copied while nobody commits, and how often more of them are copied before, beside those who do.
const FEW: i64 = 256;
const ROUNDS: usize = 4;

/// How often, and after what time, it is tried to empty the log.
const TRIES: usize = 10;
const PAUSE: Duration = Duration::from_millis(50);

/// The log of a store.
pub(super) struct Wal {
    /// The one connection that copies beside the others.
    beside: SqlitePool,
    writer: Arc<Writer>,
    /// Two at once would be in each other's way.
    turn: Mutex<()>,
    /// Destroyed keys still stand in it.
    to_shred: AtomicBool,
}

/// How the log stands after it was copied.
struct Stand {
    /// Nothing was: somebody was in the way.
    blocked: bool,
    /// Pages in the log, and those of them that are in the database.
    pages: i64,
    copied: i64,
}

impl Wal {
    pub(super) fn new(beside: SqlitePool, writer: Arc<Writer>) -> Self {
        Self { beside, writer, turn: Mutex::default(), to_shred: AtomicBool::new(true) }
    }

    /// Keeps it short, until its connections are closed.
    pub(super) async fn keep_short(self: Arc<Self>) {
        loop {
            self.writer.many().await;
            match self.copy().await {
                Ok(()) => {}
                Err(_) if self.beside.is_closed() => return,
                // Nothing is lost: the log is longer. Commits tell those who wait for them if the disk is full.
                Err(error) => tracing::warn!(event = "wal_not_copied", %error),
            }
        }
    }

    /// Copies what is committed into the database.
    async fn copy(&self) -> Result<(), StoreError> {
        let _turn = self.turn.lock().await;
        let mut before = 0;
        for _ in 0..ROUNDS {
            let Stand { copied, .. } = self.copy_beside().await.map_err(away)?;
            if copied - before <= FEW {
                break;
            }
            before = copied;
        }
        // What was committed meanwhile is little, and goes in a moment in which nobody commits. Who commits next finds all of
        // it copied and begins the log anew, unless somebody still reads what is older.
        self.writer.send().await?.end(BESIDE, SqliteArguments::default()).await
    }

    async fn copy_beside(&self) -> Result<Stand, Error> {
        checkpoint(&mut *self.beside.acquire().await?, BESIDE).await
    }

    /// Notes that keys were destroyed, and empties the log, in which older images of their pages stand. A reader can be
    /// in the way; then the next call does it.
    pub(super) async fn shred(&self, destroyed: bool) {
        if destroyed {
            self.to_shred.store(true, Ordering::SeqCst);
        }
        if !self.to_shred.load(Ordering::SeqCst) {
            return;
        }
        let Ok(_turn) = timeout(PATIENCE, self.turn.lock()).await else { return };
        // Before it is emptied: what is destroyed from here on is noted anew.
        if self.to_shred.swap(false, Ordering::SeqCst) && !self.empty().await.unwrap_or(false) {
            self.to_shred.store(true, Ordering::SeqCst);
        }
    }

    /// Answers whether nothing stands in it any more.
    async fn empty(&self) -> Result<bool, Error> {
        for _ in 0..TRIES {
            let Stand { blocked, pages, copied } = self.copy_beside().await?;
            if !blocked && copied == pages {
                let whole = checkpoint(&mut *self.writer.acquire().await?, WHOLE).await?;
                return Ok(!whole.blocked);
            }
            // Another process is copying, or somebody reads what is older. Nobody who writes is held up by the waiting.
            sleep(PAUSE).await;
        }
        Ok(false)
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

async fn checkpoint(connection: &mut SqliteConnection, how: &'static str) -> Result<Stand, Error> {
    let row = sqlx::query(how).fetch_one(connection).await?;
    Ok(Stand { blocked: row.try_get::<i64, _>(0)? != 0, pages: row.try_get(1)?, copied: row.try_get(2)? })
}
