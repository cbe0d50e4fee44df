//! Public keys of issuers (RFC 7517), and what they say of a signature.
//!
//! Only three algorithms, none of them symmetric. Which one is the issuer's setting, never the
//! token's choice; a key of another type is not even looked at.

use aws_lc_rs::signature::{self, ParsedPublicKey, RsaPublicKeyComponents, UnparsedPublicKey};
use keyferry_core::issuer::Algorithm;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{
    jws::{decode, object},
    roca,
};

/// Keys in one set.
const MAX_KEYS: usize = 32;

/// A public key that can check signatures of one algorithm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublicKey {
    /// An uncompressed point on P-256.
    Es256(Vec<u8>),
    /// An Ed25519 key.
    EdDsa(Vec<u8>),
    /// Modulus and exponent, 2048 to 8192 bits.
    Rs256 {
        /// Big-endian.
        n: Vec<u8>,
        /// Big-endian.
        e: Vec<u8>,
    },
}

impl PublicKey {
    /// Whether `signature` is this key's over `message`.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Es256(point) => UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, point)
                .verify(message, signature)
                .is_ok(),
            Self::EdDsa(key) => {
                UnparsedPublicKey::new(&signature::ED25519, key).verify(message, signature).is_ok()
            }
            Self::Rs256 { n, e } => RsaPublicKeyComponents { n, e }
                .verify(&signature::RSA_PKCS1_2048_8192_SHA256, message, signature)
                .is_ok(),
        }
    }
}

/// The usable keys of a set, with their ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeySet(Vec<(Option<String>, PublicKey)>);

/// Why a text is no key set.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum KeySetRefused {
    /// It is not of the form.
    #[error("is not a JSON Web Key Set (RFC 7517)")]
    Malformed,
    /// It has too many keys.
    #[error("has more than {MAX_KEYS} keys")]
    TooMany,
    /// It has no key of the algorithm.
    #[error("has no public key for the algorithm")]
    NoneUsable,
    /// Two of its keys share an id.
    #[error("has two keys with the same kid")]
    Ambiguous,
}

#[derive(Deserialize)]
struct RawSet<'a> {
    #[serde(borrow)]
    keys: Vec<&'a RawValue>,
}

/// A key's public members. Whatever else stands in a key is not read, and not kept.
#[derive(Deserialize, Serialize)]
struct RawKey<'a> {
    kty: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    kid: Option<String>,
    #[serde(rename = "use", skip_serializing_if = "Option::is_none")]
    usage: Option<&'a str>,
    #[serde(borrow, skip_serializing)]
    key_ops: Option<Vec<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    alg: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    crv: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    x: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    y: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    n: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    e: Option<&'a str>,
}

impl KeySet {
    /// Reads the keys of one algorithm out of a set; others are passed over.
    pub fn read(text: &[u8], algorithm: Algorithm) -> Result<Self, KeySetRefused> {
        Self::read_raw(text, algorithm)
            .map(|usable| Self(usable.into_iter().map(|(raw, public)| (raw.kid.clone(), public)).collect()))
    }

    /// The set with nothing in it but the public members of the keys of one algorithm.
    pub fn reduced(text: &[u8], algorithm: Algorithm) -> Result<String, KeySetRefused> {
        let usable = Self::read_raw(text, algorithm)?;
        let keys: Vec<&RawKey<'_>> = usable.iter().map(|(raw, _)| raw).collect();
        Ok(serde_json::json!({"keys": keys}).to_string())
    }

    fn read_raw(text: &[u8], algorithm: Algorithm) -> Result<Vec<(RawKey<'_>, PublicKey)>, KeySetRefused> {
        let raw: RawSet<'_> = object(text).ok_or(KeySetRefused::Malformed)?;
        if raw.keys.len() > MAX_KEYS {
            return Err(KeySetRefused::TooMany);
        }
        let mut keys: Vec<(RawKey<'_>, PublicKey)> = Vec::new();
        for raw in raw.keys {
            let raw: RawKey<'_> = object(raw.get().as_bytes()).ok_or(KeySetRefused::Malformed)?;
            let Some(public) = raw.public(algorithm) else { continue };
            if keys.iter().any(|(other, _)| other.kid == raw.kid) {
                return Err(KeySetRefused::Ambiguous);
            }
            keys.push((raw, public));
        }
        if keys.is_empty() { Err(KeySetRefused::NoneUsable) } else { Ok(keys) }
    }

    /// The key of an id. Without an id the set must have exactly one key.
    pub fn find(&self, kid: Option<&str>) -> Option<&PublicKey> {
        match (kid, self.0.as_slice()) {
            (None, [(_, only)]) => Some(only),
            (None, _) => None,
            (Some(kid), keys) => keys.iter().find(|(id, _)| id.as_deref() == Some(kid)).map(|(_, key)| key),
        }
    }
}

impl RawKey<'_> {
    fn public(&self, algorithm: Algorithm) -> Option<PublicKey> {
        let for_signatures = self.usage.is_none_or(|usage| usage == "sig");
        let for_verifying = self.key_ops.as_ref().is_none_or(|ops| ops.contains(&"verify"));
        let of_algorithm = self.alg.is_none_or(|alg| alg == algorithm.as_str());
        if !for_signatures || !for_verifying || !of_algorithm {
            return None;
        }
        match (algorithm, self.kty, self.crv) {
            (Algorithm::ES256, "EC", Some("P-256")) => {
                let (x, y) = (bytes(self.x?, 32)?, bytes(self.y?, 32)?);
                let point = [&[4], x.as_slice(), &y].concat();
                let on_curve = ParsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, &point).is_ok();
                on_curve.then_some(PublicKey::Es256(point))
            }
            (Algorithm::EdDSA, "OKP", Some("Ed25519")) => Some(PublicKey::EdDsa(bytes(self.x?, 32)?)),
            (Algorithm::RS256, "RSA", None) => {
                let (n, e) = (decode(self.n?)?, decode(self.e?)?);
                let sound = (256..=1024).contains(&n.len()) && n[0] != 0 && is_exponent(&e);
                (sound && !roca::is_suspect(&n)).then_some(PublicKey::Rs256 { n, e })
            }
            _ => None,
        }
    }
}

/// Odd, at least 3, of at most 32 bits: with 1 anybody can sign, and an even one is none.
fn is_exponent(e: &[u8]) -> bool {
    match e {
        [only] => only % 2 == 1 && *only >= 3,
        [first, .., last] => *first != 0 && last % 2 == 1 && e.len() <= 4,
        [] => false,
    }
}

fn bytes(text: &str, len: usize) -> Option<Vec<u8>> {
    decode(text).filter(|bytes| bytes.len() == len)
}
