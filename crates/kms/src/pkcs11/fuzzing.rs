//! Wrapped keys without a token, for fuzzing.

use super::gcm;

/// IV and ciphertext.
pub fn read(wrapped: &[u8]) -> Option<([u8; 12], Vec<u8>)> {
    gcm::read(wrapped).map(|(iv, sealed)| (iv, sealed.to_vec()))
}

/// Them, written down.
pub fn write(iv: &[u8; 12], sealed: &[u8]) -> Option<Vec<u8>> {
    gcm::write(iv, sealed)
}
