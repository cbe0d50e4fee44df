//! Unsealing: the one place where a stored key becomes plaintext.

use std::sync::Arc;

use keyferry_core::{credential::SealedCredential, port::root::RootError, provider::Provider};
use keyferry_envelope::{ApiKey, Context, Opener};

use super::{keyring::Keyring, no_token};

/// Opens stored keys. It cannot seal one.
pub struct Unsealer {
    opener: Opener,
    keyring: Arc<Keyring>,
}

/// Why a stored key does not open.
#[derive(Debug, thiserror::Error)]
pub enum UnsealError {
    /// Which part failed is nobody's business: the row was moved or changed, or its KEK is gone.
    #[error("the stored key cannot be opened")]
    Unreadable,
    /// The tenant's KEK is not open, and its root does not open it now.
    #[error("the tenant's KEK cannot be opened now")]
    Root(#[source] RootError),
}

impl Unsealer {
    pub(super) fn new(opener: Opener, keyring: Arc<Keyring>) -> Self {
        Self { opener, keyring }
    }

    /// Opens a credential for a call to `provider`.
    ///
    /// The context is made from the row's own names and from the origin that is about to be called,
    /// so a row that was moved, or a provider that was pointed elsewhere, does not open.
    pub async fn open(
        &self,
        credential: &SealedCredential,
        provider: &Provider,
    ) -> Result<ApiKey, UnsealError> {
        let summary = &credential.summary;
        let Some(kek) = credential.kek.as_ref().filter(|_| summary.provider == provider.id) else {
            return Err(UnsealError::Unreadable);
        };
        let kek = self.keyring.kek(kek).await.map_err(|error| match error {
            RootError::Refused => UnsealError::Unreadable,
            error => UnsealError::Root(error),
        })?;
        let context = Context {
            tenant: summary.tenant.as_str(),
            provider: provider.id.as_str(),
            origin: provider.base.origin(),
            credential: summary.id.as_str(),
            version: summary.version,
        };
        let key = self.opener.open(&kek, &context, &credential.sealed);
        key.ok().and_then(|key| no_token(key).ok()).ok_or(UnsealError::Unreadable)
    }
}
