//! The storage port: tenants, credentials, tokens, issuers, usage and the audit log.
//!
//! Every change takes the audit draft that describes it and writes both in one transaction: there
//! is no change without its row, and no row without its change.

use async_trait::async_trait;
use keyferry_envelope::{KeyPurpose, Sealed};
use serde::Serialize;

use crate::{
    audit::{AuditChain, AuditDraft, AuditHead, AuditRow},
    budget::{Span, Spent},
    credential::{CredentialSummary, MovedVersion, SealedCredential, TestResult, VersionToMove},
    id::{CredentialId, IssuerId, TenantId, TokenId},
    issuer::Issuer,
    record::UsageRecord,
    sealing::{SealClaim, SealUse, StoredSealingKey},
    tenant::{Tenant, TenantChange},
    time::Timestamp,
    token::{Token, TokenHash},
    wrapped::{KekUse, WrappedKey},
};

/// Why the store did not do it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// It did not answer, or not in time.
    #[error("the store is away: {0}")]
    Away(String),
    /// There is one already.
    #[error("{0}")]
    Conflict(&'static str),
    /// There is none.
    #[error("no such {0}")]
    NotFound(&'static str),
    /// The cursor is none that a list of this store gave out.
    #[error("the cursor is not valid")]
    Cursor,
    /// What is stored cannot be read: the database was changed by another hand.
    #[error("table {table}, column {column}, row {row}: the stored value cannot be read")]
    Inconsistent {
        /// The table.
        table: &'static str,
        /// The column.
        column: &'static str,
        /// The row's key.
        row: String,
    },
}

/// One page of a list.
#[derive(Debug, Serialize)]
pub struct Page<T> {
    /// The rows.
    pub data: Vec<T>,
    /// What to ask for next; `None` at the end.
    pub next_cursor: Option<String>,
}

/// Which page.
#[derive(Clone, Debug)]
pub struct PageRequest {
    /// From an earlier page.
    pub cursor: Option<String>,
    /// How many rows at most.
    pub limit: u32,
}

/// A new version of a credential.
pub struct NewVersion<'a> {
    /// Its number.
    pub version: u32,
    /// The sealed key.
    pub sealed: &'a Sealed,
    /// The upstream origin it is bound to.
    pub origin: &'a str,
    /// Shown to people.
    pub last4: &'a str,
    /// Shown to people.
    pub fingerprint: &'a str,
    /// Until when the version before is kept; `None` destroys it at once.
    pub keep_old_until: Option<Timestamp>,
}

/// A token and the hash of its secret.
#[derive(Clone)]
pub struct StoredToken {
    /// As the control plane shows it.
    pub token: Token,
    /// What a presented secret must hash to.
    pub hash: TokenHash,
}

/// What usage is summed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupBy {
    /// The provider.
    Provider,
    /// The model.
    Model,
    /// The credential's id.
    Credential,
    /// The caller's token.
    Token,
    /// Who paid.
    Accounting,
    /// The UTC day.
    Day,
}

/// A sum of usage.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct UsageSum {
    /// All requests, errors included.
    pub requests: u64,
    /// Those that did not end well.
    pub errors: u64,
    /// Prompt tokens, cached ones included.
    pub input_tokens: u64,
    /// Prompt tokens that came from the provider's cache.
    pub cached_input_tokens: u64,
    /// Generated tokens.
    pub output_tokens: u64,
    /// What the platform paid.
    pub cost_micro_usd: u64,
    /// How many of the requests were estimated.
    pub estimated: u64,
}

/// A sum and what it is the sum of, in the order that was asked for.
#[derive(Clone, Debug)]
pub struct UsageGroup {
    /// One value for each [`GroupBy`]; `None` where the rows have none.
    pub keys: Vec<Option<String>>,
    /// The sum.
    pub sum: UsageSum,
}

