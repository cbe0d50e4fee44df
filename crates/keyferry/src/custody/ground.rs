//! What custody stands on: the roots and the store, opened together.

use std::sync::Arc;

use keyferry_core::{
    audit::AuditChain,
    clock::Clock,
    port::store::{Store, StoreError},
};
use keyferry_envelope::{Entropy, ServiceSecret};
use keyferry_storage::Backend;

use super::{
    keks::TenantKeks,
    keyring::Keyring,
    roots::{Chore, Making, RootsError, open_roots},
    sealed::Unsealing,
    sealing::SealingKeys,
    service::{ServiceSecretError, open_existing, open_or_make},
};
use crate::config::Kms;

/// Why there is nothing to stand on.
#[derive(Debug, thiserror::Error)]
pub enum GroundError {
    /// A root cannot be used.
    #[error(transparent)]
    Roots(#[from] RootsError),
    /// The database cannot be used.
    #[error("storage")]
    Store(#[from] StoreError),
    /// The store's own secret cannot be opened.
    #[error(transparent)]
    Service(#[from] ServiceSecretError),
}

/// What custody stands on.
pub struct Ground {
    /// The roots.
    pub keyring: Arc<Keyring>,
    /// Where wrapped keys are.
    pub store: Arc<dyn Store>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
}

impl Ground {
    /// Sealing keys, and what opens with them.
    pub fn unsealing(&self, max_uses: u32) -> Unsealing {
        Unsealing {
            keys: Arc::new(self.sealing_keys()),
            store: Arc::clone(&self.store),
            clock: Arc::clone(&self.clock),
            max_uses,
        }
    }

    /// Sealing keys.
    pub fn sealing_keys(&self) -> SealingKeys {
        SealingKeys {
            store: Arc::clone(&self.store),
            keyring: Arc::clone(&self.keyring),
            clock: Arc::clone(&self.clock),
            entropy: Arc::clone(&self.entropy),
            known: std::sync::RwLock::default(),
            reading: tokio::sync::Mutex::default(),
        }
    }

    /// The tenants' KEKs.
    pub fn keks(&self) -> TenantKeks {
        TenantKeks {
            store: Arc::clone(&self.store),
            keyring: Arc::clone(&self.keyring),
            clock: Arc::clone(&self.clock),
            entropy: Arc::clone(&self.entropy),
        }
    }
}

/// What there is, for who only looks: the names of the roots, and the rows. No root is asked, and nothing
/// can be written to the audit log.
pub struct Outline {
    /// The roots.
    pub keyring: Keyring,
    /// Where wrapped keys are.
    pub store: Arc<dyn Store>,
}

impl Outline {
    /// Opens roots and store, and no key.
    pub async fn open(
        kms: &Kms,
        storage: &Backend,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, GroundError> {
        let (keyring, _) = open_roots(kms, storage.file(), Making::Forbidden, &clock, &entropy)?;
        Ok(Self { keyring, store: keyferry_storage::open(storage).await? })
    }
}

/// The ground, and what came up while it was opened.
pub struct Opened {
    /// The ground.
    pub ground: Ground,
    /// The installation's own secret.
    pub service: ServiceSecret,
    /// What the roots need done.
    pub chores: Vec<Chore>,
}

impl Ground {
    /// Opens the roots, the store, and with the secret in the store its audit log.
    pub async fn open(
        kms: &Kms,
        storage: &Backend,
        making: Making,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Opened, GroundError> {
        let (keyring, chores) = open_roots(kms, storage.file(), making, &clock, &entropy)?;
        let store: Arc<dyn Store> = keyferry_storage::open(storage).await?;
        let service = match making {
            Making::Allowed => open_or_make(&*store, &keyring, clock.now(), &*entropy).await?,
            Making::Forbidden => open_existing(&*store, &keyring).await?,
        };
        store.open_audit(AuditChain::new(service.audit_key())).await?;
        Ok(Opened { ground: Self { keyring: Arc::new(keyring), store, clock, entropy }, service, chores })
    }
}
