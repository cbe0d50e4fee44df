//! The vault: seals keys for storing. It cannot open one.

use std::sync::Arc;

use keyferry_core::provider::Provider;
use keyferry_envelope::{ApiKey, Context, Entropy, LocalRoot, SealError, Sealed, Sealer, fingerprint};

/// Seals provider keys under the tenant's KEK.
pub struct Vault {
    sealer: Sealer,
    root: Arc<LocalRoot>,
    entropy: Arc<dyn Entropy>,
}

/// A key that was just sealed, with what may be shown of it.
pub struct SealedKey {
    /// The sealed key.
    pub sealed: Sealed,
    /// The upstream origin it is bound to.
    pub origin: String,
    /// Its last four characters.
    pub last4: String,
    /// Its keyed fingerprint.
    pub fingerprint: String,
}

impl Vault {
    pub(super) fn new(sealer: Sealer, root: Arc<LocalRoot>, entropy: Arc<dyn Entropy>) -> Self {
        Self { sealer, root, entropy }
    }

    /// Seals a key for one version of one credential.
    pub fn seal(
        &self,
        tenant: &str,
        provider: &Provider,
        credential: &str,
        version: u32,
        key: &ApiKey,
    ) -> Result<SealedKey, SealError> {
        let origin = provider.base.origin();
        let context =
            Context { tenant, provider: provider.id.as_str(), origin: &origin, credential, version };
        let kek = self.root.tenant_kek(tenant);
        Ok(SealedKey {
            sealed: self.sealer.seal(&kek, &context, key, &*self.entropy)?,
            last4: key.last4(),
            fingerprint: fingerprint(&self.root.fingerprint_key(tenant), key),
            origin,
        })
    }
}
