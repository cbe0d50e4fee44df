//! An issuer of JWTs that also makes what no honest issuer would.

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::{Gateway, now};

/// The issuer's name.
pub const ISSUER: &str = "https://app.example.test";
/// For whom its tokens are.
pub const AUDIENCE: &str = "keyferry";

/// Base64url without padding.
pub fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Signs with ES256.
pub struct Issuer {
    key: EcdsaKeyPair,
}

impl Issuer {
    pub fn new() -> Self {
        Self { key: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key") }
    }

    /// The public point, uncompressed.
    pub fn point(&self) -> &[u8] {
        self.key.public_key().as_ref()
    }

    /// Its one public key.
    pub fn jwk(&self) -> Value {
        let (x, y) = (b64(&self.point()[1..33]), b64(&self.point()[33..]));
        json!({"kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": "1", "x": x, "y": y})
    }

    /// Its public keys.
    pub fn jwks(&self) -> Value {
        json!({"keys": [self.jwk()]})
    }

    /// Registers it with a tenant; answers the id.
    pub async fn register(&self, gateway: &Gateway, tenant: &str) -> String {
        let body = json!({"issuer": ISSUER, "audience": AUDIENCE, "algorithm": "ES256", "jwks": self.jwks()});
        let registered =
            gateway.operator("POST", &format!("/tenants/{tenant}/issuers"), &body).await.expect(201);
        registered.json()["id"].as_str().expect("an id").to_owned()
    }

    /// A signature over any text.
    pub fn signature(&self, text: &str) -> Vec<u8> {
        self.key.sign(&SystemRandom::new(), text.as_bytes()).expect("signs").as_ref().to_vec()
    }

    /// A token of any header and claims, signed.
    pub fn sign(&self, header: &str, claims: &str) -> String {
        let signed = format!("{}.{}", b64(header), b64(claims));
        let signature = b64(self.signature(&signed));
        format!("{signed}.{signature}")
    }

    /// A good token for one request.
    pub fn token(&self, tenant: &str, jti: &str) -> String {
        self.sign(&header().to_string(), &claims(tenant, jti).to_string())
    }
}

/// The header of a good token.
pub fn header() -> Value {
    json!({"alg": "ES256", "typ": "JWT", "kid": "1"})
}

/// The claims of a good token.
pub fn claims(tenant: &str, jti: &str) -> Value {
    json!({"iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "tenant": tenant, "jti": jti,
        "iat": now(), "exp": now() + 120})
}
