//! Things to store.

use keyferry_core::{
    audit::{AuditChain, AuditDraft},
    credential::{CredentialSummary, SealedCredential, State, TestResult},
    id::{CredentialId, TenantId},
    issuer::{Algorithm, Issuer, Jwks},
    port::store::{NewVersion, PageRequest, Store, StoredToken},
    tenant::{BudgetPeriod, Fallback, Tenant},
    time::Timestamp,
    token::{Role, Token, TokenHash},
    verdict::KeyStatus,
    wrapped::WrappedKey,
};
use keyferry_envelope::{KekId, KeyPurpose, Sealed, SecretBytes, ServiceSecret};
use keyferry_storage::{
    counter::{MemoryCounters, RedisAddress, RedisClock, RedisCounters},
    postgres::{Address, PostgresStore},
    sqlite::SqliteStore,
};
use keyferry_storage_testing::Postgres;
use serde_json::json;
use tempfile::TempDir;

pub(crate) fn now() -> Timestamp {
    Timestamp::parse("2026-01-31T12:00:00Z").expect("valid")
}

pub(crate) fn chain() -> AuditChain {
    let secret = ServiceSecret::from_secret(SecretBytes::new(vec![7; 32])).expect("32 bytes");
    AuditChain::new(secret.audit_key())
}

pub(crate) async fn sqlite(_: &str) -> Option<(SqliteStore, TempDir)> {
    let folder = tempfile::tempdir().expect("a folder");
    let store = SqliteStore::open(&folder.path().join("test.db")).await.expect("opens");
    store.open_audit(chain()).await.expect("opens");
    Some((store, folder))
}

/// A store in a database of its own on the server that all tests share.
pub(crate) async fn postgres(test: &str) -> Option<(PostgresStore, ())> {
    let server = Postgres::shared(test).await?;
    Some((on(&server.new_database().await).await, ()))
}

/// A store at a URL of PostgreSQL.
pub(crate) async fn on(url: &str) -> PostgresStore {
    let store = PostgresStore::open(&Address::parse(url).expect("a URL")).await.expect("opens");
    store.open_audit(chain()).await.expect("opens");
    store
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

/// What a rotation brings.
pub(crate) fn version(number: u32, sealed: &Sealed, keep_old_until: Option<Timestamp>) -> NewVersion<'_> {
    NewVersion {
        version: number,
        sealed,
        origin: "https://api.openai.com",
        last4: "wxyz",
        fingerprint: "2233",
        keep_old_until,
    }
}

pub(crate) fn issuer(tenant: &TenantId) -> Issuer {
    Issuer {
        id: "iss_1".parse().expect("valid"),
        tenant: tenant.clone(),
        issuer: "https://app.example".into(),
        audience: "keyferry".into(),
        algorithm: Algorithm::EdDSA,
        keys: Jwks::Inline(r#"{"keys":[]}"#.into()),
        created_at: now(),
        created_by: "operator".into(),
    }
}

pub(crate) fn token(id: &str, tenant: &TenantId) -> StoredToken {
    let token = Token {
        id: id.parse().expect("valid"),
        tenant: tenant.clone(),
        name: Some("ci".into()),
        role: Role::TenantAdmin,
        models: Some(vec!["gpt".into()]),
        rate: Some("7/min".parse().expect("valid")),
        expires_at: Some(now().plus_secs(60)),
        created_at: now(),
        created_by: "operator".into(),
        revoked_at: None,
    };
    StoredToken { token, hash: TokenHash::of(b"secret") }
}

/// Reads the whole audit log and checks it; answers how many rows there are.
pub(crate) async fn whole_chain(store: &dyn Store) -> i64 {
    let chain = chain();
    let mut verification = chain.verify();
    for row in store.audit_after(0, 1_000_000).await.expect("read") {
        verification.row(&row).expect("whole");
    }
    verification.finish(store.audit_head().await.expect("read").as_ref()).expect("whole")
}

pub(crate) fn page(limit: u32) -> PageRequest {
    PageRequest { cursor: None, limit }
}
