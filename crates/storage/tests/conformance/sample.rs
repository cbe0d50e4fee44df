//! Things to store.

use keyferry_core::{
    audit::{AuditChain, AuditDraft},
    credential::{CredentialSummary, SealedCredential, State, TestResult},
    id::{CredentialId, TenantId},
    port::store::{PageRequest, Store},
    tenant::{BudgetPeriod, Fallback, Tenant},
    time::Timestamp,
    verdict::KeyStatus,
    wrapped::WrappedKey,
};
use keyferry_envelope::{KekId, KeyPurpose, Sealed, SecretBytes, ServiceSecret};
use keyferry_storage::{
    counter::{MemoryCounters, RedisAddress, RedisClock, RedisCounters},
    sqlite::SqliteStore,
};
use serde_json::json;
use tempfile::TempDir;

pub(crate) fn now() -> Timestamp {
    Timestamp::parse("2026-01-31T12:00:00Z").expect("valid")
}

pub(crate) fn chain() -> AuditChain {
    let secret = ServiceSecret::from_secret(SecretBytes::new(vec![7; 32])).expect("32 bytes");
    AuditChain::new(secret.audit_key())
}

pub(crate) async fn sqlite() -> (SqliteStore, TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let store = SqliteStore::open(&folder.path().join("test.db")).await.expect("opens");
    store.open_audit(chain()).await.expect("opens");
    (store, folder)
}

pub(crate) async fn memory_counters(_: &str) -> Option<MemoryCounters> {
    Some(MemoryCounters::default())
}

/// A database of its own on a Redis, on the clock of the test; none without a server.
pub(crate) async fn redis_counters(test: &str) -> Option<RedisCounters> {
    let url = keyferry_storage_testing::redis::fresh_database(test)?;
    let address = RedisAddress::read(&url).expect("a URL");
    Some(RedisCounters::open(address, None, None, RedisClock::Caller).await.expect("it is fit"))
}

pub(crate) fn draft(action: &'static str) -> AuditDraft {
    AuditDraft {
        at: now(),
        actor: "operator".into(),
        action,
        tenant: Some("acme".into()),
        target: "target".into(),
        source: "127.0.0.1".into(),
        detail: json!({"a": 1}),
    }
}

pub(crate) fn tenant(id: &str) -> Tenant {
    Tenant {
        id: id.parse().expect("valid"),
        name: "Acme".into(),
        tier: "gold".into(),
        byok_enabled: true,
        daily_quota: 7,
        fallback: Fallback { missing: true, ..Fallback::default() },
        budget_micro_usd: Some(5),
        budget_period: BudgetPeriod::Total,
        created_at: now(),
    }
}

pub(crate) async fn with_tenant(store: &dyn Store) -> TenantId {
    let tenant = tenant("acme");
    store.create_tenant(&tenant, draft("tenant.created")).await.expect("created");
    store.init_wrapped_key(&kek(&tenant.id, "kek_1")).await.expect("added");
    tenant.id
}

pub(crate) fn kek(tenant: &TenantId, id: &str) -> WrappedKey {
    WrappedKey {
        purpose: KeyPurpose::TenantKek,
        owner: tenant.as_str().to_owned(),
        id: id.to_owned(),
        root: "local:1".to_owned(),
        wrapped: id.as_bytes().to_vec(),
        created_at: now(),
        retired_at: None,
    }
}

pub(crate) fn sealed(byte: u8) -> Sealed {
    Sealed { envelope: vec![byte; 100], wrapped_dek: vec![byte; 90], kek_id: KekId::new("kek_1") }
}

pub(crate) fn credential(id: &str, tenant: &TenantId, provider: &str, label: &str) -> SealedCredential {
    SealedCredential {
        summary: CredentialSummary {
            id: id.parse::<CredentialId>().expect("valid"),
            tenant: tenant.clone(),
            provider: provider.parse().expect("valid"),
            label: label.into(),
            version: 1,
            state: State::Active,
            last4: "abcd".into(),
            fingerprint: "0011".into(),
            kek_id: "kek_1".into(),
            created_at: now(),
            created_by: "operator".into(),
            last_used_at: None,
            test: TestResult { status: KeyStatus::Untested, at: None },
        },
        origin: "https://api.openai.com".into(),
        sealed: sealed(1),
        kek: Some(kek(tenant, "kek_1")),
    }
}

pub(crate) fn page(limit: u32) -> PageRequest {
    PageRequest { cursor: None, limit }
}
