//! Custody: the keys that wrap keys, and who may do what with them.
//!
//! ```text
//! root (KMS, module, master secret) ─► tenant's KEK ─► DEK ─► provider key
//!      roots, guarded                  keyring, keks         vault seals, unseal opens, rewrap moves
//!                └─► sealing key ◄── what clients seal: sealing keeps them, sealed opens with them
//! ```
//!
//! Start-up makes the capabilities once and hands them out: the admin API gets the [`Vault`] that
//! seals, the gateway gets the [`Unsealer`] that opens. No part of the program holds both.

mod ground;
mod guarded;
mod keks;
mod keyring;
mod master_secret;
mod rewrap;
mod roots;
mod sealed;
mod sealing;
mod service;
mod unseal;
mod vault;

use std::sync::Arc;

pub use ground::{Ground, GroundError, Opened as OpenedGround, Outline};
pub use guarded::Guarded;
pub use keks::{KekError, TenantKeks};
use keyferry_core::token;
use keyferry_envelope::{ApiKey, InvalidApiKey, SecretBytes, ServiceSecret};
pub use keyring::Keyring;
pub use master_secret::MasterSecretError;
pub use rewrap::{Moved, Mover, Progress};
pub use roots::{Chore, Making, RootsError};
pub use sealed::{Opened, SealRefused, Unsealing};
pub use sealing::{EVERY_SECS, SealingError, SealingKeys};
pub use service::ServiceSecretError;
pub use unseal::{UnsealError, Unsealer};
pub use vault::{Vault, VaultError};

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
    no_token(ApiKey::parse(secret)?)
}

/// The same for what has the form of a key already, as what is opened has.
fn no_token(key: ApiKey) -> Result<ApiKey, NotAKey> {
    if token::looks_like_token(key.expose()) { Err(NotAKey::GatewayToken) } else { Ok(key) }
}

/// What a gateway gets: one part seals, the other opens.
#[expect(clippy::disallowed_methods, reason = "one of the two places that hand them out")]
pub fn for_gateway(ground: &Ground, service: ServiceSecret) -> (Vault, Unsealer) {
    let (sealer, opener, _) = keyferry_envelope::capabilities();
    let unsealer = Unsealer::new(opener, Arc::clone(&ground.keyring));
    (Vault::new(sealer, ground.keks(), service), unsealer)
}

/// What `kek rewrap` gets: it moves keys that it cannot open.
#[expect(clippy::disallowed_methods, reason = "the other place: a process of its own")]
pub fn for_rewrap(ground: &Ground) -> Mover {
    let (_, _, rewrapper) = keyferry_envelope::capabilities();
    Mover::new(rewrapper, ground.keks())
}
