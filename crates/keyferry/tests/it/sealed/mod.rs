//! Sealed keys: opened by the gateway alone, once, for the one they were sealed for.

mod keys;
mod requests;
mod storing;

use keyferry_core::sealing::SealingKeyList;
use keyferry_envelope::{ApiKey, SealFor, SealPurpose, SecretBytes, SystemEntropy, seal_key};
use serde_json::{Value, json};

use crate::harness::{Answer, Gateway, Options, Provider, Reply, Tenant, a_key, now, request};

const CHAT: &str = "/openai/v1/chat/completions";

/// A gateway, a tenant with a stored key, and what to seal to.
struct Scene {
    provider: Provider,
    gateway: Gateway,
    tenant: Tenant,
}

impl Scene {
    async fn start(yaml: &str) -> Self {
        let provider = Provider::start(Answer::right).await;
        let gateway = Gateway::start(Options::to(&provider).yaml(yaml)).await;
        let tenant = gateway.tenant_with_key("openai", &a_key("sk-held-")).await;
        Self { provider, gateway, tenant }
    }

    /// What the gateway publishes.
    async fn published(&self) -> SealingKeyList {
        SealingKeyList::parse(&self.sealing_keys().await.body).expect("a list")
    }

    async fn sealing_keys(&self) -> Reply {
        request("GET", &format!("{}/api/v1/sealing-keys", self.gateway.url()), &[], b"").await.expect(200)
    }

    /// Seals a key as a client would.
    async fn seal(&self, key: &str, purpose: SealPurpose, tenant: &str, provider: &str, ts: i64) -> String {
        let (kid, public) =
            self.published().await.choose(keyferry_core::time::Timestamp::from_secs(now())).expect("a key");
        let sealed_for = SealFor { purpose, tenant, provider, ts: ts as u64 };
        seal_key(&public, &kid, &sealed_for, &api_key(key), &SystemEntropy).expect("seals")
    }

    /// Seals a key for a request of the tenant to OpenAI.
    async fn seal_for_request(&self, key: &str) -> String {
        self.seal(key, SealPurpose::Request, &self.tenant.id, "openai", now()).await
    }

    async fn ask(&self, path: &str, sealed: &str) -> Reply {
        self.ask_as(&self.tenant.caller_token, path, sealed).await
    }

    async fn ask_as(&self, token: &str, path: &str, sealed: &str) -> Reply {
        let body = json!({"model": "m", "messages": []});
        self.gateway.post(token, path, &[("x-sealed-key", sealed)], &body).await
    }

    async fn credentials(&self, method: &str, below: &str, body: &Value) -> Reply {
        let path = format!("/tenants/{}/credentials{below}", self.tenant.id);
        self.gateway.admin(&self.tenant.admin_token, method, &path, body).await
    }
}

fn api_key(text: &str) -> ApiKey {
    ApiKey::parse(SecretBytes::new(text.as_bytes().to_vec())).expect("a key")
}
