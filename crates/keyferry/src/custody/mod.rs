//! Custody: the key that wraps keys, and who may do what with it.
//!
//! Start-up makes the capabilities once and hands them out: the admin API gets the [`Vault`] that
//! seals, the gateway gets the [`Unsealer`] that opens. No part of the program holds both.

mod root;
mod unseal;
mod vault;

use std::sync::Arc;

use keyferry_core::{audit::AuditChain, token};
use keyferry_envelope::{ApiKey, Entropy, InvalidApiKey, LocalRoot, SecretBytes};
pub use root::{RootError, load_root};
pub use unseal::{KeyUnreadable, Unsealer};
pub use vault::Vault;

/// Why a secret is no provider's key.
#[derive(Debug, thiserror::Error)]
pub enum NotAKey {
    /// It is the gateway's own token: sent on, it would be the provider's to use.
    #[error("A gateway token stands where a provider's key belongs.")]
    GatewayToken,
    /// It has the wrong form.
    #[error("{0}")]
    Form(#[from] InvalidApiKey),
}

/// Takes a secret for a provider's key, wherever it came from.
pub fn provider_key(secret: SecretBytes) -> Result<ApiKey, NotAKey> {
    if token::looks_like_token(secret.expose()) {
        return Err(NotAKey::GatewayToken);
    }
    Ok(ApiKey::parse(secret)?)
}

/// All capabilities over one root, made together so that nobody can make more.
pub struct Custody {
    /// For the admin API.
    pub vault: Vault,
    /// For the gateway.
    pub unsealer: Unsealer,
    /// For the store.
    pub chain: AuditChain,
    /// A value that only this master secret can make, to recognise it by.
    pub root_check: Vec<u8>,
}

impl Custody {
    /// Splits a root into what each part of the program may do with it.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that hands them out")]
    pub fn new(root: LocalRoot, entropy: Arc<dyn Entropy>) -> Self {
        let (sealer, opener, _rewrapper) = keyferry_envelope::capabilities();
        let chain = AuditChain::new(root.audit_key());
        let root_check = root.token_key().sign(&[b"keyferry master secret check"]).to_vec();
        let root = Arc::new(root);
        Self {
            vault: Vault::new(sealer, Arc::clone(&root), entropy),
            unsealer: Unsealer::new(opener, root),
            chain,
            root_check,
        }
    }
}
