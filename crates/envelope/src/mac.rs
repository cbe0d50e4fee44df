//! Authenticates lists of byte strings, and names provider keys by keyed fingerprints. It must never compare tags in
//! variable time, nor hash a provider key without a secret.

use std::fmt::Write;

use subtle::ConstantTimeEq;

use crate::api_key::ApiKey;
use crate::hazmat;
use crate::secret::SecretBytes;

/// A key for HMAC-SHA-256 (RFC 2104): 32 secret bytes that serve one purpose.
pub struct MacKey(SecretBytes);

impl MacKey {
    pub(crate) fn from_secret(secret: SecretBytes) -> Self {
        Self(secret)
    }

    /// The tag of a list of byte strings.
    ///
    /// Each part is preceded by its length (8 bytes, big-endian), so `["ab", "c"]`, `["a", "bc"]` and `["abc"]` have
    /// different tags.
    #[must_use]
    pub fn sign(&self, parts: &[&[u8]]) -> [u8; 32] {
        let lengths: Vec<[u8; 8]> = parts.iter().map(|part| (part.len() as u64).to_be_bytes()).collect();
        let chunks = lengths.iter().zip(parts).flat_map(|(length, part)| [length.as_slice(), *part]);
        hazmat::hmac_sha256(&self.0, chunks)
    }

    /// Whether `tag` is what [`sign`](Self::sign) returns for `parts`. Constant time; a tag of another length than 32
    /// bytes is wrong.
    #[must_use]
    pub fn verify(&self, parts: &[&[u8]], tag: &[u8]) -> bool {
        self.sign(parts).ct_eq(tag).into()
    }
}

/// A name for `key` that people and logs may see: 16 lower-case hexadecimal digits.
///
/// It tells whether two keys of a tenant are the same and nothing else: without `mac`, guessed keys cannot be tried
/// against it, as they could be against a plain hash. `mac` is a tenant's
/// [`fingerprint_key`](crate::ServiceSecret::fingerprint_key).
#[must_use]
pub fn fingerprint(mac: &MacKey, key: &ApiKey) -> String {
    hex(&mac.sign(&[b"api-key", key.expose()])[..8])
}

/// Lower-case hexadecimal digits of bytes that are not secret.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut digits, byte| {
        write!(digits, "{byte:02x}").expect("writing to memory does not fail");
        digits
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn mac() -> MacKey {
        MacKey::from_secret(SecretBytes::new(vec![7; 32]))
    }

    proptest! {
        #[test]
        fn different_lists_have_different_tags(
            left in prop::collection::vec("[ab]{0,2}", 0..4),
            right in prop::collection::vec("[ab]{0,2}", 0..4),
        ) {
            let sign = |list: &[String]| mac().sign(&list.iter().map(String::as_bytes).collect::<Vec<_>>());
            prop_assert_eq!(left == right, sign(&left) == sign(&right));
        }
    }

    #[test]
    fn the_encoding_is_length_then_bytes() {
        let message = [&[0, 0, 0, 0, 0, 0, 0, 2][..], b"ab", &[0; 8]].concat();
        assert_eq!(mac().sign(&[b"ab", b""]), hazmat::hmac_sha256(&mac().0, [message.as_slice()]));
    }

    #[test]
    fn verifies_the_whole_tag_and_nothing_shorter_or_longer() {
        let tag = mac().sign(&[b"event", b"1"]);
        assert!(mac().verify(&[b"event", b"1"], &tag));
        assert!(!mac().verify(&[b"event", b"2"], &tag));
        assert!(!mac().verify(&[b"event", b"1"], &tag[..31]));
        assert!(!mac().verify(&[b"event", b"1"], &[&tag[..], &[0]].concat()));
        assert!(!mac().verify(&[b"event", b"1"], &[]));
    }
}
