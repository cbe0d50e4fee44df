//! Issuers of JWTs: whose tokens a tenant accepts, and under which one algorithm.

use serde::{Deserialize, Serialize};

use crate::{
    id::{IssuerId, TenantId},
    time::Timestamp,
};

/// The signature algorithm, pinned per issuer. No HMAC: a shared secret is no proof of origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Algorithm {
    /// ECDSA on P-256 with SHA-256 (RFC 7518 §3.4).
    ES256,
    /// Ed25519 (RFC 8037).
    EdDSA,
    /// RSASSA-PKCS1-v1_5 with SHA-256 (RFC 7518 §3.3).
    RS256,
}

impl Algorithm {
    /// The name in a JOSE header.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ES256 => "ES256",
            Self::EdDSA => "EdDSA",
            Self::RS256 => "RS256",
        }
    }
}

/// Where an issuer's public keys come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Jwks {
    /// The key set itself (RFC 7517), as JSON text.
    #[serde(rename = "jwks")]
    Inline(#[serde(serialize_with = "as_json")] String),
    /// An HTTPS address it is fetched from, under the same guard as a provider.
    #[serde(rename = "jwks_url")]
    Url(String),
}

fn as_json<S: serde::Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
    let value: serde_json::Value = serde_json::from_str(text).map_err(serde::ser::Error::custom)?;
    value.serialize(serializer)
}

/// An issuer that a tenant registered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Issuer {
    /// Made by the gateway.
    pub id: IssuerId,
    /// The only tenant its tokens may name.
    #[serde(skip)]
    pub tenant: TenantId,
    /// The claim `iss`.
    pub issuer: String,
    /// The claim `aud`.
    pub audience: String,
    /// The one accepted algorithm.
    pub algorithm: Algorithm,
    /// Its public keys.
    #[serde(flatten)]
    pub keys: Jwks,
    /// When it was registered.
    pub created_at: Timestamp,
    /// Who registered it.
    pub created_by: String,
}