/// A request as the usage list shows it.
#[derive(Clone, Debug, Serialize)]
pub struct UsageRow {
    /// The request.
    pub request_id: String,
    /// When it was admitted.
    pub at: Timestamp,
    /// Who asked.
    pub caller: String,
    /// Which provider served it.
    pub provider: String,
    /// Which model.
    pub model: Option<String>,
    /// Which operation.
    pub operation: String,
    /// In which way the key came.
    pub credential: String,
    /// The stored key.
    pub credential_id: Option<String>,
    /// Who paid.
    pub accounting: String,
    /// What was answered.
    pub status: u16,
    /// How it ended.
    pub outcome: String,
    /// Prompt tokens.
    pub input_tokens: u64,
    /// Of these, cached.
    pub cached_input_tokens: u64,
    /// Generated tokens.
    pub output_tokens: u64,
    /// What the platform paid.
    pub cost_micro_usd: u64,
    /// `reported`, `estimated` or `none`.
    pub usage_source: String,
    /// From admission to the last byte.
    pub latency_ms: u64,
    /// Spent in the gateway before the provider was called.
    pub overhead_us: u64,
}

/// Sums of what the platform has paid for a tenant, as they are after a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantSums {
    /// For whom.
    pub tenant: TenantId,
    /// By span.
    pub spent: Vec<(Span, Spent)>,
}

/// Which audit rows.
#[derive(Clone, Debug, Default)]
pub struct AuditFilter {
    /// Of this tenant only.
    pub tenant: Option<TenantId>,
    /// From here.
    pub from: Option<Timestamp>,
    /// To here, exclusive.
    pub to: Option<Timestamp>,
    /// Of this action only.
    pub action: Option<String>,
    /// By this actor only.
    pub actor: Option<String>,
}

/// A store.
#[async_trait]
pub trait Store: Send + Sync {
    /// Whether it answers.
    async fn ping(&self) -> Result<(), StoreError>;
    /// Leaves everything tidy; nothing is asked of it afterwards.
    async fn close(&self);

