//! The store and its roots, for commands that work on them beside a running gateway.

use std::sync::Arc;

use anyhow::ensure;
use keyferry_core::{audit::AuditChain, clock::SystemClock};
use keyferry_envelope::SystemEntropy;

use crate::{
    config::Config,
    custody::{Ground, Making, OpenedGround, Outline},
};

/// Opens the store of a configuration; the chain is for checking its audit log.
pub(super) async fn open(config: &Config) -> anyhow::Result<(Ground, AuditChain)> {
    is_there(config)?;
    let (clock, entropy) = (Arc::new(SystemClock), Arc::new(SystemEntropy));
    let opened = Ground::open(&config.kms, &config.storage, Making::Forbidden, clock, entropy).await?;
    let OpenedGround { ground, service, .. } = opened;
    Ok((ground, AuditChain::new(service.audit_key())))
}

/// Opens it to look at its rows: it works while a KMS is away.
pub(super) async fn look(config: &Config) -> anyhow::Result<Outline> {
    is_there(config)?;
    let (clock, entropy) = (Arc::new(SystemClock), Arc::new(SystemEntropy));
    Ok(Outline::open(&config.kms, &config.storage, clock, entropy).await?)
}

fn is_there(config: &Config) -> anyhow::Result<()> {
    if let Some(file) = config.storage.file() {
        ensure!(file.exists(), "there is no database at {}", file.display());
    }
    Ok(())
}
