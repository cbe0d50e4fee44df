//! Compact JWS (RFC 7515), read strictly: taken apart, and nothing of it believed.
//!
//! Header parameters that would let a text bring its own key, or that must be understood (`crit`),
//! are refused; so is every spelling but the canonical one.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Deserializer, de};

use super::jwk::PublicKey;

/// The longest text, in bytes.
const MAX_BYTES: usize = 8 * 1024;

/// A text that was read and not verified.
pub(super) struct Jws<'t> {
    signed: &'t [u8],
    signature: Vec<u8>,
    header: Header,
    payload: Vec<u8>,
}

/// Only these parameters; anything else that could change the meaning is refused.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    alg: String,
    #[serde(default, deserialize_with = "given")]
    kid: Option<Text<255>>,
    #[serde(rename = "typ", default, deserialize_with = "given")]
    _typ: Option<Text<32>>,
    #[serde(rename = "cty", default, deserialize_with = "given")]
    _cty: Option<Text<255>>,
    /// Thumbprints of a certificate: only names for the key, so there is nothing to believe.
    #[serde(rename = "x5t", default, deserialize_with = "given")]
    _x5t: Option<Text<64>>,
    #[serde(rename = "x5t#S256", default, deserialize_with = "given")]
    _x5t_s256: Option<Text<64>>,
}

/// A member that may be absent, and is no `null` where it is there: that is not the same.
pub(super) fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// Non-empty text of at most so many bytes without control characters.
pub(super) struct Text<const MAX: usize>(pub(super) String);

impl<'de, const MAX: usize> Deserialize<'de> for Text<MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.is_empty() || text.len() > MAX || text.chars().any(char::is_control) {
            return Err(de::Error::custom("not an acceptable text"));
        }
        Ok(Self(text))
    }
}

impl<'t> Jws<'t> {
    /// Takes a compact text apart. `None` for everything that is not exactly of the form.
    pub(super) fn read(text: &'t [u8]) -> Option<Self> {
        if text.len() > MAX_BYTES {
            return None;
        }
        let text = std::str::from_utf8(text).ok()?;
        let (signed, signature) = text.rsplit_once('.')?;
        let (header, payload) = signed.split_once('.')?;
        if payload.contains('.') {
            return None;
        }
        Some(Self {
            signed: signed.as_bytes(),
            signature: decode(signature).filter(|bytes| !bytes.is_empty())?,
            header: object(&decode(header)?)?,
            payload: decode(payload)?,
        })
    }

    pub(super) fn alg(&self) -> &str {
        &self.header.alg
    }

    pub(super) fn kid(&self) -> Option<&str> {
        self.header.kid.as_ref().map(|kid| kid.0.as_str())
    }

    /// What was signed, if the signature is one.
    pub(super) fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// Whether the signature is this key's. The algorithm is the key's, whatever the header says.
    pub(super) fn is_signed_by(&self, key: &PublicKey) -> bool {
        key.verifies(self.signed, &self.signature)
    }
}

/// A JSON object. The derived readers would take a list too, by position.
pub(super) fn object<'a, T: Deserialize<'a>>(text: &'a [u8]) -> Option<T> {
    text.trim_ascii_start().starts_with(b"{").then(|| serde_json::from_slice(text).ok()).flatten()
}

/// Base64url without padding, in its one canonical form (RFC 7515 §2).
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}
