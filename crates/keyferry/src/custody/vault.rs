//! The vault: seals keys for storing. It cannot open one.

use keyferry_core::{id::TenantId, provider::Provider, wrapped::WrappedKey};
use keyferry_envelope::{ApiKey, Context, SealError, Sealed, Sealer, ServiceSecret, fingerprint};

use super::keks::{InUse, KekError, TenantKeks};

/// Seals provider keys under the tenant's KEK.
pub struct Vault {
    sealer: Sealer,
    keks: TenantKeks,
    service: ServiceSecret,
}

/// A key that was just sealed, with what may be shown of it.
pub struct SealedKey {
    /// The sealed key.
    pub sealed: Sealed,
    /// The KEK that wraps its DEK.
    pub kek: WrappedKey,
    /// The upstream origin it is bound to.
    pub origin: String,
    /// Its last four characters.
    pub last4: String,
    /// Its keyed fingerprint.
    pub fingerprint: String,
}

/// Why a key was not sealed.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// There is no KEK to seal it under.
    #[error("the tenant's KEK cannot be had")]
    Kek(#[from] KekError),
    /// It cannot be sealed.
    #[error(transparent)]
    Seal(#[from] SealError),
}

impl Vault {
    pub(super) fn new(sealer: Sealer, keks: TenantKeks, service: ServiceSecret) -> Self {
        Self { sealer, keks, service }
    }

    /// Seals a key for one version of one credential.
    pub async fn seal(
        &self,
        tenant: &TenantId,
        provider: &Provider,
        credential: &str,
        version: u32,
        key: &ApiKey,
    ) -> Result<SealedKey, VaultError> {
        let InUse { stored, kek } = self.keks.in_use_now(tenant).await?;
        let origin = provider.base.origin();
        let tenant = tenant.as_str();
        let context = Context { tenant, provider: provider.id.as_str(), origin, credential, version };
        Ok(SealedKey {
            sealed: self.sealer.seal(&kek, &context, key, &*self.keks.entropy)?,
            kek: stored,
            last4: key.last4(),
            fingerprint: fingerprint(&self.service.fingerprint_key(tenant), key),
            origin: origin.to_owned(),
        })
    }
}
