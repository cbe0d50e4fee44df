//! Aliases: which of their candidates serves.

use serde_json::json;

use super::{ALIASES, CHAT, Scene, asked};
use crate::harness::{Gateway, Options, Provider, a_key};

#[tokio::test]
async fn the_first_candidate_with_a_stored_key_serves_and_a_change_counts_at_once() {
    let scene = Scene::start(ALIASES).await;
    let someone = scene.tenant("someone", None).await;
    let serves = async |expected: &str| {
        let reply = scene.chat(&someone, "fast", &[]).await.expect(200);
        assert_eq!(reply.header("x-keyferry-model"), expected);
        assert_eq!(reply.header("x-keyferry-credential"), "held");
        let seen = scene.provider.last();
        assert_eq!(format!("{}/{}", asked(&seen), seen.json()["model"].as_str().expect("a model")), expected);
    };
    let gemini = scene.gateway.store(&someone.id, "gemini", &a_key("gemini-")).await;
    serves("gemini/gemini-2.5-flash").await;
    let openai = scene.gateway.store(&someone.id, "openai", &a_key("openai-")).await;
    serves("openai/gpt-4.1-mini").await;
    let revoke = async |id: &str| {
        let path = format!("/tenants/{}/credentials/{id}", someone.id);
        scene.gateway.operator("DELETE", &path, &json!(null)).await.expect(204);
    };
    revoke(&openai).await;
    serves("gemini/gemini-2.5-flash").await;
    revoke(&gemini).await;
    let none = scene.chat(&someone, "fast", &[]).await.refused(404, "BYOK_KEY_NOT_FOUND");
    for name in ["openai", "anthropic", "gemini"] {
        assert!(none.text().contains(name), "{}", none.text());
    }
}

#[tokio::test]
async fn a_key_that_comes_along_comes_before_a_stored_one() {
    let scene = Scene::start(ALIASES).await;
    let (someone, keys) = scene.tenant_with("someone", ["openai", "anthropic"]).await;
    let own = a_key("own-");
    let map = json!({"gemini": own}).to_string();
    let reply = scene.chat(&someone, "fast", &[("x-byok-keys", &map)]).await.expect(200);
    assert_eq!(reply.header("x-keyferry-model"), "gemini/gemini-2.5-flash");
    assert_eq!(reply.header("x-keyferry-credential"), "carried");
    assert_eq!(scene.provider.last().header("authorization"), format!("Bearer {own}"));
    // One for nobody behind the alias changes nothing.
    let map = json!({"acme": own}).to_string();
    let reply = scene.chat(&someone, "fast", &[("x-byok-keys", &map)]).await.expect(200);
    assert_eq!(reply.header("x-keyferry-credential"), "held");
    assert_eq!(scene.provider.last().header("authorization"), format!("Bearer {}", keys[0]));
}

#[tokio::test]
async fn candidates_without_the_operation_are_passed_over() {
    let scene = Scene::start(ALIASES).await;
    let (someone, _) = scene.tenant_with("someone", ["openai", "anthropic", "gemini"]).await;
    let ask = async |path: &str, model: &str| {
        let body = json!({"model": model, "input": "x"});
        scene.gateway.post(&someone.token, path, &[], &body).await
    };
    let reply = ask("/v1/embeddings", "embed").await.expect(200);
    assert_eq!(reply.header("x-keyferry-model"), "gemini/gemini-embedding-001");
    assert_eq!(scene.provider.last().target, "/v1beta/openai/embeddings");
    let reply = ask("/v1/responses", "embed").await.expect(200);
    assert_eq!(reply.header("x-keyferry-model"), "openai/text-embedding-3-small");
    ask("/v1/responses", "talk").await.refused(400, "BYOK_UNKNOWN_OPERATION");
    assert_eq!(scene.used(&someone).await, 2);
}

#[tokio::test]
async fn a_token_that_is_bound_to_models_follows_the_name_that_is_asked_for() {
    let scene = Scene::start(ALIASES).await;
    let (someone, _) = scene.tenant_with("someone", ["openai"]).await;
    for (bound, allowed, denied) in [
        ("fast", "fast", ["openai/gpt-4.1-mini", "talk"]),
        ("openai/gpt-4.1-mini", "openai/gpt-4.1-mini", ["fast", "openai/gpt-4.1"]),
    ] {
        let token = scene.gateway.token(&someone.id, &json!({"role": "caller", "models": [bound]})).await;
        let ask = async |model: &str| {
            scene.gateway.post(&token, CHAT, &[], &json!({"model": model, "messages": []})).await
        };
        ask(allowed).await.expect(200);
        for model in denied {
            ask(model).await.refused(403, "MODEL_NOT_ALLOWED");
        }
    }
    // On a provider's own surface a token is bound to the provider's own name, as ever.
    let token =
        scene.gateway.token(&someone.id, &json!({"role": "caller", "models": ["gpt-4.1-mini"]})).await;
    scene.gateway.chat(&token).await.expect(200);
    let body = json!({"model": "openai/gpt-4.1-mini", "messages": []});
    scene.gateway.post(&token, CHAT, &[], &body).await.refused(403, "MODEL_NOT_ALLOWED");
}

#[tokio::test]
async fn where_the_platform_may_pay_it_serves_after_every_key_of_the_tenant() {
    let (provider, key) = (Provider::right().await, a_key("sk-platform-"));
    let prices = "prices: {openai/gpt-4.1-mini: {input: '1', output: '1'}}";
    let yaml = format!("{ALIASES}\n{prices}\nproviders: {{openai: {{platform_key: {key}}}}}");
    let gateway = Gateway::start(Options::to(&provider).yaml(&yaml)).await;
    let scene = Scene { provider, gateway };
    let someone = scene.tenant("someone", None).await;
    let allow = async |missing: bool| {
        let body = json!({"fallback": {"missing": missing}, "budget_micro_usd": 1_000_000});
        scene.gateway.operator("PATCH", "/tenants/someone", &body).await.expect(200);
    };
    scene.chat(&someone, "fast", &[]).await.refused(404, "BYOK_KEY_NOT_FOUND");
    allow(true).await;
    let reply = scene.chat(&someone, "fast", &[]).await.expect(200);
    assert_eq!(reply.header("x-keyferry-credential"), "platform");
    assert_eq!(reply.header("x-keyferry-model"), "openai/gpt-4.1-mini");
    assert_eq!(scene.provider.last().header("authorization"), format!("Bearer {key}"));
    // The tenant's own comes first, though its provider is the last of the list.
    scene.gateway.store(&someone.id, "gemini", &a_key("gemini-")).await;
    let reply = scene.chat(&someone, "fast", &[]).await.expect(200);
    assert_eq!(reply.header("x-keyferry-credential"), "held");
    assert_eq!(reply.header("x-keyferry-model"), "gemini/gemini-2.5-flash");
}