    /// A named setting of the installation, such as the hash of the operator's token.
    async fn setting(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError>;
    /// Writes or removes a setting.
    async fn put_setting(
        &self,
        name: &str,
        value: Option<&[u8]>,
        audit: AuditDraft,
    ) -> Result<(), StoreError>;
    /// Writes a setting unless it is there already; answers what is there now.
    async fn init_setting(&self, name: &str, value: &[u8]) -> Result<Vec<u8>, StoreError>;

    /// Opens the audit log, and begins it in a new store. Until then no change can be made that
    /// needs a row in it.
    async fn open_audit(&self, chain: AuditChain) -> Result<(), StoreError>;

    /// The key in use of a purpose and an owner.
    async fn wrapped_key(&self, purpose: KeyPurpose, owner: &str) -> Result<Option<WrappedKey>, StoreError>;
    /// Adds a key unless its owner has one of its purpose in use; answers the one that is.
    async fn init_wrapped_key(&self, key: &WrappedKey) -> Result<WrappedKey, StoreError>;
    /// Puts a key in use and retires the one before, in one transaction.
    async fn replace_wrapped_key(&self, key: &WrappedKey, audit: AuditDraft) -> Result<(), StoreError>;
    /// Keys after a position, of any purpose, in use or retired. The position of the first page is 0.
    async fn wrapped_keys_after(&self, after: i64, limit: u32) -> Result<Vec<(i64, WrappedKey)>, StoreError>;
    /// Writes a key as another root, or a newer version of the same, wraps it, if the old bytes still
    /// stand there; answers whether they did.
    async fn rewrap_key(&self, key: &WrappedKey, old: &[u8]) -> Result<bool, StoreError>;
    /// Destroys KEKs that were retired before a time and wrap nothing any more; answers how many.
    async fn destroy_unused_keks(&self, retired_before: Timestamp, now: Timestamp)
    -> Result<u64, StoreError>;
    /// How many versions lie under a KEK that the store has lost.
    async fn versions_without_kek(&self) -> Result<u64, StoreError>;
    /// How many versions each tenant's KEK wraps.
    async fn kek_uses(&self) -> Result<Vec<KekUse>, StoreError>;
    /// Versions under a retired KEK, after a position, in order.
    async fn versions_to_move(
        &self,
        after: Option<(&CredentialId, u32)>,
        limit: u32,
    ) -> Result<Vec<VersionToMove>, StoreError>;
    /// Writes moved versions where the old wrapped DEK still stands; answers for how many it did.
    async fn move_versions(&self, moved: &[MovedVersion]) -> Result<u64, StoreError>;

    /// Sealing keys, oldest first.
    async fn sealing_keys(&self) -> Result<Vec<StoredSealingKey>, StoreError>;
    /// Adds a sealing key, unless one of the same KEM begins in `unless_between`, its first instant not
    /// included; answers whether it did.
    async fn create_sealing_key(
        &self,
        key: &StoredSealingKey,
        unless_between: Option<(Timestamp, Timestamp)>,
        audit: AuditDraft,
    ) -> Result<bool, StoreError>;
    /// Destroys sealing keys that ended before a time; answers how many.
    async fn destroy_sealing_keys(&self, ended_before: Timestamp, now: Timestamp) -> Result<u64, StoreError>;
    /// Uses a sealed key once, if that is allowed. It outlives the process: a sealed key is good for
    /// minutes, and counters in memory are not.
    async fn claim_seal(&self, claim: &SealClaim) -> Result<SealUse, StoreError>;
    /// What [`claim_seal`](Self::claim_seal) would answer, without using it.
    async fn look_at_seal(&self, claim: &SealClaim) -> Result<SealUse, StoreError>;
    /// Forgets uses of sealed keys that nobody would accept any more, and remembers how far: what would
    /// have ended by then is not allowed again, whatever the clock does.
    async fn forget_seals(&self, now: Timestamp) -> Result<(), StoreError>;

    /// Adds a tenant.
    async fn create_tenant(&self, tenant: &Tenant, audit: AuditDraft) -> Result<(), StoreError>;
    /// The tenant of an id.
    async fn tenant(&self, id: &TenantId) -> Result<Option<Tenant>, StoreError>;
    /// All tenants, by id.
    async fn tenants(&self, page: &PageRequest) -> Result<Page<Tenant>, StoreError>;
    /// Changes a tenant; reading and writing are one transaction. Answers what it is now.
    async fn update_tenant(
        &self,
        id: &TenantId,
        change: &TenantChange,
        audit: AuditDraft,
    ) -> Result<Tenant, StoreError>;
    /// Removes a tenant, destroys its keys and revokes its tokens. Usage and audit rows stay.
    async fn delete_tenant(&self, id: &TenantId, audit: AuditDraft) -> Result<(), StoreError>;

    /// Adds a credential with its first version.
    async fn create_credential(
        &self,
        credential: &SealedCredential,
        audit: AuditDraft,
    ) -> Result<(), StoreError>;
    /// A tenant's credentials, active and revoked, newest first.
    async fn credentials(
        &self,
        tenant: &TenantId,
        page: &PageRequest,
    ) -> Result<Page<CredentialSummary>, StoreError>;
    /// One credential of a tenant.
    async fn credential(
        &self,
        tenant: &TenantId,
        id: &CredentialId,
    ) -> Result<Option<CredentialSummary>, StoreError>;
    /// A tenant's active credentials with their sealed keys, oldest first.
    async fn sealed_credentials(&self, tenant: &TenantId) -> Result<Vec<SealedCredential>, StoreError>;
    /// Replaces a credential's key, in one transaction with the end of the old one. Refused with
    /// [`StoreError::Conflict`] when another rotation came between.
    async fn rotate_credential(
        &self,
        tenant: &TenantId,
        id: &CredentialId,
        version: NewVersion<'_>,
        audit: AuditDraft,
    ) -> Result<CredentialSummary, StoreError>;
    /// Destroys a credential's wrapped keys, all versions. A second time: [`StoreError::NotFound`].
    async fn revoke_credential(
        &self,
        tenant: &TenantId,
        id: &CredentialId,
        audit: AuditDraft,
    ) -> Result<(), StoreError>;
    /// Keeps the verdict of a test.
    async fn record_test(
        &self,
        tenant: &TenantId,
        id: &CredentialId,
        test: TestResult,
        audit: AuditDraft,
    ) -> Result<(), StoreError>;
    /// Destroys versions whose overlap is over; answers how many.
    async fn destroy_overlapped(&self, now: Timestamp) -> Result<u64, StoreError>;

    /// Adds a token.
    async fn create_token(&self, token: &StoredToken, audit: AuditDraft) -> Result<(), StoreError>;
    /// The token of an id, live or not.
    async fn token(&self, id: &TokenId) -> Result<Option<StoredToken>, StoreError>;
    /// A tenant's tokens, newest first.
    async fn tokens(&self, tenant: &TenantId, page: &PageRequest) -> Result<Page<Token>, StoreError>;
    /// Revokes a token. A second time: [`StoreError::NotFound`].
    async fn revoke_token(
        &self,
        tenant: &TenantId,
        id: &TokenId,
        audit: AuditDraft,
    ) -> Result<(), StoreError>;

    /// Adds an issuer.
    async fn create_issuer(&self, issuer: &Issuer, audit: AuditDraft) -> Result<(), StoreError>;
    /// A tenant's issuers.
    async fn issuers(&self, tenant: &TenantId) -> Result<Vec<Issuer>, StoreError>;
    /// Whether any tenant has an issuer.
    async fn has_issuers(&self) -> Result<bool, StoreError>;
    /// Removes an issuer. A second time: [`StoreError::NotFound`].
    async fn delete_issuer(
        &self,
        tenant: &TenantId,
        id: &IssuerId,
        audit: AuditDraft,
    ) -> Result<(), StoreError>;

    /// Writes usage rows, the time of last use of their credentials, and the sums of what the platform
    /// paid, in one transaction. A row whose request id is there already is dropped and adds nothing.
    /// Answers the sums that changed.
    async fn record_usage(&self, records: &[UsageRecord]) -> Result<Vec<TenantSums>, StoreError>;
    /// What the platform has paid for a tenant.
    async fn spent(&self, tenant: &TenantId, span: Span) -> Result<Spent, StoreError>;
    /// A tenant's usage in a time range, summed.
    async fn usage(
        &self,
        tenant: &TenantId,
        from: Option<Timestamp>,
        to: Option<Timestamp>,
        group_by: &[GroupBy],
    ) -> Result<Vec<UsageGroup>, StoreError>;
    /// A tenant's requests, newest first.
    async fn usage_rows(
        &self,
        tenant: &TenantId,
        from: Option<Timestamp>,
        to: Option<Timestamp>,
        page: &PageRequest,
    ) -> Result<Page<UsageRow>, StoreError>;

    /// Appends to the audit log what is no change to anything else.
    async fn append_audit(&self, audit: AuditDraft) -> Result<(), StoreError>;
    /// Audit rows, newest first.
    async fn audit(&self, filter: &AuditFilter, page: &PageRequest) -> Result<Page<AuditRow>, StoreError>;
    /// Audit rows after a number, oldest first: the way `audit verify` reads.
    async fn audit_after(&self, seq: i64, limit: u32) -> Result<Vec<AuditRow>, StoreError>;
    /// The end of the audit log.
    async fn audit_head(&self) -> Result<Option<AuditHead>, StoreError>;

    /// Tenants whose epoch is to be moved, oldest first, each with the number of its row: a change to
    /// what is cached of a tenant writes one in its own transaction, so that no change goes unseen.
    async fn epochs_to_move(&self, limit: u32) -> Result<Vec<(i64, TenantId)>, StoreError>;
    /// Strikes out rows whose epoch was moved. Whoever does it, and twice or not: it is harmless.
    async fn epochs_moved(&self, rows: &[i64]) -> Result<(), StoreError>;
}
