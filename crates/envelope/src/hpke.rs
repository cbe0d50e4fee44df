//! Hybrid public-key encryption (RFC 9180), base mode, one message. It must never reuse an ephemeral key, nor keep the
//! recipient's.
//!
//! Two suites: DHKEM(P-256, HKDF-SHA256) or DHKEM(X25519, HKDF-SHA256), with HKDF-SHA256 and AES-256-GCM. Every output of
//! HKDF that is needed has at most 32 bytes, one block of SHA-256, so both of its steps are one HMAC each:
//!
//! ```text
//! Extract(salt, ikm)   = HMAC-SHA-256(salt, ikm)
//! Expand(prk, info, L) = the first L bytes of HMAC-SHA-256(prk, info || 0x01)
//! ```

#[cfg(test)]
mod tests;

use crate::entropy::Entropy;
use crate::error::CryptoFailure;
use crate::hazmat::agreement::{self, Curve, SCALAR_LEN};
use crate::hazmat::{self, KEY_LEN, NONCE_LEN};
use crate::secret::SecretBytes;

/// HKDF-SHA256 in the registry of RFC 9180.
pub(crate) const KDF_ID: u16 = 0x0001;
/// AES-256-GCM in the registry of RFC 9180.
pub(crate) const AEAD_ID: u16 = 0x0002;

/// A key-encapsulation mechanism of RFC 9180 §7.1, by which a suite is told from the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kem {
    /// DHKEM(P-256, HKDF-SHA256).
    P256,
    /// DHKEM(X25519, HKDF-SHA256).
    X25519,
}

impl Kem {
    /// Both of them.
    pub const ALL: [Self; 2] = [Self::P256, Self::X25519];

    /// The number in the registry of RFC 9180.
    pub const fn id(self) -> u16 {
        match self {
            Self::P256 => 0x0010,
            Self::X25519 => 0x0020,
        }
    }

    /// The KEM with a number, if it is one of the two.
    pub fn from_id(id: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|kem| kem.id() == id)
    }

    /// Bytes of a public key, and of an encapsulated key, which is one.
    pub const fn public_len(self) -> usize {
        self.curve().public_len()
    }

    pub(crate) const fn curve(self) -> Curve {
        match self {
            Self::P256 => Curve::P256,
            Self::X25519 => Curve::X25519,
        }
    }
}

/// A key pair of a KEM.
pub(crate) struct KeyPair {
    scalar: SecretBytes,
    pub(crate) public: Vec<u8>,
}

/// `DeriveKeyPair` (RFC 9180 §7.1.3). `ikm` has 32 bytes of which nobody knows anything.
pub(crate) fn derive_key_pair(kem: Kem, ikm: &SecretBytes) -> Result<KeyPair, CryptoFailure> {
    let kdf = Kdf::of_kem(kem);
    let prk = kdf.extract(&nothing(), "dkp_prk", ikm.expose());
    let scalar = match kem {
        Kem::X25519 => kdf.expand(&prk, "sk", &[], SCALAR_LEN),
        // The first candidate fails once in 2^32 draws, all of them never.
        Kem::P256 => (0..=u8::MAX)
            .map(|counter| kdf.expand(&prk, "candidate", &[&[counter]], SCALAR_LEN))
            .find(|candidate| kem.curve().is_scalar(candidate.expose()))
            .ok_or(CryptoFailure)?,
    };
    let public = agreement::public_key(kem.curve(), &scalar)?;
    Ok(KeyPair { scalar, public })
}

/// What a sender makes: the encapsulated key, and the ciphertext with its tag.
pub(crate) struct Message {
    pub(crate) enc: Vec<u8>,
    pub(crate) ciphertext: Vec<u8>,
}

/// `SealBase` (RFC 9180 §6.1) to a recipient's public key. Draws 32 bytes from `entropy`, the `ikm` of the ephemeral key.
pub(crate) fn seal(
    kem: Kem,
    recipient: &[u8],
    info: &[u8],
    aad: &[u8],
    plaintext: &[u8],
    entropy: &dyn Entropy,
) -> Result<Message, CryptoFailure> {
    let ephemeral = derive_key_pair(kem, &SecretBytes::init(SCALAR_LEN, |ikm| entropy.fill(ikm)))?;
    let dh = agreement::agree(kem.curve(), &ephemeral.scalar, recipient)?;
    let shared_secret = shared_secret(kem, &dh, &[&ephemeral.public, recipient]);
    let (key, nonce) = schedule(kem, &shared_secret, info)?;
    let ciphertext = hazmat::aes256gcm_seal(&key, nonce, aad, plaintext)?;
    Ok(Message { enc: ephemeral.public, ciphertext })
}

