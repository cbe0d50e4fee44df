//! JWTs of tenants' issuers: which are accepted, and everything that is not.
//!
//! A case is a row: what is wrong, and the token. Each is answered with 401, reaches no provider,
//! and leaves its id unused.

mod accepted;
mod algorithms;
mod claims;
mod header;
mod issuers;
mod key_sets;
mod signatures;
mod times;

use aws_lc_rs::{
    rand::SystemRandom,
    rsa,
    signature::{KeyPair, RSA_PKCS1_SHA256},
};
use serde_json::{Value, json};

use crate::harness::{
    Gateway, Issuer, Options, Provider, a_key,
    issuer::{AUDIENCE, ISSUER, b64, claims, header},
};

/// A gateway, its provider, an issuer, and the tenant that registered it.
struct Scene {
    provider: Provider,
    gateway: Gateway,
    issuer: Issuer,
    tenant: String,
}

impl Scene {
    async fn new() -> Self {
        let provider = Provider::right().await;
        let options = Options::to(&provider);
        Self::on(provider, options).await
    }

    async fn on(provider: Provider, options: Options) -> Self {
        let gateway = Gateway::start(options).await;
        let tenant = gateway.tenant_with_key("openai", &a_key("key-")).await.id;
        let issuer = Issuer::new();
        issuer.register(&gateway, &tenant).await;
        Self { provider, gateway, issuer, tenant }
    }

    /// Good claims with something changed; `null` takes a claim out.
    fn claims(&self, jti: &str, changes: &Value) -> String {
        changed(claims(&self.tenant, jti), changes).to_string()
    }

    /// A token of good claims under the good header with something changed, signed.
    fn under(&self, changes: &Value) -> String {
        self.issuer.sign(&changed(header(), changes).to_string(), &self.claims("the-id", &json!({})))
    }

    /// A token of the good header and these claims, signed.
    fn claiming(&self, changes: &Value) -> String {
        self.issuer.sign(&header().to_string(), &self.claims("the-id", changes))
    }

    /// Each token is refused, reaches no provider, and leaves its id unused.
    async fn refuses<'n>(&self, tokens: impl IntoIterator<Item = (&'n str, String)>) {
        self.refuses_all(tokens, |jti| self.issuer.token(&self.tenant, jti)).await;
    }

    /// The same for tokens that claim to be another issuer's, who would make such an honest one.
    async fn refuses_all<'n>(
        &self,
        tokens: impl IntoIterator<Item = (&'n str, String)>,
        honest: impl Fn(&str) -> String,
    ) {
        for (name, token) in tokens {
            let before = self.provider.count();
            let reply = self.gateway.chat(&token).await;
            assert_eq!((reply.status(), reply.code().as_str()), (401, "unauthorized"), "{name}: {token}");
            assert_eq!(self.provider.count(), before, "{name}");
        }
        // The id was in all of them, and none has used it up.
        self.gateway.chat(&honest("the-id")).await.expect(200);
        self.gateway.chat(&honest("the-id")).await.refused(409, "BYOK_REPLAY_DETECTED");
    }

    /// Registers a further issuer.
    async fn register(&self, issuer: &str, algorithm: &str, keys: Value) {
        let body =
            json!({"issuer": issuer, "audience": AUDIENCE, "algorithm": algorithm, "jwks": {"keys": keys}});
        let path = format!("/tenants/{}/issuers", self.tenant);
        self.gateway.operator("POST", &path, &body).await.expect(201);
    }
}

fn changed(mut object: Value, changes: &Value) -> Value {
    let fields = object.as_object_mut().expect("an object");
    for (name, value) in changes.as_object().expect("an object") {
        if value.is_null() {
            fields.remove(name);
        } else {
            fields.insert(name.clone(), value.clone());
        }
    }
    object
}

fn hex(text: &str) -> Vec<u8> {
    data_encoding::HEXLOWER.decode(text.as_bytes()).expect("hex")
}

/// An issuer that signs with RS256.
struct RsaIssuer(rsa::KeyPair);

impl RsaIssuer {
    fn new() -> Self {
        Self(rsa::KeyPair::generate(rsa::KeySize::Rsa2048).expect("a key"))
    }

    /// `RSAPublicKey`: a sequence of the modulus, which begins after 9 bytes, and the exponent 65537.
    fn pkcs1(&self) -> &[u8] {
        self.0.public_key().as_ref()
    }

    fn jwk(&self) -> Value {
        json!({"kty": "RSA", "kid": "1", "n": b64(&self.pkcs1()[9..265]), "e": "AQAB"})
    }

    fn sign(&self, header: &Value, claims: &str) -> String {
        let signed = format!("{}.{}", b64(header.to_string()), b64(claims));
        let mut signature = vec![0; self.0.public_modulus_len()];
        self.0
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature)
            .expect("signs");
        format!("{signed}.{}", b64(&signature))
    }
}

/// A gateway for which the host of the key set is this server.
async fn with_keys_at(keys: &Provider, provider: &Provider) -> (Gateway, String) {
    let options = Options::to(provider).dial("keys.example.com", keys.address, true);
    let gateway = Gateway::start(options).await;
    let tenant = gateway.tenant_with_key("openai", &a_key("key-")).await.id;
    let body = json!({"issuer": ISSUER, "audience": AUDIENCE, "algorithm": "ES256",
        "jwks_url": "https://keys.example.com/.well-known/jwks.json"});
    gateway.operator("POST", &format!("/tenants/{tenant}/issuers"), &body).await.expect(201);
    (gateway, tenant)
}
