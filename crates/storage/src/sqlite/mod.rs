//! The storage port on SQLite: one writer, some readers, write-ahead log.
//!
//! Writes go through one connection, each in an immediate transaction, so that the audit chain
//! has one end and nothing waits for a lock in the middle. `synchronous = NORMAL` keeps committed
//! rows over a crash of the process; `secure_delete` overwrites destroyed keys in the file.

mod audit;
mod budget;
mod credential;
mod issuer;
mod outbox;
mod sealing;
mod seals;
mod setting;
mod tenant;
mod token;
mod usage;
mod usage_rows;
mod wal;
mod wrapped;
mod writer;

use std::{
    path::Path,
    sync::{Arc, OnceLock},
    time::Duration,
};

use keyferry_core::{
    audit::{AuditChain, AuditDraft},
    port::store::StoreError,
};
use sqlx::{
    Connection, Sqlite, SqliteConnection, Transaction,
    migrate::Migrator,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous},
};
use tokio::task::JoinSet;

use self::{seals::Seals, wal::Wal, writer::Writer};
use crate::{
    errors::away,
    migrations::{self, Step},
};

/// How long an operation may wait for a connection before the store counts as away.
const PATIENCE: Duration = Duration::from_millis(450);
/// How often a connection is tried for when the store is opened.
const OPENING_ATTEMPTS: u32 = 20;
/// How long a transaction may wait for another process's. Together they stay below a second.
const BUSY: Duration = Duration::from_millis(400);

/// A store in a SQLite file.
pub struct SqliteStore {
    writer: Arc<Writer>,
    wal: Arc<Wal>,
    seals: Seals,
    /// What is done beside operations. It ends with the store.
    _beside: JoinSet<()>,
    readers: SqlitePool,
    /// For lists and sums over many rows: however long they take, admission has its own.
    reports: SqlitePool,
    /// For asking whether the store answers: however many wait for the others, that is told.
    pings: SqlitePool,
    /// Its key is derived from a secret in this store: known a moment after the store is opened.
    chain: OnceLock<AuditChain>,
}

impl SqliteStore {
    /// Opens the file, makes it if it is not there, and brings its tables up to date.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        let options = options(path);
        let pool = |connections| {
            let pool = SqlitePoolOptions::new()
                .max_connections(connections)
                .acquire_timeout(PATIENCE)
                // After a full disk SQLite has rolled back by itself and the driver counts wrong:
                // such a connection is closed instead of being used again.
                .before_acquire(|connection, _| Box::pin(async { Ok(!connection.is_in_transaction()) }));
            connected(pool, options.clone())
        };
        let writer = pool(1).await.map_err(away)?;
        migrations::apply(&mut *writer.acquire().await.map_err(away)?, &migrator()).await?;
        let writer = Arc::new(Writer::new(writer, path));
        let wal = Arc::new(Wal::new(pool(1).await.map_err(away)?, Arc::clone(&writer)));
        let (seals, counting) = Seals::new(Arc::clone(&writer));
        let mut beside = JoinSet::new();
        beside.spawn(Arc::clone(&wal).keep_short());
        beside.spawn(counting);
        Ok(Self {
            readers: pool(4).await.map_err(away)?,
            reports: pool(2).await.map_err(away)?,
            pings: pool(1).await.map_err(away)?,
            writer,
            wal,
            seals,
            _beside: beside,
            chain: OnceLock::new(),
        })
    }

    fn chain(&self) -> Result<&AuditChain, StoreError> {
        self.chain.get().ok_or_else(|| StoreError::Away("the audit log is not open".to_owned()))
    }

    /// Sees to it that destroyed keys do not stand in the write-ahead log any more.
    async fn shred(&self, destroyed: bool) {
        self.wal.shred(destroyed).await;
    }

    /// It is in this process: what it waits for has its own limits.
    pub(crate) async fn operation<T>(
        &self,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        work.await
    }

    /// As an operation.
    pub(crate) async fn report<T>(
        &self,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        work.await
    }

    pub(crate) async fn alive(&self) -> Result<(), StoreError> {
        self.writer.in_place()?;
        // A read would not notice a lock that is held.
        self.pings.begin_with("BEGIN IMMEDIATE").await.map_err(away)?.rollback().await.map_err(away)
    }

    pub(crate) async fn tidy_up(&self) {
        self.readers.close().await;
        self.reports.close().await;
        self.pings.close().await;
        // Nobody reads any more, so the write-ahead log can go into the database whole.
        self.shred(true).await;
        self.wal.close().await;
        self.writer.close().await;
    }

    /// All of it at one moment.
    pub(crate) async fn snapshot(&self) -> Result<Transaction<'_, Sqlite>, StoreError> {
        self.reports.begin().await.map_err(away)
    }

    async fn write(&self) -> Result<Transaction<'_, Sqlite>, StoreError> {
        self.writer.begin().await
    }

    /// Ends a change: its audit row, then the commit.
    async fn commit(&self, mut tx: Transaction<'_, Sqlite>, draft: AuditDraft) -> Result<(), StoreError> {
        audit::append(self.chain()?, &mut tx, draft).await?;
        tx.commit().await.map_err(away)
    }
}

