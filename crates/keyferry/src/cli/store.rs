//! The store and its roots, for commands that work on them beside a running gateway.

use std::sync::Arc;

use anyhow::ensure;
use keyferry_core::{audit::AuditChain, clock::SystemClock};
use keyferry_envelope::SystemEntropy;

use crate::{
    config::Config,
    custody::{Ground, Making, OpenedGround},
};

/// Opens the store of a configuration; the chain is for checking its audit log.
pub(super) async fn open(config: &Config) -> anyhow::Result<(Ground, AuditChain)> {
    ensure!(config.database.exists(), "there is no database at {}", config.database.display());
    let (clock, entropy) = (Arc::new(SystemClock), Arc::new(SystemEntropy));
    let opened = Ground::open(&config.kms, &config.database, Making::Forbidden, clock, entropy).await?;
    let OpenedGround { ground, service, .. } = opened;
    Ok((ground, AuditChain::new(service.audit_key())))
}