/// `OpenBase` (RFC 9180 §6.1) with the recipient's key pair.
pub(crate) fn open(
    kem: Kem,
    recipient: &KeyPair,
    info: &[u8],
    aad: &[u8],
    enc: &[u8],
    ciphertext: &[u8],
) -> Result<SecretBytes, CryptoFailure> {
    let dh = agreement::agree(kem.curve(), &recipient.scalar, enc)?;
    let shared_secret = shared_secret(kem, &dh, &[enc, &recipient.public]);
    let (key, nonce) = schedule(kem, &shared_secret, info)?;
    hazmat::aes256gcm_open(&key, nonce, aad, ciphertext)
}

/// `ExtractAndExpand` of the KEM (RFC 9180 §4.1), over the encapsulated key and the recipient's public key.
fn shared_secret(kem: Kem, dh: &SecretBytes, kem_context: &[&[u8]; 2]) -> SecretBytes {
    let kdf = Kdf::of_kem(kem);
    let prk = kdf.extract(&nothing(), "eae_prk", dh.expose());
    kdf.expand(&prk, "shared_secret", kem_context, KEY_LEN)
}

/// `KeySchedule` of base mode (RFC 9180 §5.1): the key and nonce of the one message.
fn schedule(
    kem: Kem,
    shared_secret: &SecretBytes,
    info: &[u8],
) -> Result<(SecretBytes, [u8; NONCE_LEN]), CryptoFailure> {
    let kdf = Kdf::of_suite(kem);
    let psk_id_hash = kdf.extract(&nothing(), "psk_id_hash", &[]);
    let info_hash = kdf.extract(&nothing(), "info_hash", info);
    let context = [&[MODE_BASE][..], psk_id_hash.expose(), info_hash.expose()];
    let secret = kdf.extract(shared_secret, "secret", &[]);
    let key = kdf.expand(&secret, "key", &context, KEY_LEN);
    let nonce = kdf.expand(&secret, "base_nonce", &context, NONCE_LEN);
    // The message is number 0, so its nonce is the base nonce (§5.2).
    Ok((key, nonce.expose().try_into().map_err(|_| CryptoFailure)?))
}

/// The mode without a pre-shared key and without an authenticated sender.
const MODE_BASE: u8 = 0x00;

/// An empty salt, which HMAC takes for zeros.
fn nothing() -> SecretBytes {
    SecretBytes::new(Vec::new())
}

/// HKDF-SHA256 with the labels of RFC 9180 §4.
struct Kdf {
    suite_id: Vec<u8>,
}

impl Kdf {
    fn of_kem(kem: Kem) -> Self {
        Self { suite_id: [&b"KEM"[..], &kem.id().to_be_bytes()].concat() }
    }

    fn of_suite(kem: Kem) -> Self {
        let [kem, kdf, aead] = [kem.id(), KDF_ID, AEAD_ID].map(u16::to_be_bytes);
        Self { suite_id: [&b"HPKE"[..], &kem, &kdf, &aead].concat() }
    }

    /// `LabeledExtract`.
    fn extract(&self, salt: &SecretBytes, label: &str, ikm: &[u8]) -> SecretBytes {
        let message = [b"HPKE-v1", &self.suite_id[..], label.as_bytes(), ikm];
        SecretBytes::init(KEY_LEN, |prk| prk.copy_from_slice(&hazmat::hmac_sha256(salt, message)))
    }

    /// `LabeledExpand` to at most 32 bytes. `info` is the concatenation of its parts, each of a fixed length.
    fn expand(&self, prk: &SecretBytes, label: &str, info: &[&[u8]], len: usize) -> SecretBytes {
        let length = (len as u16).to_be_bytes();
        let head = [&length[..], b"HPKE-v1", &self.suite_id, label.as_bytes()];
        let message = head.into_iter().chain(info.iter().copied()).chain([&[1][..]]);
        SecretBytes::init(len, |okm| okm.copy_from_slice(&hazmat::hmac_sha256(prk, message)[..len]))
    }
}