/// Connects a pool. At the start a machine may be busy, and nobody waits for an answer yet.
async fn connected(
    pool: SqlitePoolOptions,
    options: SqliteConnectOptions,
) -> Result<SqlitePool, sqlx::Error> {
    for _ in 0..OPENING_ATTEMPTS {
        match pool.clone().connect_with(options.clone()).await {
            Err(sqlx::Error::PoolTimedOut) => {}
            done => return done,
        }
    }
    pool.connect_with(options).await
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Normal)
        .busy_timeout(BUSY)
        .pragma("secure_delete", "ON")
        // See `wal`. This is for a day on which nobody copies what stands in it.
        .pragma("wal_autocheckpoint", "50000")
        // Large sorts would otherwise spill rows into a file in /tmp.
        .pragma("temp_store", "MEMORY")
        .pragma("trusted_schema", "OFF")
}

fn migrator() -> Migrator {
    migrations::migrator(&[
        (1, "init", include_str!("../../migrations/sqlite/0001_init.sql")),
        (2, "outbox", include_str!("../../migrations/sqlite/0002_outbox.sql")),
        (3, "budgets", include_str!("../../migrations/sqlite/0003_budgets.sql")),
    ])
}

/// Brings the tables up to date; answers which steps that took.
pub(crate) async fn migrate(path: &Path) -> Result<Vec<Step>, StoreError> {
    let mut connection = SqliteConnection::connect_with(&options(path)).await.map_err(away)?;
    let applied = migrations::apply(&mut connection, &migrator()).await?;
    connection.close().await.map_err(away)?;
    Ok(applied)
}

/// Which steps there are, and which of them were taken. Makes nothing.
pub(crate) async fn status(path: &Path) -> Result<Vec<Step>, StoreError> {
    if !path.exists() {
        return migrations::compare(&migrator(), &[]);
    }
    let mut connection = SqliteConnection::connect_with(&options(path)).await.map_err(away)?;
    let table = "SELECT 1 FROM sqlite_schema WHERE name = '_sqlx_migrations'";
    let begun = sqlx::query(table).fetch_optional(&mut connection).await.map_err(away)?.is_some();
    let steps = migrations::status(&mut connection, &migrator(), begun).await?;
    connection.close().await.map_err(away)?;
    Ok(steps)
}

#[cfg(test)]
mod tests {
    use std::{
        ops::Range,
        sync::atomic::{AtomicBool, Ordering},
        task::{Context, Waker},
    };

    use keyferry_core::{
        port::store::Store,
        record::{Accounting, KeyMode, Outcome, UsageRecord},
        time::Timestamp,
        usage::{TokenUsage, UsageSource},
    };
    use keyferry_envelope::{ServiceSecret, SystemEntropy};

    use super::*;

    fn draft(detail: String) -> AuditDraft {
        AuditDraft {
            at: Timestamp::from_secs(0),
            actor: "operator".to_owned(),
            action: "key.tested",
            tenant: None,
            target: "target".to_owned(),
            source: "127.0.0.1".to_owned(),
            detail: detail.into(),
        }
    }

