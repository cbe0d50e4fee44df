//! What a replica remembers of a tenant, and of which epoch that is.

use std::sync::Arc;

use super::Denial;
use crate::{
    credential::{DEFAULT_LABEL, SealedCredential},
    id::ProviderId,
    port::counter::Epoch,
    tenant::Tenant,
};

/// A tenant and its active credentials, as they were when the epoch was read.
pub struct TenantView {
    /// The tenant.
    pub tenant: Tenant,
    /// Its active credentials, oldest first.
    pub credentials: Vec<Arc<SealedCredential>>,
    /// The epoch, read before the rest: a change in between makes the view stale, never wrong.
    pub epoch: Epoch,
}

impl TenantView {
    /// The feature gate (A3): the kill switch first, then the tenant's own.
    pub fn gate(&self, enabled: bool) -> Result<(), Denial> {
        if !enabled {
            return Err(Denial::SwitchedOff);
        }
        if !self.tenant.byok_enabled {
            return Err(Denial::Disabled);
        }
        Ok(())
    }

    /// The stored key that serves a provider: the one labelled `default`, or else the oldest.
    pub fn credential_for(&self, provider: &ProviderId) -> Option<&Arc<SealedCredential>> {
        let mut of_provider =
            self.credentials.iter().filter(|credential| credential.summary.provider == *provider).peekable();
        let oldest = of_provider.peek().copied();
        of_provider.find(|c| c.summary.label == DEFAULT_LABEL).or(oldest)
    }
}
