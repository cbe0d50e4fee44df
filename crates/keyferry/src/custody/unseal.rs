//! Unsealing: the one place where a stored key becomes plaintext.

use std::sync::Arc;

use keyferry_core::{credential::SealedCredential, provider::Provider};
use keyferry_envelope::{ApiKey, Context, LocalRoot, Opener};

/// Opens stored keys. It cannot seal one.
pub struct Unsealer {
    opener: Opener,
    root: Arc<LocalRoot>,
}

/// A stored key does not open. Which part failed is nobody's business: the row was moved or
/// changed, or the master secret is another one.
#[derive(Debug, thiserror::Error)]
#[error("the stored key cannot be opened")]
pub struct KeyUnreadable;

impl Unsealer {
    pub(super) fn new(opener: Opener, root: Arc<LocalRoot>) -> Self {
        Self { opener, root }
    }

    /// Opens a credential for a call to `provider`.
    ///
    /// The context is made from the row's own names and from the origin that is about to be called,
    /// so a row that was moved, or a provider that was pointed elsewhere, does not open.
    pub fn open(&self, credential: &SealedCredential, provider: &Provider) -> Result<ApiKey, KeyUnreadable> {
        let summary = &credential.summary;
        if summary.provider != provider.id {
            return Err(KeyUnreadable);
        }
        let context = Context {
            tenant: summary.tenant.as_str(),
            provider: provider.id.as_str(),
            origin: &provider.base.origin(),
            credential: summary.id.as_str(),
            version: summary.version,
        };
        let kek = self.root.tenant_kek(summary.tenant.as_str());
        self.opener.open(&kek, &context, &credential.sealed).map_err(|_| KeyUnreadable)
    }
}
