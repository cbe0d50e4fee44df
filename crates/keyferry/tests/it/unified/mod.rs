//! The unified surface: one dialect before every provider, aliases, and what tiers may use.

mod aliases;
mod bodies;
mod keys;
mod models;
mod reached;
mod refusals;
mod tiers;

use serde_json::{Value, json};

use crate::harness::{Answer, Gateway, Options, Provider, Reply, Seen, a_key, request};

const CHAT: &str = "/v1/chat/completions";
const ALIASES: &str = "\
models:
  fast: {candidates: [openai/gpt-4.1-mini, anthropic/claude-haiku-4-5, gemini/gemini-2.5-flash]}
  embed: {candidates: [anthropic/claude-haiku-4-5, gemini/gemini-embedding-001, openai/text-embedding-3-small]}
  talk: {candidates: [anthropic/claude-haiku-4-5]}";
const HOSTS: [(&str, &str); 4] = [
    ("openai", "api.openai.com"),
    ("anthropic", "api.anthropic.com"),
    ("gemini", "generativelanguage.googleapis.com"),
    ("acme", "llm.acme.com"),
];

/// A gateway before one scripted provider that plays all four.
struct Scene {
    provider: Provider,
    gateway: Gateway,
}

/// A tenant that calls.
struct Someone {
    id: String,
    token: String,
}

impl Scene {
    async fn start(yaml: &str) -> Self {
        Self::before(Provider::right().await, yaml).await
    }

    async fn answering(answer: Answer) -> Self {
        Self::before(Provider::answering([answer]).await, ALIASES).await
    }

    async fn before(provider: Provider, yaml: &str) -> Self {
        let acme = "providers: {acme: {kind: openai-compatible, base_url: 'https://llm.acme.com/base/v1'}}";
        let options = Options::to(&provider).dial("llm.acme.com", provider.address, true);
        let gateway = Gateway::start(options.yaml(acme).yaml(yaml)).await;
        Self { provider, gateway }
    }

    /// A tenant without keys, of a tier if one is named.
    async fn tenant(&self, id: &str, tier: Option<&str>) -> Someone {
        self.gateway.tenant(id).await;
        if let Some(tier) = tier {
            let path = format!("/tenants/{id}");
            self.gateway.operator("PATCH", &path, &json!({"tier": tier})).await.expect(200);
        }
        let token = self.gateway.token(id, &json!({"role": "caller"})).await;
        Someone { id: id.to_owned(), token }
    }

    /// A tenant with a stored key for each of these; answers the keys too.
    async fn tenant_with<const N: usize>(&self, id: &str, providers: [&str; N]) -> (Someone, [String; N]) {
        let someone = self.tenant(id, None).await;
        let keys = providers.map(|provider| a_key(&format!("{provider}-held-")));
        for (provider, key) in providers.iter().zip(&keys) {
            self.gateway.store(id, provider, key).await;
        }
        (someone, keys)
    }

    async fn chat(&self, who: &Someone, model: &str, headers: &[(&str, &str)]) -> Reply {
        self.gateway.post(&who.token, CHAT, headers, &json!({"model": model, "messages": []})).await
    }

    async fn send(&self, who: &Someone, path: &str, content_type: &str, body: &[u8]) -> Reply {
        let bearer = format!("Bearer {}", who.token);
        let headers = [("authorization", bearer.as_str()), ("content-type", content_type)];
        request("POST", &format!("{}{path}", self.gateway.url()), &headers, body).await
    }

    async fn get(&self, who: &Someone, path: &str, headers: &[(&str, &str)]) -> Reply {
        let bearer = format!("Bearer {}", who.token);
        let headers = [&[("authorization", bearer.as_str())], headers].concat();
        request("GET", &format!("{}{path}", self.gateway.url()), &headers, b"").await
    }

    /// How much of the day's quota is used.
    async fn used(&self, who: &Someone) -> u64 {
        let path = format!("/tenants/{}/budget", who.id);
        let budget = self.gateway.operator("GET", &path, &Value::Null).await.expect(200).json();
        budget["quota"]["used"].as_u64().expect("a number")
    }
}

/// Which provider was asked, by the host that the gateway named.
fn asked(seen: &Seen) -> &'static str {
    let host = seen.header("host");
    HOSTS.iter().find(|(_, known)| *known == host).expect("a known host").0
}

/// A form with a recording, as SDKs write it.
fn recording(model: &str) -> Vec<u8> {
    let mut body = format!(
        "--XyZ\r\nContent-Disposition: form-data; name=\"language\"\r\n\r\nopenai/whisper-1\r\n\
         --XyZ\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\n{model}\r\n\
         --XyZ\r\nContent-Disposition: form-data; name=\"file\"; filename=\"model\"\r\nContent-Type: audio/wav\r\n\r\nRIFF"
    )
    .into_bytes();
    body.extend((0..=255).cycle().take(4096));
    body.extend_from_slice(b"\r\n--XyZ--\r\n");
    body
}

const FORM: &str = "multipart/form-data; boundary=XyZ";
