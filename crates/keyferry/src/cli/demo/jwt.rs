//! An issuer of JWTs, as a tenant's application would be one.

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

/// Signs tokens with ES256.
pub(super) struct Issuer {
    key: EcdsaKeyPair,
}

/// The issuer's name.
pub(super) const NAME: &str = "https://app.acme.example";
/// For whom its tokens are.
pub(super) const AUDIENCE: &str = "keyferry";

impl Issuer {
    pub(super) fn new() -> anyhow::Result<Self> {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?;
        Ok(Self { key })
    }

    /// The public keys (RFC 7517).
    pub(super) fn jwks(&self) -> Value {
        let point = self.key.public_key().as_ref();
        let part = |range: std::ops::Range<usize>| URL_SAFE_NO_PAD.encode(&point[range]);
        json!({"keys": [
            {"kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": "1", "x": part(1..33), "y": part(33..65)}
        ]})
    }

    /// A token for one request.
    pub(super) fn token(&self, tenant: &str, id: &str, now: i64) -> anyhow::Result<String> {
        let header = json!({"alg": "ES256", "typ": "JWT", "kid": "1"});
        let claims = json!({"iss": NAME, "aud": AUDIENCE, "sub": "alice", "tenant": tenant, "jti": id,
            "iat": now, "exp": now + 120});
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", encode(&header), encode(&claims));
        let signature = self.key.sign(&SystemRandom::new(), signed.as_bytes())?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref())))
    }
}