    #[tokio::test]
    async fn whether_the_store_answers_is_told_however_many_wait_for_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = SqliteStore::open(&folder.path().join("test.db")).await.expect("opens");
        let mut taken = vec![store.writer.acquire().await.expect("the only one")];
        for _ in 0..store.readers.options().get_max_connections() {
            taken.push(store.readers.acquire().await.expect("one of them"));
        }
        store.ping().await.expect("it answers");
        assert!(store.setting("any").await.is_err(), "so nobody else gets through");
    }

    /// As `.cargo/config.toml` says: else every allocation and every page takes a lock of the whole process.
    #[tokio::test]
    async fn connections_share_no_lock_within_the_library() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = SqliteStore::open(&folder.path().join("test.db")).await.expect("opens");
        let options = sqlx::query("PRAGMA compile_options").fetch_all(&store.readers).await.expect("told");
        let options: Vec<String> = options.iter().map(|row| sqlx::Row::get(row, 0)).collect();
        let has = |option: &str| options.iter().any(|known| known == option);
        assert!(has("DEFAULT_MEMSTATUS=0") && !has("ENABLE_MEMORY_MANAGEMENT"), "{options:?}");
    }

    #[tokio::test]
    async fn a_disk_that_was_full_is_written_to_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = SqliteStore::open(&folder.path().join("test.db")).await.expect("opens");
        let secret = ServiceSecret::generate(&SystemEntropy);
        store.open_audit(AuditChain::new(secret.audit_key())).await.expect("opens");
        // The connection may add no page: to SQLite that is a full disk.
        let mut writer = store.writer.acquire().await.expect("free");
        sqlx::query("PRAGMA max_page_count = 1").execute(&mut *writer).await.expect("set");
        drop(writer);
        let full = store.append_audit(draft("x".repeat(100_000))).await;
        assert!(matches!(full, Err(StoreError::Away(_))), "{full:?}");
        store.append_audit(draft("x".repeat(100_000))).await.expect("the next write has room");
        assert_eq!(store.audit_after(0, 10).await.expect("read").len(), 1);
    }

    fn rows(ids: Range<u32>) -> Vec<UsageRecord> {
        let row = |id| UsageRecord {
            request_id: format!("req_{id}").parse().expect("valid"),
            at: Timestamp::from_secs(0),
            tenant: "acme".parse().expect("valid"),
            caller: "caller".to_owned(),
            provider: "openai".parse().expect("valid"),
            model: None,
            operation: "chat_completions",
            credential: KeyMode::Carried,
            credential_id: None,
            accounting: Accounting::ByokNoBudget,
            status: 200,
            outcome: Outcome::Ok,
            usage: TokenUsage::default(),
            usage_source: UsageSource::None,
            cost_micro_usd: 0,
            latency_ms: 0,
            overhead_us: 0,
        };
        ids.map(row).collect()
    }

    async fn count(store: &SqliteStore) -> u64 {
        let tenant = "acme".parse().expect("valid");
        store.usage(&tenant, None, None, &[]).await.expect("summed")[0].sum.requests
    }

    #[tokio::test]
    async fn rows_that_had_no_room_on_the_disk_are_written_when_there_is_some() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = SqliteStore::open(&folder.path().join("test.db")).await.expect("opens");
        let mut writer = store.writer.acquire().await.expect("free");
        sqlx::query("PRAGMA max_page_count = 1").execute(&mut *writer).await.expect("set");
        drop(writer);
        let many = rows(0..1000);
        let full = store.record_usage(&many).await;
        assert!(matches!(full, Err(StoreError::Away(_))), "{full:?}");
        store.record_usage(&many).await.expect("the next write has room");
        assert_eq!(count(&store).await, 1000);
    }

    #[tokio::test]
    async fn rows_that_were_given_up_half_way_hold_up_nobody() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = SqliteStore::open(&folder.path().join("test.db")).await.expect("opens");
        store.record_usage(&rows(0..1)).await.expect("recorded");
        let many = rows(1..65);
        for polls in 1..20 {
            let mut some = store.record_usage(&many);
            for _ in 0..polls {
                if some.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready() {
                    break;
                }
            }
        }
        store.init_setting("name", b"value").await.expect("it has its turn");
        store.record_usage(&many).await.expect("recorded");
        assert_eq!(count(&store).await, 65, "each once");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn others_write_between_rows_without_end() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = SqliteStore::open(&folder.path().join("test.db")).await.expect("opens");
        let store = Arc::new(store);
        let ended = Arc::new(AtomicBool::new(false));
        let writing = tokio::spawn({
            let (store, ended) = (Arc::clone(&store), Arc::clone(&ended));
            async move {
                let mut next = 0;
                while !ended.load(Ordering::SeqCst) {
                    store.record_usage(&rows(next..next + 64)).await.expect("recorded");
                    next += 64;
                }
                u64::from(next)
            }
        });
        for number in 0..200_u8 {
            store.init_setting(&format!("name {number}"), &[number]).await.expect("it has its turn");
            let row = u32::MAX - u32::from(number) - 1;
            store.record_usage(&rows(row..row + 1)).await.expect("it has its turn");
        }
        ended.store(true, Ordering::SeqCst);
        assert_eq!(writing.await.expect("written") + 200, count(&store).await);
        store.init_setting("last", b"value").await.expect("what is kept is given back");
        store.close().await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_log_that_is_written_without_end_stays_short() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("test.db");
        let store = SqliteStore::open(&path).await.expect("opens");
        for first in 0..4000 {
            store.record_usage(&rows(first * 64..(first + 1) * 64)).await.expect("recorded");
        }
        let length = std::fs::metadata(path.with_extension("db-wal")).expect("the log").len();
        assert!(length < 100 << 20, "{length}");
        assert_eq!(count(&store).await, 4000 * 64);
    }
}
