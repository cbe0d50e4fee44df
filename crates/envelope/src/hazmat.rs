//! Makes the only calls of AES-GCM, HKDF and HMAC in the workspace, and those of key agreement and of this crate's
//! signatures. It must never choose a key, a nonce or a context; that is the business of its callers.
//!
//! Every call that sees a secret runs in [`scrubbed`]: what the library leaves on the stack (round keys, message
//! schedules, padded HMAC keys) is overwritten before the call returns, or, within a call of the same kind around it,
//! before that one does.

pub(crate) mod agreement;
pub(crate) mod ed25519;
mod pair;

#[cfg(test)]
mod residue;
#[cfg(test)]
mod tests;

pub(crate) use self::pair::hkdf_sha256_pair;
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::{hkdf, hmac};
use keyferry_secretmem::scrubbed;

use crate::error::CryptoFailure;
use crate::secret::SecretBytes;

/// Bytes of an AES-256 key and of every other key, salt and commitment in this crate.
pub(crate) const KEY_LEN: usize = 32;
/// Bytes of a GCM nonce (NIST SP 800-38D: the only length that needs no extra hashing).
pub(crate) const NONCE_LEN: usize = 12;
/// Bytes of a GCM tag; shorter tags are not supported.
pub(crate) const TAG_LEN: usize = 16;

/// AES-256-GCM (NIST SP 800-38D): `plaintext` to ciphertext with the tag appended.
///
/// The pair of `key` and `nonce` must never repeat. Fails if `key` is not 32 bytes.
pub(crate) fn aes256gcm_seal(
    key: &SecretBytes,
    nonce: [u8; NONCE_LEN],
    aad: &[u8],
    plaintext: &[u8],
) -> Result<Vec<u8>, CryptoFailure> {
    let mut sealed = vec![0; plaintext.len() + TAG_LEN];
    let (ciphertext, tag) = sealed.split_at_mut(plaintext.len());
    // Out of place: the plaintext never enters a buffer that this crate does not wipe.
    scrubbed(|| {
        aes256gcm_key(key)?
            .seal_out_of_place_scatter(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(aad),
                plaintext,
                ciphertext,
                &[],
                tag,
            )
            .map_err(|_| CryptoFailure)
    })?;
    Ok(sealed)
}

/// AES-256-GCM (NIST SP 800-38D): ciphertext with the tag appended to plaintext.
///
/// Fails if `key` is not 32 bytes, if `sealed` is shorter than a tag or if the tag does not match. What was decrypted
/// before a mismatch was found is wiped.
pub(crate) fn aes256gcm_open(
    key: &SecretBytes,
    nonce: [u8; NONCE_LEN],
    aad: &[u8],
    sealed: &[u8],
) -> Result<SecretBytes, CryptoFailure> {
    let (ciphertext, tag) = sealed.split_last_chunk::<TAG_LEN>().ok_or(CryptoFailure)?;
    scrubbed(|| {
        SecretBytes::try_init(ciphertext.len(), |plaintext| {
            aes256gcm_key(key)?
                .open_separate_gather(
                    Nonce::assume_unique_for_key(nonce),
                    Aad::from(aad),
                    ciphertext,
                    tag,
                    plaintext,
                )
                .map_err(|_| CryptoFailure)
        })
    })
}

/// The expanded key: in aws-lc's own heap, which wipes what is freed. It must not leave [`scrubbed`].
fn aes256gcm_key(key: &SecretBytes) -> Result<LessSafeKey, CryptoFailure> {
    UnboundKey::new(&AES_256_GCM, key.expose()).map(LessSafeKey::new).map_err(|_| CryptoFailure)
}

/// HKDF-SHA-256 (RFC 5869), extract then expand, filling all of `okm`.
///
/// An empty `salt` stands for 32 zero bytes. Fails if `okm` is longer than 255 × 32 bytes. `info` must be an encoding
/// without ambiguity: see [`cbor`](crate::cbor).
pub(crate) fn hkdf_sha256(
    ikm: &SecretBytes,
    salt: &[u8],
    info: &[u8],
    okm: &mut [u8],
) -> Result<(), CryptoFailure> {
    scrubbed(|| {
        hkdf::Salt::new(hkdf::HKDF_SHA256, salt)
            .extract(ikm.expose())
            .expand(&[info], OutputLen(okm.len()))
            .and_then(|output| output.fill(okm))
            .map_err(|_| CryptoFailure)
    })
}

/// HKDF-SHA-256 to a 32-byte key that no caller sees outside a [`SecretBytes`].
pub(crate) fn hkdf_sha256_key(
    ikm: &SecretBytes,
    salt: &[u8],
    info: &[u8],
) -> Result<SecretBytes, CryptoFailure> {
    SecretBytes::try_init(KEY_LEN, |key| hkdf_sha256(ikm, salt, info, key))
}

/// A number of output bytes, in the shape aws-lc-rs asks for.
struct OutputLen(usize);

impl hkdf::KeyType for OutputLen {
    fn len(&self) -> usize {
        self.0
    }
}

/// HMAC-SHA-256 (RFC 2104) over the concatenation of `chunks`. Callers make the concatenation unambiguous.
pub(crate) fn hmac_sha256<'a>(key: &SecretBytes, chunks: impl IntoIterator<Item = &'a [u8]>) -> [u8; 32] {
    let mut tag = [0; 32];
    scrubbed(|| {
        let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key.expose()));
        for chunk in chunks {
            context.update(chunk);
        }
        tag.copy_from_slice(context.sign().as_ref());
    });
    tag
}
