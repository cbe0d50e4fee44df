//! The store and its roots, for commands that work on them beside a running gateway.

use std::sync::Arc;

use anyhow::ensure;
use keyferry_core::{audit::AuditChain, clock::SystemClock};
use keyferry_envelope::SystemEntropy;
use keyferry_storage::sqlite::SqliteStore;

use crate::{
    config::Config,
    custody::{Ground, Making, open_existing, open_roots},
};

/// Opens the store of a configuration, whose audit log it can then write and check.
pub(super) async fn open(config: &Config) -> anyhow::Result<(Ground, AuditChain)> {
    ensure!(config.database.exists(), "there is no database at {}", config.database.display());
    let ground = Ground {
        store: Arc::new(SqliteStore::open(&config.database).await?),
        clock: Arc::new(SystemClock),
        entropy: Arc::new(SystemEntropy),
        keyring: Arc::new(roots(config)?),
    };
    let chain = AuditChain::new(open_existing(&*ground.store, &ground.keyring).await?.audit_key());
    let writing = AuditChain::new(open_existing(&*ground.store, &ground.keyring).await?.audit_key());
    ground.store.open_audit(writing).await?;
    Ok((ground, chain))
}

fn roots(config: &Config) -> anyhow::Result<crate::custody::Keyring> {
    let clock: Arc<dyn keyferry_core::clock::Clock> = Arc::new(SystemClock);
    let entropy: Arc<dyn keyferry_envelope::Entropy> = Arc::new(SystemEntropy);
    Ok(open_roots(&config.kms, &config.database, Making::Forbidden, &clock, &entropy)?.0)
}
