//! Derives a key and a public value beside it, by HKDF-SHA-256. It must never give anything else than the library's HKDF
//! does.
//!
//! A stored key is opened for every request, and most of that is two of these derivations. The library would extract for each
//! output anew, and its HMAC keeps three states of the hash, which are copied whenever it is used or moved; hashing
//! takes less time than that. So HMAC is written here as RFC 2104 has it, over the library's SHA-256.
//!
//! ```text
//! prk    = HMAC(salt, ikm)              RFC 5869 §2.2
//! output = HMAC(prk, info || 0x01)      RFC 5869 §2.3, for up to 32 bytes
//! ```

use aws_lc_rs::digest::{SHA256, digest};
use keyferry_secretmem::scrubbed;

use super::KEY_LEN;
use crate::secret::SecretBytes;

/// Bytes that SHA-256 takes at a time, to which HMAC pads its key.
const BLOCK: usize = 64;

/// HKDF-SHA-256 to two outputs of one extraction: a key that no caller sees outside a [`SecretBytes`], and 32 bytes
/// that are public. Each is what [`hkdf_sha256`](super::hkdf_sha256) gives for its `info`, which comes in pieces.
pub(crate) fn hkdf_sha256_pair(
    ikm: &SecretBytes,
    salt: &[u8; KEY_LEN],
    secret_info: &[&[u8]],
    public_info: &[&[u8]],
) -> (SecretBytes, [u8; KEY_LEN]) {
    let mut public = [0; KEY_LEN];
    let secret = scrubbed(|| {
        let longest = [&[ikm.expose()][..], secret_info, public_info].into_iter().map(len).max();
        SecretBytes::init(KEY_LEN, |secret| {
            SecretBytes::init(BLOCK + longest.unwrap_or(0) + 1, |room| {
                let prk = hmac(salt, &[ikm.expose()], &[], room);
                secret.copy_from_slice(&hmac(&prk, secret_info, &[1], room));
                public = hmac(&prk, public_info, &[1], room);
            });
        })
    });
    (secret, public)
}

/// HMAC-SHA-256 (RFC 2104) over the concatenation of the pieces and an end, which has `room` with a block before it. Only
/// for what is scrubbed.
fn hmac(key: &[u8; KEY_LEN], pieces: &[&[u8]], end: &[u8], room: &mut [u8]) -> [u8; KEY_LEN] {
    room[..BLOCK].copy_from_slice(&pad::<BLOCK>(key, 0x36));
    let mut filled = BLOCK;
    for piece in pieces.iter().chain([&end]) {
        room[filled..filled + piece.len()].copy_from_slice(piece);
        filled += piece.len();
    }
    let mut outer = pad::<{ BLOCK + KEY_LEN }>(key, 0x5c);
    outer[BLOCK..].copy_from_slice(digest(&SHA256, &room[..filled]).as_ref());
    let mut tag = [0; KEY_LEN];
    tag.copy_from_slice(digest(&SHA256, &outer).as_ref());
    tag
}

fn len(pieces: &[&[u8]]) -> usize {
    pieces.iter().map(|piece| piece.len()).sum()
}

/// The key, and zeros up to a block, combined with a byte; then room for what follows.
fn pad<const N: usize>(key: &[u8; KEY_LEN], byte: u8) -> [u8; N] {
    let mut padded = [byte; N];
    for (padded, key) in padded.iter_mut().zip(key) {
        *padded ^= key;
    }
    padded
}
