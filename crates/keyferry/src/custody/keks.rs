//! The tenants' KEKs: which one is in use, and a new one in its place.

use std::{sync::Arc, time::Instant};

use keyferry_core::{
    audit::AuditDraft,
    clock::Clock,
    id::TenantId,
    port::{
        root::RootError,
        store::{Store, StoreError},
    },
    wrapped::{WrappedKey, make_kek_id},
};
use keyferry_envelope::{Entropy, KekId, KeyPurpose, TenantKek};
use serde_json::json;

use super::keyring::Keyring;

/// Why a KEK cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum KekError {
    /// The root.
    #[error(transparent)]
    Root(#[from] RootError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Finds and makes KEKs.
pub struct TenantKeks {
    pub(super) store: Arc<dyn Store>,
    pub(super) keyring: Arc<Keyring>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) entropy: Arc<dyn Entropy>,
}

/// A KEK, open, and as it is stored.
pub struct InUse {
    /// As it is stored.
    pub stored: WrappedKey,
    /// Open.
    pub kek: Arc<TenantKek>,
}

impl TenantKeks {
    /// The KEK that a tenant's keys are wrapped under from now on. The first call makes it.
    pub async fn in_use(&self, tenant: &TenantId) -> Result<InUse, KekError> {
        if let Some(stored) = self.store.wrapped_key(KeyPurpose::TenantKek, tenant.as_str()).await? {
            let kek = self.keyring.kek(&stored).await?;
            return Ok(InUse { stored, kek });
        }
        let (made, _) = self.make(tenant).await?;
        // Another request may have made one meanwhile: the store says which it is.
        let stored = self.store.init_wrapped_key(&made).await?;
        let kek = self.keyring.kek(&stored).await?;
        Ok(InUse { stored, kek })
    }

    /// The same for a key that is to be stored: the root is asked even if the KEK is open. While it is
    /// away nothing new is put under it (requirement C4).
    pub async fn in_use_now(&self, tenant: &TenantId) -> Result<InUse, KekError> {
        let Some(stored) = self.store.wrapped_key(KeyPurpose::TenantKek, tenant.as_str()).await? else {
            return self.in_use(tenant).await;
        };
        let kek = self.keyring.open_anew(&stored).await?;
        Ok(InUse { stored, kek })
    }

    /// Puts a new KEK in use. What is wrapped under the old one is moved by `kek rewrap`.
    pub async fn rotate(&self, tenant: &TenantId, actor: &str, source: &str) -> Result<WrappedKey, KekError> {
        let (stored, kek) = self.make(tenant).await?;
        let audit = AuditDraft {
            at: stored.created_at,
            actor: actor.to_owned(),
            action: "kek.rotated",
            tenant: Some(tenant.as_str().to_owned()),
            target: stored.id.clone(),
            source: source.to_owned(),
            detail: json!({"root": stored.root}),
        };
        self.store.replace_wrapped_key(&stored, audit).await?;
        self.keyring.keep(&stored, &Arc::new(kek), Instant::now());
        Ok(stored)
    }

    async fn make(&self, tenant: &TenantId) -> Result<(WrappedKey, TenantKek), KekError> {
        let now = self.clock.now();
        let root = self.keyring.primary();
        let id = make_kek_id(now, &*self.entropy);
        let kek = TenantKek::generate(KekId::new(id.clone()), &*self.entropy);
        let mut stored = WrappedKey {
            purpose: KeyPurpose::TenantKek,
            owner: tenant.as_str().to_owned(),
            id,
            root: root.id().to_owned(),
            wrapped: Vec::new(),
            created_at: now,
            retired_at: None,
        };
        stored.wrapped = root.wrap(&stored.context(), kek.secret()).await?;
        Ok((stored, kek))
    }
}
