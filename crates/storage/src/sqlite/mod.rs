//! The storage port on SQLite: one writer, some readers, write-ahead log.
//!
//! Writes go through one connection, each in an immediate transaction, so that the audit chain
//! has one end and nothing waits for a lock in the middle. `synchronous = NORMAL` keeps committed
//! rows over a crash of the process; `secure_delete` overwrites destroyed keys in the file.

mod audit;
mod budget;
mod credential;
mod issuer;
mod rows;
mod sealing;
mod tenant;
mod token;
mod usage;
mod wrapped;

use std::{
    borrow::Cow,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use keyferry_core::{
    audit::{AuditChain, AuditDraft, AuditHead, AuditRow},
    budget::{Span, Spent},
    credential::{CredentialSummary, MovedVersion, SealedCredential, TestResult, VersionToMove},
    id::{CredentialId, IssuerId, TenantId, TokenId},
    issuer::Issuer,
    port::store::{
        AuditFilter, GroupBy, NewVersion, Page, PageRequest, Store, StoreError, StoredToken, TenantSums,
        UsageGroup, UsageRow,
    },
    record::UsageRecord,
    sealing::{SealClaim, SealUse, StoredSealingKey},
    tenant::{Tenant, TenantChange},
    time::Timestamp,
    token::Token,
    wrapped::{KekUse, WrappedKey},
};
use keyferry_envelope::KeyPurpose;
use sqlx::{
    Connection, Row, Sqlite, Transaction,
    migrate::{Migration, MigrationType, Migrator},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous},
};

/// How long an operation may wait for a connection before the store counts as away.
const PATIENCE: Duration = Duration::from_millis(450);
/// How often a connection is tried for when the store is opened.
const OPENING_ATTEMPTS: u32 = 20;
/// How long a transaction may wait for another process's. Together they stay below a second.
const BUSY: Duration = Duration::from_millis(400);

/// A store in a SQLite file.
pub struct SqliteStore {
    writer: SqlitePool,
    readers: SqlitePool,
    /// For lists and sums over many rows: however long they take, admission has its own.
    reports: SqlitePool,
    /// For asking whether the store answers: however many wait for the others, that is told.
    pings: SqlitePool,
    /// Its key is derived from a secret in this store: known a moment after the store is opened.
    chain: OnceLock<AuditChain>,
    /// Destroyed keys still stand in the write-ahead log.
    to_shred: AtomicBool,
    file: PathBuf,
    /// Which file that was when it was opened.
    identity: Option<(u64, u64)>,
}

impl SqliteStore {
    /// Opens the file, makes it if it is not there, and brings its tables up to date.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal)
            .busy_timeout(BUSY)
            .pragma("secure_delete", "ON")
            // Large sorts would otherwise spill rows into a file in /tmp.
            .pragma("temp_store", "MEMORY")
            .pragma("trusted_schema", "OFF");
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
        migrator().run(&writer).await.map_err(|error| StoreError::Away(error.to_string()))?;
        Ok(Self {
            readers: pool(4).await.map_err(away)?,
            reports: pool(2).await.map_err(away)?,
            pings: pool(1).await.map_err(away)?,
            writer,
            chain: OnceLock::new(),
            to_shred: AtomicBool::new(true),
            file: path.to_owned(),
            identity: identity(path),
        })
    }

    fn chain(&self) -> Result<&AuditChain, StoreError> {
        self.chain.get().ok_or_else(|| StoreError::Away("the audit log is not open".to_owned()))
    }

    /// Notes that keys were destroyed, and empties the write-ahead log, in which older images of
    /// their pages stand. A reader can be in the way; then the next call does it.
    async fn shred(&self, destroyed: bool) {
        if destroyed {
            self.to_shred.store(true, Ordering::SeqCst);
        }
        if self.to_shred.load(Ordering::SeqCst) {
            let row = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(&self.writer).await;
            let blocked = row.and_then(|row| row.try_get::<i64, _>(0)).unwrap_or(1);
            self.to_shred.store(blocked != 0, Ordering::SeqCst);
        }
    }

    async fn write(&self) -> Result<Transaction<'_, Sqlite>, StoreError> {
        self.write_with(&self.writer).await
    }

    async fn write_with(&self, pool: &SqlitePool) -> Result<Transaction<'static, Sqlite>, StoreError> {
        // SQLite goes on with a file that was deleted or replaced; all of it would be gone later.
        if identity(&self.file) != self.identity {
            return Err(StoreError::Away("the database file was removed or replaced".to_owned()));
        }
        pool.begin_with("BEGIN IMMEDIATE").await.map_err(away)
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

