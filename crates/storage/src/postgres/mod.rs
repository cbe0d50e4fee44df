//! The storage port on PostgreSQL: any number of gateways on one database.
//!
//! A change that is logged begins by locking the row of the audit log's end, so that the chain has one
//! end whoever writes, and such changes follow each other as they do in SQLite. What is not logged takes
//! row locks, several of them in the order of their ids. Nothing is tried a second time: what loses a
//! lock or a connection is away, and whoever asked decides.
//!
//! Destroying a key deletes its row. PostgreSQL does not overwrite old versions of rows; they go with its
//! own VACUUM, and with backups and archived logs when these end. What they hold is wrapped: it opens
//! with the root and the KEK alone.
//!
//! The driver keeps the password, in order to connect again; it is in no message of ours.

mod address;
mod audit;
mod budget;
mod connect;
mod credential;
mod issuer;
mod outbox;
mod sealing;
mod setting;
mod tenant;
mod token;
mod usage;
mod wrapped;

use std::{sync::OnceLock, time::Duration};

use keyferry_core::{
    audit::{AuditChain, AuditDraft, AuditHead},
    port::store::StoreError,
};
use sqlx::{
    Connection, Executor, PgConnection, Postgres, Row, Transaction, migrate::Migrator, postgres::PgPool,
};

pub use address::Address;

use crate::{
    errors::away,
    migrations::{self, Step},
    rows::audit::{HEADLESS, insert_audit, put_head, read_head},
};

/// Connections of one gateway for what callers wait for.
pub const POOL: u32 = 16;
/// Connections of one gateway for lists and sums over many rows.
pub const REPORTS: u32 = 2;
/// How long an operation may take, whatever it waits for.
const OPERATION: Duration = Duration::from_millis(900);
/// The same for a list or a sum over many rows, once it has a connection: that one must have answered a
/// ping just before, so a server that does not answer is noticed as soon as by an operation.
const REPORT: Duration = Duration::from_secs(10);

/// A store in a PostgreSQL database.
pub struct PostgresStore {
    pool: PgPool,
    /// For lists and sums over many rows: however long they take, admission has its own.
    reports: PgPool,
    /// Its key is derived from a secret in this store: known a moment after the store is opened.
    chain: OnceLock<AuditChain>,
}

impl PostgresStore {
    /// Connects, and brings the tables up to date.
    pub async fn open(address: &Address) -> Result<Self, StoreError> {
        migrate(address).await?;
        let pool = connect::pool(&address.options, POOL, connect::PATIENCE, OPERATION);
        connect::first(&pool).await?;
        Ok(Self {
            pool,
            reports: connect::pool(&address.options, REPORTS, OPERATION, REPORT),
            chain: OnceLock::new(),
        })
    }

    pub(crate) async fn operation<T>(
        &self,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        within(OPERATION, work).await
    }

    pub(crate) async fn report<T>(
        &self,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        within(REPORT, work).await
    }

    pub(crate) async fn alive(&self) -> Result<(), StoreError> {
        let row = sqlx::query("SELECT current_setting('transaction_read_only') = 'on'")
            .fetch_one(&self.pool)
            .await
            .map_err(away)?;
        if row.try_get(0).map_err(away)? {
            return Err(StoreError::Away("the database is read only, as a standby is".to_owned()));
        }
        Ok(())
    }

    pub(crate) async fn tidy_up(&self) {
        for pool in [&self.pool, &self.reports] {
            // A server that does not answer is left as it is.
            let _ = tokio::time::timeout(OPERATION, pool.close()).await;
        }
    }

    async fn begin(&self) -> Result<Transaction<'_, Postgres>, StoreError> {
        self.pool.begin().await.map_err(away)
    }

    /// A transaction for a copy of the whole store, which takes its time.
    pub(crate) async fn alone(&self) -> Result<Transaction<'_, Postgres>, StoreError> {
        let mut tx = self.reports.begin().await.map_err(away)?;
        let limits = "SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0";
        tx.execute(sqlx::raw_sql(limits)).await.map_err(away)?;
        Ok(tx)
    }

    /// Begins a change that is logged.
    async fn change(&self) -> Result<Change<'_>, StoreError> {
        let chain =
            self.chain.get().ok_or_else(|| StoreError::Away("the audit log is not open".to_owned()))?;
        let mut tx = self.begin().await?;
        let head = sqlx::query("SELECT * FROM audit_head FOR UPDATE")
            .fetch_optional(&mut *tx)
            .await
            .map_err(away)?;
        let head = read_head(head.as_ref().ok_or(HEADLESS)?)?;
        Ok(Change { tx, chain, head })
    }
}

/// A change under way, which holds the end of the audit log.
struct Change<'s> {
    tx: Transaction<'s, Postgres>,
    chain: &'s AuditChain,
    head: AuditHead,
}

impl Change<'_> {
    /// Puts a draft at the end of the chain.
    async fn note(&mut self, draft: AuditDraft) -> Result<(), StoreError> {
        let (row, head) = self.chain.extend(&self.head, draft);
        insert_audit!(row).execute(&mut *self.tx).await.map_err(away)?;
        self.head = head;
        Ok(())
    }

    /// Orders the epoch of a tenant to move.
    async fn order(&mut self, tenant: &str) -> Result<(), StoreError> {
        outbox::order(&mut self.tx, tenant).await
    }

    /// Ends it with the row that describes it.
    async fn commit(mut self, draft: AuditDraft) -> Result<(), StoreError> {
        self.note(draft).await?;
        self.end().await
    }

    /// Ends it.
    async fn end(mut self) -> Result<(), StoreError> {
        put_head!(self.head).execute(&mut *self.tx).await.map_err(away)?;
        self.tx.commit().await.map_err(away)
    }
}

async fn within<T>(
    patience: Duration,
    work: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    let late = |_| StoreError::Away("no answer in time".to_owned());
    tokio::time::timeout(patience, work).await.map_err(late)?
}

fn migrator() -> Migrator {
    migrations::migrator(&[(1, "init", include_str!("../../migrations/postgres/0001_init.sql"))])
}

/// Brings the tables up to date; answers which steps that took. Where there are none, no right to change
/// the tables is needed.
pub(crate) async fn migrate(address: &Address) -> Result<Vec<Step>, StoreError> {
    let mut connection = connect::to_migrate(&address.options).await?;
    let steps = steps(&mut connection).await?;
    let applied = if steps.iter().all(|step| step.applied) {
        Vec::new()
    } else {
        migrations::apply(&mut connection, &migrator()).await?
    };
    connection.close().await.map_err(away)?;
    Ok(applied)
}

/// Which steps there are, and which of them were taken. Makes nothing.
pub(crate) async fn status(address: &Address) -> Result<Vec<Step>, StoreError> {
    let mut connection = connect::to_migrate(&address.options).await?;
    let steps = steps(&mut connection).await?;
    connection.close().await.map_err(away)?;
    Ok(steps)
}

async fn steps(connection: &mut PgConnection) -> Result<Vec<Step>, StoreError> {
    let table = "SELECT to_regclass('_sqlx_migrations') IS NOT NULL";
    let row = sqlx::query(table).fetch_one(&mut *connection).await.map_err(away)?;
    let begun = row.try_get(0).map_err(away)?;
    migrations::status(connection, &migrator(), begun).await
}
