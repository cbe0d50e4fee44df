//! Opens the blobs of the session mode, in which a client seals its key under a key of its own and sends both. It must
//! never seal one, nor say why one does not open.
//!
//! There is no context, no commitment and no key of ours in this format: it only keeps a key from standing in plain
//! text in the client's store. It is kept for clients that speak it.

use crate::error::OpenError;
use crate::hazmat::{self, NONCE_LEN};
use crate::secret::SecretBytes;

/// Opens `iv ‖ ciphertext ‖ tag` (12 bytes, any, 16 bytes) with AES-256-GCM, without associated data.
///
/// Whatever is wrong, a key that is not 32 bytes long included, the error is the same.
pub fn open_session(key: &SecretBytes, sealed: &SecretBytes) -> Result<SecretBytes, OpenError> {
    let (nonce, ciphertext) = sealed.expose().split_first_chunk::<NONCE_LEN>().ok_or(OpenError::OPAQUE)?;
    Ok(hazmat::aes256gcm_open(key, *nonce, b"", ciphertext)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(bytes: &[u8]) -> SecretBytes {
        SecretBytes::init(bytes.len(), |place| place.copy_from_slice(bytes))
    }

    /// What a browser's `crypto.subtle` makes: the nonce, then the ciphertext with its tag.
    fn sealed(key: &SecretBytes, text: &[u8]) -> Vec<u8> {
        let nonce = [7; NONCE_LEN];
        [&nonce[..], &hazmat::aes256gcm_seal(key, nonce, b"", text).expect("sealed")].concat()
    }

    #[test]
    fn opens_what_was_sealed_under_the_same_key_and_nothing_else() {
        let key = secret(&[9; 32]);
        let blob = sealed(&key, b"sk-provider-key");
        let opened = open_session(&key, &secret(&blob)).expect("opens");
        assert_eq!(opened.expose(), b"sk-provider-key");
        assert!(open_session(&secret(&[8; 32]), &secret(&blob)).is_err(), "another key");
        for length in [0, 16, 31, 33] {
            assert!(
                open_session(&secret(&vec![9; length]), &secret(&blob)).is_err(),
                "a key of {length} bytes"
            );
        }
        for at in 0..blob.len() {
            let mut changed = blob.clone();
            changed[at] ^= 1;
            assert!(open_session(&key, &secret(&changed)).is_err(), "byte {at}");
            assert!(open_session(&key, &secret(&blob[..at])).is_err(), "cut at {at}");
        }
    }
}