/// Device and inode of a file.
fn identity(path: &Path) -> Option<(u64, u64)> {
    std::fs::metadata(path).ok().map(|meta| (meta.dev(), meta.ino()))
}

fn migrator() -> Migrator {
    let step = |number, name: &'static str, sql| {
        let sql = sqlx::SqlStr::from_static(sql);
        Migration::new(number, Cow::Borrowed(name), MigrationType::Simple, sql, false)
    };
    let steps = vec![
        step(1, "init", include_str!("../../migrations/sqlite/0001_init.sql")),
        step(3, "budgets", include_str!("../../migrations/sqlite/0003_budgets.sql")),
    ];
    // A newer release may have added steps: its database still serves this one.
    Migrator { migrations: Cow::Owned(steps), ignore_missing: true, ..Migrator::DEFAULT }
}

fn away(error: sqlx::Error) -> StoreError {
    StoreError::Away(error.to_string())
}

/// A broken uniqueness rule is a conflict, everything else means that the store is away.
fn conflict(what: &'static str) -> impl Fn(sqlx::Error) -> StoreError {
    move |error| match &error {
        sqlx::Error::Database(cause) if cause.is_unique_violation() => StoreError::Conflict(what),
        _ => away(error),
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn ping(&self) -> Result<(), StoreError> {
        // A read would not notice a disk that is full or a lock that is held.
        self.write_with(&self.pings).await?.rollback().await.map_err(away)
    }

    async fn close(&self) {
        self.readers.close().await;
        self.reports.close().await;
        self.pings.close().await;
        // Nobody reads any more, so the write-ahead log can go into the database whole.
        self.shred(true).await;
        self.writer.close().await;
    }

    async fn setting(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let row = sqlx::query("SELECT value FROM settings WHERE name = ?")
            .bind(name)
            .fetch_optional(&self.readers)
            .await
            .map_err(away)?;
        row.map(|row| row.try_get(0).map_err(away)).transpose()
    }

    async fn put_setting(
        &self,
        name: &str,
        value: Option<&[u8]>,
        audit: AuditDraft,
    ) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        match value {
            Some(value) => sqlx::query(
                "INSERT INTO settings (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = ?2",
            )
            .bind(name)
            .bind(value),
            None => sqlx::query("DELETE FROM settings WHERE name = ?").bind(name),
        }
        .execute(&mut *tx)
        .await
        .map_err(away)?;
        self.commit(tx, audit).await
    }

    async fn init_setting(&self, name: &str, value: &[u8]) -> Result<Vec<u8>, StoreError> {
        sqlx::query("INSERT INTO settings (name, value) VALUES (?, ?) ON CONFLICT DO NOTHING")
            .bind(name)
            .bind(value)
            .execute(&self.writer)
            .await
            .map_err(away)?;
        Ok(self.setting(name).await?.unwrap_or_default())
    }

    async fn open_audit(&self, chain: AuditChain) -> Result<(), StoreError> {
        self.audit_begin(chain).await
    }

    async fn wrapped_key(&self, purpose: KeyPurpose, owner: &str) -> Result<Option<WrappedKey>, StoreError> {
        self.wrapped_get(purpose, owner).await
    }
    async fn init_wrapped_key(&self, key: &WrappedKey) -> Result<WrappedKey, StoreError> {
        self.wrapped_init(key).await
    }
    async fn replace_wrapped_key(&self, key: &WrappedKey, audit: AuditDraft) -> Result<(), StoreError> {
        self.wrapped_replace(key, audit).await
    }
    async fn wrapped_keys_after(&self, after: i64, limit: u32) -> Result<Vec<(i64, WrappedKey)>, StoreError> {
        self.wrapped_after(after, limit).await
    }
    async fn rewrap_key(&self, key: &WrappedKey, old: &[u8]) -> Result<bool, StoreError> {
        self.wrapped_rewrap(key, old).await
    }
    async fn destroy_unused_keks(
        &self,
        retired_before: Timestamp,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let keks = self.keks_destroy(retired_before, now).await?;
        self.shred(keks > 0).await;
        Ok(keks)
    }
    async fn versions_without_kek(&self) -> Result<u64, StoreError> {
        self.versions_lost().await
    }
    async fn kek_uses(&self) -> Result<Vec<KekUse>, StoreError> {
        self.kek_used().await
    }
    async fn versions_to_move(
        &self,
        after: Option<(&CredentialId, u32)>,
        limit: u32,
    ) -> Result<Vec<VersionToMove>, StoreError> {
        self.versions_misplaced(after, limit).await
    }
    async fn move_versions(&self, moved: &[MovedVersion]) -> Result<u64, StoreError> {
        self.versions_move(moved).await
    }

    async fn sealing_keys(&self) -> Result<Vec<StoredSealingKey>, StoreError> {
        self.sealing_list().await
    }
    async fn create_sealing_key(
        &self,
        key: &StoredSealingKey,
        unless_between: Option<(Timestamp, Timestamp)>,
        audit: AuditDraft,
    ) -> Result<bool, StoreError> {
        self.sealing_create(key, unless_between, audit).await
    }
    async fn destroy_sealing_keys(&self, ended_before: Timestamp, now: Timestamp) -> Result<u64, StoreError> {
        let keys = self.sealing_destroy(ended_before, now).await?;
        self.shred(keys > 0).await;
        Ok(keys)
    }
    async fn claim_seal(&self, claim: &SealClaim) -> Result<SealUse, StoreError> {
        self.seal_claim(claim).await
    }
    async fn look_at_seal(&self, claim: &SealClaim) -> Result<SealUse, StoreError> {
        self.seal_look(claim).await
    }
    async fn forget_seals(&self, now: Timestamp) -> Result<(), StoreError> {
        self.seals_forget(now).await
    }

    async fn create_tenant(&self, tenant: &Tenant, audit: AuditDraft) -> Result<(), StoreError> {
        self.tenant_create(tenant, audit).await
    }
    async fn tenant(&self, id: &TenantId) -> Result<Option<Tenant>, StoreError> {
        self.tenant_get(id).await
    }
    async fn tenants(&self, page: &PageRequest) -> Result<Page<Tenant>, StoreError> {
        self.tenant_list(page).await
    }
    async fn update_tenant(
        &self,
        id: &TenantId,
        change: &TenantChange,
        audit: AuditDraft,
    ) -> Result<Tenant, StoreError> {
        self.tenant_update(id, change, audit).await
    }
    async fn delete_tenant(&self, id: &TenantId, audit: AuditDraft) -> Result<(), StoreError> {
        self.tenant_delete(id, audit).await?;
        self.shred(true).await;
        Ok(())
    }

    async fn create_credential(
        &self,
        credential: &SealedCredential,
        audit: AuditDraft,
    ) -> Result<(), StoreError> {
        self.credential_create(credential, audit).await
    }
    async fn credentials(
        &self,
        tenant: &TenantId,
        page: &PageRequest,
    ) -> Result<Page<CredentialSummary>, StoreError> {
        self.credential_list(tenant, page).await
    }
    async fn credential(
        &self,
        tenant: &TenantId,
        id: &CredentialId,
    ) -> Result<Option<CredentialSummary>, StoreError> {
        self.credential_get(tenant, id).await
    }
    async fn sealed_credentials(&self, tenant: &TenantId) -> Result<Vec<SealedCredential>, StoreError> {
        self.credential_sealed(tenant).await
    }
    async fn rotate_credential(
        &self,
        tenant: &TenantId,
        id: &CredentialId,
        version: NewVersion<'_>,
        audit: AuditDraft,
    ) -> Result<CredentialSummary, StoreError> {
        let summary = self.credential_rotate(tenant, id, version, audit).await?;
        self.shred(true).await;
        Ok(summary)
    }
    async fn revoke_credential(
        &self,
        tenant: &TenantId,
        id: &CredentialId,
        audit: AuditDraft,
    ) -> Result<(), StoreError> {
        self.credential_revoke(tenant, id, audit).await?;
        self.shred(true).await;
        Ok(())
    }
    async fn record_test(
        &self,
        tenant: &TenantId,
        id: &CredentialId,
        test: TestResult,
        audit: AuditDraft,
    ) -> Result<(), StoreError> {
        self.credential_tested(tenant, id, test, audit).await
    }
    async fn destroy_overlapped(&self, now: Timestamp) -> Result<u64, StoreError> {
        let versions = self.credential_destroy_overlapped(now).await?;
        self.shred(versions > 0).await;
        Ok(versions)
    }

    async fn create_token(&self, token: &StoredToken, audit: AuditDraft) -> Result<(), StoreError> {
        self.token_create(token, audit).await
    }
    async fn token(&self, id: &TokenId) -> Result<Option<StoredToken>, StoreError> {
        self.token_get(id).await
    }
    async fn tokens(&self, tenant: &TenantId, page: &PageRequest) -> Result<Page<Token>, StoreError> {
        self.token_list(tenant, page).await
    }
    async fn revoke_token(
        &self,
        tenant: &TenantId,
        id: &TokenId,
        audit: AuditDraft,
    ) -> Result<(), StoreError> {
        self.token_revoke(tenant, id, audit).await
    }

    async fn create_issuer(&self, issuer: &Issuer, audit: AuditDraft) -> Result<(), StoreError> {
        self.issuer_create(issuer, audit).await
    }
    async fn issuers(&self, tenant: &TenantId) -> Result<Vec<Issuer>, StoreError> {
        self.issuer_list(tenant).await
    }
    async fn has_issuers(&self) -> Result<bool, StoreError> {
        self.issuer_any().await
    }
    async fn delete_issuer(
        &self,
        tenant: &TenantId,
        id: &IssuerId,
        audit: AuditDraft,
    ) -> Result<(), StoreError> {
        self.issuer_delete(tenant, id, audit).await
    }

    async fn spent(&self, tenant: &TenantId, span: Span) -> Result<Spent, StoreError> {
        self.budget_spent(tenant, span).await
    }
    async fn record_usage(&self, records: &[UsageRecord]) -> Result<Vec<TenantSums>, StoreError> {
        self.usage_record(records).await
    }
    async fn usage(
        &self,
        tenant: &TenantId,
        from: Option<Timestamp>,
        to: Option<Timestamp>,
        group_by: &[GroupBy],
    ) -> Result<Vec<UsageGroup>, StoreError> {
        self.usage_sums(tenant, from, to, group_by).await
    }
    async fn usage_rows(
        &self,
        tenant: &TenantId,
        from: Option<Timestamp>,
        to: Option<Timestamp>,
        page: &PageRequest,
    ) -> Result<Page<UsageRow>, StoreError> {
        self.usage_list(tenant, from, to, page).await
    }

    async fn append_audit(&self, draft: AuditDraft) -> Result<(), StoreError> {
        let tx = self.write().await?;
        self.commit(tx, draft).await
    }
    async fn audit(&self, filter: &AuditFilter, page: &PageRequest) -> Result<Page<AuditRow>, StoreError> {
        self.audit_list(filter, page).await
    }
    async fn audit_after(&self, seq: i64, limit: u32) -> Result<Vec<AuditRow>, StoreError> {
        self.audit_from(seq, limit).await
    }
    async fn audit_head(&self) -> Result<Option<AuditHead>, StoreError> {
        self.audit_end().await
    }
}

#[cfg(test)]
mod tests {
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

    #[tokio::test]
    async fn a_disk_that_was_full_is_written_to_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = SqliteStore::open(&folder.path().join("test.db")).await.expect("opens");
        let secret = ServiceSecret::generate(&SystemEntropy);
        store.open_audit(AuditChain::new(secret.audit_key())).await.expect("opens");
        // The connection may add no page: to SQLite that is a full disk.
        sqlx::query("PRAGMA max_page_count = 1").execute(&store.writer).await.expect("set");
        let full = store.append_audit(draft("x".repeat(100_000))).await;
        assert!(matches!(full, Err(StoreError::Away(_))), "{full:?}");
        store.append_audit(draft("x".repeat(100_000))).await.expect("the next write has room");
        assert_eq!(store.audit_after(0, 10).await.expect("read").len(), 1);
    }
}
