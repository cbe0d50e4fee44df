//! Connections, each with its limits set on the server before it is used.

use std::{io::ErrorKind, time::Duration};

use keyferry_core::port::store::StoreError;
use sqlx::{
    ConnectOptions, Connection, Error, Executor, PgConnection, SqlSafeStr,
    postgres::{PgConnectOptions, PgPool, PgPoolOptions},
};

use crate::errors::away;

/// How long an operation may wait for a connection before the store counts as away.
pub(super) const PATIENCE: Duration = Duration::from_millis(450);
/// How long a statement may wait for a lock.
const LOCK: Duration = Duration::from_millis(400);
/// After this, the server ends the transaction of a gateway that stopped in the middle of it, and with it
/// its locks.
const IDLE_IN_TRANSACTION: Duration = Duration::from_secs(2);
/// Connections that a pool has before it is used.
const FIRST: usize = 4;
/// How often a connection is tried for when the store is opened: the database may be starting too.
const OPENING_ATTEMPTS: u32 = 20;
/// How long one step of a migration, or one statement of a copy, may take.
const MIGRATION: Duration = Duration::from_secs(600);

/// A pool, which connects when it is first used.
pub(super) fn pool(
    options: &PgConnectOptions,
    connections: u32,
    patience: Duration,
    statement: Duration,
) -> PgPool {
    let limits = limits(statement, LOCK, IDLE_IN_TRANSACTION);
    PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(patience)
        .after_connect(move |connection, _| {
            let limits = limits.clone();
            Box::pin(async move { set(connection, limits).await })
        })
        // Where somebody stopped waiting, the answer may never come. Such a connection is dropped, or
        // the pool would keep a place for it as long as the kernel hopes.
        .after_release(|connection, _| {
            Box::pin(async move {
                match tokio::time::timeout(PATIENCE, connection.ping()).await {
                    Ok(answered) => answered.map(|()| true),
                    Err(_) => Err(Error::PoolTimedOut),
                }
            })
        })
        .connect_lazy_with(options.clone())
}

/// Waits for the first connections of a pool. What follows at the start uses one after the other, and one that comes back is
/// asked whether it lives before it is used again: with a few of them nobody waits for a new one, which is waited for less.
pub(super) async fn first(pool: &PgPool) -> Result<(), StoreError> {
    let mut connections = Vec::with_capacity(FIRST);
    for _ in 0..FIRST {
        connections.push(patiently(|| pool.acquire()).await?);
    }
    Ok(())
}

/// A connection for migrations, and for copying.
pub(super) async fn to_migrate(options: &PgConnectOptions) -> Result<PgConnection, StoreError> {
    let mut connection = patiently(|| options.connect()).await?;
    // The lock of the migrator may be another gateway's for as long as its migration takes.
    set(&mut connection, limits(MIGRATION, MIGRATION, MIGRATION)).await.map_err(away)?;
    Ok(connection)
}

/// At the start a machine may be busy, and nobody waits for an answer yet.
async fn patiently<T, F: Future<Output = Result<T, Error>>>(
    connect: impl Fn() -> F,
) -> Result<T, StoreError> {
    let mut attempt = 1;
    loop {
        let late = |_| Err(Error::PoolTimedOut);
        match tokio::time::timeout(PATIENCE * 2, connect()).await.unwrap_or_else(late) {
            Ok(connected) => return Ok(connected),
            Err(error) if attempt == OPENING_ATTEMPTS || !may_pass(&error) => return Err(away(error)),
            Err(_) => tokio::time::sleep(PATIENCE).await,
        }
        attempt += 1;
    }
}

/// Whether it helps to try again.
fn may_pass(error: &Error) -> bool {
    match error {
        // Of that kind is a certificate that is not trusted.
        Error::Io(cause) => cause.kind() != ErrorKind::InvalidData,
        Error::Database(cause) => cause.is_transient_in_connect_phase(),
        Error::PoolTimedOut => true,
        _ => false,
    }
}

/// By statements and not in the start-up packet, which poolers drop or refuse. The isolation is the one
/// that the statements are written for: each sees what was committed before it began.
fn limits(statement: Duration, lock: Duration, idle: Duration) -> String {
    format!(
        "SET statement_timeout = {}; SET lock_timeout = {}; SET idle_in_transaction_session_timeout = {};
         SET default_transaction_isolation = 'read committed'",
        statement.as_millis(),
        lock.as_millis(),
        idle.as_millis()
    )
}

async fn set(connection: &mut PgConnection, limits: String) -> Result<(), Error> {
    // Numbers of our own are all that is put together there.
    connection.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(limits).into_sql_str())).await.map(drop)
}
