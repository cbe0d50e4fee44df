//! Makes this crate's only calls of Ed25519 (RFC 8032). It must never sign with a key that it keeps.

#[cfg(test)]
mod tests;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

use crate::error::CryptoFailure;
use crate::secret::SecretBytes;

/// Bytes of a seed and of a public key.
pub(crate) const ED25519_KEY_LEN: usize = 32;
/// Bytes of a signature.
pub(crate) const SIGNATURE_LEN: usize = 64;

/// The public key that belongs to a seed.
pub(crate) fn ed25519_public(seed: &SecretBytes) -> Result<[u8; ED25519_KEY_LEN], CryptoFailure> {
    let pair = Ed25519KeyPair::from_seed_unchecked(seed.expose()).map_err(|_| CryptoFailure)?;
    pair.public_key().as_ref().try_into().map_err(|_| CryptoFailure)
}

/// The signature of `message`.
pub(crate) fn ed25519_sign(seed: &SecretBytes, message: &[u8]) -> Result<[u8; SIGNATURE_LEN], CryptoFailure> {
    let pair = Ed25519KeyPair::from_seed_unchecked(seed.expose()).map_err(|_| CryptoFailure)?;
    pair.sign(message).as_ref().try_into().map_err(|_| CryptoFailure)
}

/// Whether `signature` is the one of `message` under `public`.
pub(crate) fn ed25519_verify(public: &[u8; ED25519_KEY_LEN], message: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&ED25519, public).verify(message, signature).is_ok()
}
