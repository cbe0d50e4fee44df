//! Seals bytes under a secret so that they open under no other secret and in no other context. It must never decrypt
//! before the commitment has been checked.
//!
//! AES-GCM alone does not commit: whoever chooses the keys can make one ciphertext that opens under two of them
//! ("invisible salamanders"). So each layer carries a commitment, derived beside its key:
//!
//! ```text
//! key        = HKDF-SHA-256(secret, salt, ["keyferry/key", external_aad])           32 bytes
//! commitment = HKDF-SHA-256(secret, salt, ["keyferry/commitment", external_aad])    32 bytes
//! ```
//!
//! `external_aad` in the derivation makes the commitment cover the context as well: finding a second (secret, context)
//! for one layer means finding a collision of HMAC-SHA-256. The random salt gives every layer a key of its own, so the
//! random 96-bit nonce never has to carry the load of many messages under one key.

#[cfg(test)]
mod tests;

use subtle::ConstantTimeEq;

use crate::cbor;
use crate::context::Purpose;
use crate::entropy::{Entropy, draw};
use crate::error::{CryptoFailure, OpenError};
use crate::hazmat::{self, KEY_LEN};
use crate::secret::SecretBytes;
use crate::wire::{Layer, Protected};

/// An array of two, and its first item, the label: what comes before `external_aad` in the derivation of the key.
const KEY: &[u8] = b"\x82\x6ckeyferry/key";
/// The same of the commitment.
const COMMITMENT: &[u8] = b"\x82\x73keyferry/commitment";

/// Seals `plaintext` under `secret` (32 bytes), bound to `external_aad`, and returns the encoded layer.
///
/// Draws the salt, then the nonce.
pub(crate) fn seal(
    secret: &SecretBytes,
    purpose: Purpose,
    external_aad: &[u8],
    plaintext: &SecretBytes,
    entropy: &dyn Entropy,
) -> Result<Vec<u8>, CryptoFailure> {
    let salt = draw(entropy);
    let nonce = draw(entropy);
    let (key, commitment) = derive(secret, &salt, external_aad);
    let protected = Protected { salt: &salt, commitment: &commitment };
    let aad = protected.enc_structure(purpose, external_aad);
    let ciphertext = hazmat::aes256gcm_seal(&key, nonce, &aad, plaintext.expose())?;
    Ok(Layer { protected, nonce, ciphertext: &ciphertext }.encode(purpose))
}

/// Opens what [`seal`] returned for the same `secret`, `purpose` and `external_aad`.
pub(crate) fn open(
    secret: &SecretBytes,
    purpose: Purpose,
    external_aad: &[u8],
    encoded: &[u8],
) -> Result<SecretBytes, OpenError> {
    let layer = Layer::decode(encoded, purpose)?;
    LayerKey::of(secret, external_aad, &layer.protected)?.open(purpose, external_aad, &layer)
}

/// The key of one layer, whose commitment was found right.
pub(crate) struct LayerKey(SecretBytes);

impl LayerKey {
    /// Derives it, and fails if this is not what the layer commits to.
    pub(crate) fn of(
        secret: &SecretBytes,
        external_aad: &[u8],
        protected: &Protected<'_>,
    ) -> Result<Self, OpenError> {
        let (key, expected) = derive(secret, protected.salt, external_aad);
        if !bool::from(expected.ct_eq(protected.commitment)) {
            return Err(OpenError::OPAQUE);
        }
        Ok(Self(key))
    }

    /// Opens the layer it was derived for.
    pub(crate) fn open(
        &self,
        purpose: Purpose,
        external_aad: &[u8],
        layer: &Layer<'_>,
    ) -> Result<SecretBytes, OpenError> {
        let aad = layer.protected.enc_structure(purpose, external_aad);
        Ok(hazmat::aes256gcm_open(&self.0, layer.nonce, &aad, layer.ciphertext)?)
    }
}

#[cfg(test)]
impl LayerKey {
    pub(crate) fn of_bytes(bytes: SecretBytes) -> Self {
        Self(bytes)
    }

    pub(crate) fn bytes(&self) -> &SecretBytes {
        &self.0
    }
}

/// The key of a layer and its commitment.
fn derive(secret: &SecretBytes, salt: &[u8; KEY_LEN], external_aad: &[u8]) -> (SecretBytes, [u8; KEY_LEN]) {
    let head = cbor::bytes_head(external_aad.len());
    let [key, commitment] = [KEY, COMMITMENT].map(|label| [label, head.as_bytes(), external_aad]);
    hazmat::hkdf_sha256_pair(secret, salt, &key, &commitment)
}
