//! The key pairs that clients seal to: a secret for a root to wrap, a public key to publish, and the name of both. It
//! must never hold a private key that is not derived from that secret.

use std::fmt;

use crate::entropy::Entropy;
use crate::error::{InvalidSealingKey, OpenError};
use crate::hazmat::{KEY_LEN, agreement};
use crate::hpke::{self, Kem, KeyPair};
use crate::secret::SecretBytes;

/// Characters of the longest name.
const MAX_NAME: usize = 64;

/// Whether `text` can stand in a sealed key's text: 1 to 64 characters of `A-Z a-z 0-9 . _ -`, a letter or digit first.
pub(crate) fn is_name(text: &str) -> bool {
    text.len() <= MAX_NAME
        && text.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

/// The name of a sealing key, public.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kid(String);

impl Kid {
    /// Checks that `text` has 1 to 64 characters of `A-Z a-z 0-9 . _ -` and begins with a letter or digit.
    pub fn parse(text: &str) -> Result<Self, InvalidSealingKey> {
        if is_name(text) { Ok(Self(text.to_owned())) } else { Err(InvalidSealingKey::Kid) }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Kid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What clients seal to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealingPublicKey {
    kem: Kem,
    bytes: Vec<u8>,
}

impl SealingPublicKey {
    /// Reads `SerializePublicKey` of RFC 9180: 32 bytes for X25519, an uncompressed point of 65 bytes for P-256.
    ///
    /// Refuses points that are not on the curve or of a low order, so that nobody seals to a key that everybody has.
    pub fn from_bytes(kem: Kem, bytes: &[u8]) -> Result<Self, InvalidSealingKey> {
        // Any private key does: a good public key agrees with each, a bad one with none.
        let probe = SecretBytes::new(vec![1; agreement::SCALAR_LEN]);
        agreement::agree(kem.curve(), &probe, bytes).map_err(|_| InvalidSealingKey::PublicKey)?;
        Ok(Self { kem, bytes: bytes.to_vec() })
    }

    /// The KEM, and with it the suite.
    pub fn kem(&self) -> Kem {
        self.kem
    }

    /// The KDF's number in the registry of RFC 9180, HKDF-SHA256.
    pub const fn kdf_id(&self) -> u16 {
        hpke::KDF_ID
    }

    /// The AEAD's number in the registry of RFC 9180, AES-256-GCM.
    pub const fn aead_id(&self) -> u16 {
        hpke::AEAD_ID
    }

    /// What [`from_bytes`](Self::from_bytes) reads.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// What the gateway opens with.
///
/// Its secret is 32 random bytes, the `ikm` from which RFC 9180 §7.1.3 derives the key pair. The derivation names the KEM,
/// so a secret that is taken for one of the other KEM makes another key, not the same one on another curve.
pub struct SealingKey {
    secret: SecretBytes,
    public: SealingPublicKey,
}

impl SealingKey {
    /// Draws a new one.
    pub fn generate(kem: Kem, entropy: &dyn Entropy) -> Self {
        let secret = SecretBytes::init(KEY_LEN, |secret| entropy.fill(secret));
        Self::from_secret(kem, secret).expect("32 bytes make a key pair")
    }

    /// The key whose secret a root unwrapped. Fails unless it has 32 bytes.
    pub fn from_secret(kem: Kem, secret: SecretBytes) -> Result<Self, OpenError> {
        if secret.expose().len() != KEY_LEN {
            return Err(OpenError::OPAQUE);
        }
        let bytes = hpke::derive_key_pair(kem, &secret)?.public;
        Ok(Self { secret, public: SealingPublicKey { kem, bytes } })
    }

    /// The secret, for a root to wrap and for nothing else.
    pub fn secret(&self) -> &SecretBytes {
        &self.secret
    }

    /// What to publish.
    pub fn public(&self) -> &SealingPublicKey {
        &self.public
    }

    /// The key pair, derived for one use.
    pub(crate) fn pair(&self) -> Result<KeyPair, OpenError> {
        Ok(hpke::derive_key_pair(self.public.kem, &self.secret)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SystemEntropy;

    #[test]
    fn a_secret_makes_the_same_key_again_and_another_one_for_the_other_kem() {
        for kem in Kem::ALL {
            let key = SealingKey::generate(kem, &SystemEntropy);
            let secret = || SecretBytes::new(key.secret().expose().to_vec());
            let again = SealingKey::from_secret(kem, secret()).expect("32 bytes");
            assert_eq!(again.public(), key.public());
            assert_eq!(key.public().as_bytes().len(), kem.public_len());
            assert!(SealingPublicKey::from_bytes(kem, key.public().as_bytes()).is_ok());
        }
        let of = |kem| SealingKey::from_secret(kem, SecretBytes::new(vec![5; KEY_LEN])).expect("32 bytes");
        let [p256, x25519] = Kem::ALL.map(|kem| of(kem).pair().expect("derives"));
        assert_ne!(p256.public[1..33], x25519.public[..]);
    }

    #[test]
    fn only_32_bytes_are_a_secret() {
        for (len, accepted) in [(0, false), (31, false), (32, true), (33, false)] {
            for kem in Kem::ALL {
                assert_eq!(SealingKey::from_secret(kem, SecretBytes::new(vec![1; len])).is_ok(), accepted);
            }
        }
    }

    #[test]
    fn what_is_no_public_key_is_refused() {
        let [p256, x25519] =
            Kem::ALL.map(|kem| SealingKey::generate(kem, &SystemEntropy).public().bytes.clone());
        let mut off_curve = p256.clone();
        off_curve[64] ^= 1;
        let compressed = [&[2 + (p256[64] & 1)], &p256[1..33]].concat();
        let cases = [
            (Kem::P256, &off_curve[..]),
            (Kem::P256, &compressed),
            (Kem::P256, &p256[1..]),
            (Kem::P256, &x25519),
            (Kem::P256, &[0]),
            (Kem::P256, &[]),
            (Kem::X25519, &p256),
            (Kem::X25519, &x25519[1..]),
            (Kem::X25519, &[0; 32]),
            (Kem::X25519, &[]),
        ];
        for (kem, bytes) in cases {
            let refused = SealingPublicKey::from_bytes(kem, bytes);
            assert_eq!(refused.err(), Some(InvalidSealingKey::PublicKey), "{kem:?} {bytes:02x?}");
        }
    }

    #[test]
    fn names_that_would_change_the_text_around_them_are_refused() {
        for bad in ["", ";", "a;b", "a=b", "a b", "a\n", "é", "-a", ".a", "_a", "a/b", &"x".repeat(65)] {
            assert_eq!(Kid::parse(bad), Err(InvalidSealingKey::Kid), "{bad:?}");
        }
        for good in ["a", "0", "sk_01jd.x-Y", &"x".repeat(64)] {
            assert_eq!(Kid::parse(good).as_ref().map(Kid::as_str), Ok(good));
        }
    }
}
