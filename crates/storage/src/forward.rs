//! The storage port's methods, forwarded to those of a backend. The backends have the same ones, each in
//! the file of its table; a trait can only be implemented in one place.

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

use crate::{postgres::PostgresStore, sqlite::SqliteStore};

/// Implements the port for a store. `operation` and `report` are its methods that run the work: what a
/// caller waits for, and what sums or lists many rows.
macro_rules! forward {
    ($store:ty) => {
        #[async_trait]
        impl Store for $store {
            async fn ping(&self) -> Result<(), StoreError> {
                self.operation(self.alive()).await
            }
            async fn close(&self) {
                self.tidy_up().await;
            }
            async fn setting(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
                self.operation(self.setting_get(name)).await
            }
            async fn put_setting(
                &self,
                name: &str,
                value: Option<&[u8]>,
                audit: AuditDraft,
            ) -> Result<(), StoreError> {
                self.operation(self.setting_put(name, value, audit)).await
            }
            async fn init_setting(&self, name: &str, value: &[u8]) -> Result<Vec<u8>, StoreError> {
                self.operation(self.setting_init(name, value)).await
            }
            async fn open_audit(&self, chain: AuditChain) -> Result<(), StoreError> {
                self.operation(self.audit_begin(chain)).await
            }
            async fn wrapped_key(
                &self,
                purpose: KeyPurpose,
                owner: &str,
            ) -> Result<Option<WrappedKey>, StoreError> {
                self.operation(self.wrapped_get(purpose, owner)).await
            }
            async fn init_wrapped_key(&self, key: &WrappedKey) -> Result<WrappedKey, StoreError> {
                self.operation(self.wrapped_init(key)).await
            }
            async fn replace_wrapped_key(
                &self,
                key: &WrappedKey,
                audit: AuditDraft,
            ) -> Result<(), StoreError> {
                self.operation(self.wrapped_replace(key, audit)).await
            }
            async fn wrapped_keys_after(
                &self,
                after: i64,
                limit: u32,
            ) -> Result<Vec<(i64, WrappedKey)>, StoreError> {
                self.operation(self.wrapped_after(after, limit)).await
            }
            async fn rewrap_key(&self, key: &WrappedKey, old: &[u8]) -> Result<bool, StoreError> {
                self.operation(self.wrapped_rewrap(key, old)).await
            }
            async fn destroy_unused_keks(
                &self,
                retired_before: Timestamp,
                now: Timestamp,
            ) -> Result<u64, StoreError> {
                self.operation(self.keks_destroy(retired_before, now)).await
            }
            async fn versions_without_kek(&self) -> Result<u64, StoreError> {
                self.report(self.versions_lost()).await
            }
            async fn kek_uses(&self) -> Result<Vec<KekUse>, StoreError> {
                self.report(self.kek_used()).await
            }
            async fn versions_to_move(
                &self,
                after: Option<(&CredentialId, u32)>,
                limit: u32,
            ) -> Result<Vec<VersionToMove>, StoreError> {
                self.report(self.versions_misplaced(after, limit)).await
            }
            async fn move_versions(&self, moved: &[MovedVersion]) -> Result<u64, StoreError> {
                self.operation(self.versions_move(moved)).await
            }
            async fn sealing_keys(&self) -> Result<Vec<StoredSealingKey>, StoreError> {
                self.operation(self.sealing_list()).await
            }
            async fn create_sealing_key(
                &self,
                key: &StoredSealingKey,
                unless_between: Option<(Timestamp, Timestamp)>,
                audit: AuditDraft,
            ) -> Result<bool, StoreError> {
                self.operation(self.sealing_create(key, unless_between, audit)).await
            }
            async fn destroy_sealing_keys(
                &self,
                ended_before: Timestamp,
                now: Timestamp,
            ) -> Result<u64, StoreError> {
                self.operation(self.sealing_destroy(ended_before, now)).await
            }
            async fn claim_seal(&self, claim: &SealClaim) -> Result<SealUse, StoreError> {
                self.operation(self.seal_claim(claim)).await
            }
            async fn look_at_seal(&self, claim: &SealClaim) -> Result<SealUse, StoreError> {
                self.operation(self.seal_look(claim)).await
            }
            async fn forget_seals(&self, now: Timestamp) -> Result<(), StoreError> {
                self.operation(self.seals_forget(now)).await
            }
            async fn create_tenant(&self, tenant: &Tenant, audit: AuditDraft) -> Result<(), StoreError> {
                self.operation(self.tenant_create(tenant, audit)).await
            }
            async fn tenant(&self, id: &TenantId) -> Result<Option<Tenant>, StoreError> {
                self.operation(self.tenant_get(id)).await
            }
            async fn tenants(&self, page: &PageRequest) -> Result<Page<Tenant>, StoreError> {
                self.operation(self.tenant_list(page)).await
            }
            async fn update_tenant(
                &self,
                id: &TenantId,
                change: &TenantChange,
                audit: AuditDraft,
            ) -> Result<Tenant, StoreError> {
                self.operation(self.tenant_update(id, change, audit)).await
            }
            async fn delete_tenant(&self, id: &TenantId, audit: AuditDraft) -> Result<(), StoreError> {
                self.operation(self.tenant_delete(id, audit)).await
            }
            async fn create_credential(
                &self,
                credential: &SealedCredential,
                audit: AuditDraft,
            ) -> Result<(), StoreError> {
                self.operation(self.credential_create(credential, audit)).await
            }
            async fn credentials(
                &self,
                tenant: &TenantId,
                page: &PageRequest,
            ) -> Result<Page<CredentialSummary>, StoreError> {
                self.operation(self.credential_list(tenant, page)).await
            }
            async fn credential(
                &self,
                tenant: &TenantId,
                id: &CredentialId,
            ) -> Result<Option<CredentialSummary>, StoreError> {
                self.operation(self.credential_get(tenant, id)).await
            }
            async fn sealed_credentials(
                &self,
                tenant: &TenantId,
            ) -> Result<Vec<SealedCredential>, StoreError> {
                self.operation(self.credential_sealed(tenant)).await
            }
            async fn rotate_credential(
                &self,
                tenant: &TenantId,
                id: &CredentialId,
                version: NewVersion<'_>,
                audit: AuditDraft,
            ) -> Result<CredentialSummary, StoreError> {
                self.operation(self.credential_rotate(tenant, id, version, audit)).await
            }
            async fn revoke_credential(
                &self,
                tenant: &TenantId,
                id: &CredentialId,
                audit: AuditDraft,
            ) -> Result<(), StoreError> {
                self.operation(self.credential_revoke(tenant, id, audit)).await
            }
            async fn record_test(
                &self,
                tenant: &TenantId,
                id: &CredentialId,
                test: TestResult,
                audit: AuditDraft,
            ) -> Result<(), StoreError> {
                self.operation(self.credential_tested(tenant, id, test, audit)).await
            }
            async fn destroy_overlapped(&self, now: Timestamp) -> Result<u64, StoreError> {
                self.operation(self.credential_destroy_overlapped(now)).await
            }
            async fn create_token(&self, token: &StoredToken, audit: AuditDraft) -> Result<(), StoreError> {
                self.operation(self.token_create(token, audit)).await
            }
            async fn token(&self, id: &TokenId) -> Result<Option<StoredToken>, StoreError> {
                self.operation(self.token_get(id)).await
            }
            async fn tokens(&self, tenant: &TenantId, page: &PageRequest) -> Result<Page<Token>, StoreError> {
                self.operation(self.token_list(tenant, page)).await
            }
            async fn revoke_token(
                &self,
                tenant: &TenantId,
                id: &TokenId,
                audit: AuditDraft,
            ) -> Result<(), StoreError> {
                self.operation(self.token_revoke(tenant, id, audit)).await
            }
            async fn create_issuer(&self, issuer: &Issuer, audit: AuditDraft) -> Result<(), StoreError> {
                self.operation(self.issuer_create(issuer, audit)).await
            }
            async fn issuers(&self, tenant: &TenantId) -> Result<Vec<Issuer>, StoreError> {
                self.operation(self.issuer_list(tenant)).await
            }
            async fn has_issuers(&self) -> Result<bool, StoreError> {
                self.operation(self.issuer_any()).await
            }
            async fn delete_issuer(
                &self,
                tenant: &TenantId,
                id: &IssuerId,
                audit: AuditDraft,
            ) -> Result<(), StoreError> {
                self.operation(self.issuer_delete(tenant, id, audit)).await
            }
            async fn spent(&self, tenant: &TenantId, span: Span) -> Result<Spent, StoreError> {
                self.operation(self.budget_spent(tenant, span)).await
            }
            async fn record_usage(&self, records: &[UsageRecord]) -> Result<Vec<TenantSums>, StoreError> {
                self.operation(self.usage_record(records)).await
            }
            async fn usage(
                &self,
                tenant: &TenantId,
                from: Option<Timestamp>,
                to: Option<Timestamp>,
                group_by: &[GroupBy],
            ) -> Result<Vec<UsageGroup>, StoreError> {
                self.report(self.usage_sums(tenant, from, to, group_by)).await
            }
            async fn usage_rows(
                &self,
                tenant: &TenantId,
                from: Option<Timestamp>,
                to: Option<Timestamp>,
                page: &PageRequest,
            ) -> Result<Page<UsageRow>, StoreError> {
                self.report(self.usage_list(tenant, from, to, page)).await
            }
            async fn append_audit(&self, draft: AuditDraft) -> Result<(), StoreError> {
                self.operation(self.audit_append(draft)).await
            }
            async fn audit(
                &self,
                filter: &AuditFilter,
                page: &PageRequest,
            ) -> Result<Page<AuditRow>, StoreError> {
                self.report(self.audit_list(filter, page)).await
            }
            async fn audit_after(&self, seq: i64, limit: u32) -> Result<Vec<AuditRow>, StoreError> {
                self.operation(self.audit_from(seq, limit)).await
            }
            async fn audit_head(&self) -> Result<Option<AuditHead>, StoreError> {
                self.operation(self.audit_end()).await
            }
            async fn epochs_to_move(&self, limit: u32) -> Result<Vec<(i64, TenantId)>, StoreError> {
                self.operation(self.outbox_list(limit)).await
            }
            async fn epochs_moved(&self, rows: &[i64]) -> Result<(), StoreError> {
                self.operation(self.outbox_clear(rows)).await
            }
        }
    };
}

forward!(SqliteStore);
forward!(PostgresStore);
