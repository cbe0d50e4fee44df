//! `GET /v1/models`: what a caller may ask for by name.

use serde_json::{Value, json};

use super::{Scene, Someone};
use crate::harness::{Gateway, Issuer, Options, Provider, a_key, request};

const YAML: &str = "\
models:
  fast: {candidates: [openai/gpt-4.1-mini, anthropic/claude-haiku-4-5]}
  best: {tier: pro, candidates: [anthropic/claude-opus-4-5]}
prices:
  openai/gpt-4.1: {input: \"2.00\", output: \"8.00\"}
  gemini/gemini-2.5-flash: {input: \"0.30\", output: \"2.50\"}";

async fn ids(scene: &Scene, who: &Someone, headers: &[(&str, &str)]) -> Vec<String> {
    let list = scene.get(who, "/v1/models", headers).await.expect(200).json();
    assert_eq!(list["object"], "list");
    let data = list["data"].as_array().expect("a list");
    data.iter()
        .map(|model| {
            assert_eq!((&model["object"], &model["created"]), (&json!("model"), &json!(0)), "{model}");
            let id = model["id"].as_str().expect("a name");
            let owner = id.split_once('/').map_or("keyferry", |(provider, _)| provider);
            assert_eq!(model["owned_by"], owner);
            id.to_owned()
        })
        .collect()
}

#[tokio::test]
async fn aliases_of_the_tier_and_named_models_for_which_there_is_a_key_are_listed() {
    let scene = Scene::start(YAML).await;
    let someone = scene.tenant("someone", None).await;
    assert_eq!(ids(&scene, &someone, &[]).await, ["fast"]);
    scene.gateway.store(&someone.id, "openai", &a_key("openai-")).await;
    assert_eq!(ids(&scene, &someone, &[]).await, ["fast", "openai/gpt-4.1", "openai/gpt-4.1-mini"]);
    let map = json!({"gemini": a_key("own-")}).to_string();
    let with_map = ["fast", "gemini/gemini-2.5-flash", "openai/gpt-4.1", "openai/gpt-4.1-mini"];
    assert_eq!(ids(&scene, &someone, &[("x-byok-keys", &map)]).await, with_map);
    let paying = scene.tenant("paying", Some("enterprise")).await;
    assert_eq!(ids(&scene, &paying, &[]).await, ["best", "fast"]);
    let token =
        scene.gateway.token(&someone.id, &json!({"role": "caller", "models": ["openai/gpt-4.1"]})).await;
    let bound = Someone { id: someone.id.clone(), token };
    assert_eq!(ids(&scene, &bound, &[]).await, ["openai/gpt-4.1"]);
    assert_eq!((scene.provider.count(), scene.used(&someone).await), (0, 0), "nobody is asked for it");
}

#[tokio::test]
async fn one_model_is_shown_if_it_is_listed() {
    let scene = Scene::start(YAML).await;
    let (someone, _) = scene.tenant_with("someone", ["openai"]).await;
    for (name, owner) in [("fast", "keyferry"), ("openai/gpt-4.1", "openai")] {
        let shown = scene.get(&someone, &format!("/v1/models/{name}"), &[]).await.expect(200).json();
        // As official SDKs write it.
        let escaped = format!("/v1/models/{}", name.replace('/', "%2F"));
        assert_eq!(scene.get(&someone, &escaped, &[]).await.expect(200).json(), shown);
        assert_eq!(shown, json!({"id": name, "object": "model", "created": 0, "owned_by": owner}));
    }
    for hidden in ["best", "gemini/gemini-2.5-flash", "moon", "openai"] {
        scene.get(&someone, &format!("/v1/models/{hidden}"), &[]).await.refused(404, "not_found");
    }
    for elsewhere in ["/openai/v1/models/openai%2Fgpt-4.1", "/v1%2Fmodels", "/v1/models/..%2Fgpt-4.1"] {
        scene.get(&someone, elsewhere, &[]).await.refused(400, "invalid_request");
    }
    assert_eq!(scene.provider.count(), 0);
    scene.get(&someone, "/v1/models?limit=1", &[]).await.refused(400, "invalid_request");
}

#[tokio::test]
async fn listing_needs_a_token_and_the_gate_and_has_a_rate() {
    let scene = Scene::start("rate_limits: {caller: 2/min}").await;
    let someone = scene.tenant("someone", None).await;
    let url = format!("{}/v1/models", scene.gateway.url());
    request("GET", &url, &[], b"").await.refused(401, "unauthorized");
    request("GET", &url, &[("authorization", "Bearer sk-of-openai")], b"").await.refused(401, "unauthorized");
    for _ in 0..4 {
        scene.get(&someone, "/v1/models", &[]).await.expect(200);
    }
    let refused = scene.get(&someone, "/v1/models", &[]).await.refused(429, "RATE_LIMITED");
    let wait = refused.header("retry-after");
    assert_eq!(refused.header("ratelimit-policy"), "\"models\";q=4;w=120");
    assert_eq!(refused.header("ratelimit"), format!("\"models\";r=0;t={wait}"));
    let path = format!("/tenants/{}", someone.id);
    scene.gateway.operator("PATCH", &path, &json!({"byok_enabled": false})).await.expect(200);
    scene.get(&someone, "/v1/models", &[]).await.refused(404, "BYOK_DISABLED");
}

#[tokio::test]
async fn a_jwt_lists_once() {
    let scene = Scene::start(YAML).await;
    let someone = scene.tenant("someone", None).await;
    let issuer = Issuer::new();
    issuer.register(&scene.gateway, &someone.id).await;
    let once = Someone { id: someone.id.clone(), token: issuer.token(&someone.id, "once") };
    scene.get(&once, "/v1/models", &[]).await.expect(200);
    scene.get(&once, "/v1/models", &[]).await.refused(409, "BYOK_REPLAY_DETECTED");
    assert_eq!(scene.used(&someone).await, 0);
    let rows = scene.gateway.operator("GET", "/tenants/someone/usage/requests", &Value::Null).await;
    assert_eq!(rows.expect(200).json()["data"], json!([]));
}

#[tokio::test]
async fn models_that_the_platform_may_pay_for_are_listed_to_whom_it_may() {
    let key = a_key("sk-platform-");
    let provider = Provider::right().await;
    let yaml = format!("{YAML}\nproviders: {{openai: {{platform_key: {key}}}}}");
    let gateway = Gateway::start(Options::to(&provider).yaml(&yaml)).await;
    let scene = Scene { provider, gateway };
    let someone = scene.tenant("someone", None).await;
    assert_eq!(ids(&scene, &someone, &[]).await, ["fast"]);
    let path = format!("/tenants/{}", someone.id);
    let allowed = json!({"fallback": {"missing": true}, "budget_micro_usd": 1_000_000});
    scene.gateway.operator("PATCH", &path, &allowed).await.expect(200);
    // A candidate without a price is nothing that the platform pays for.
    assert_eq!(ids(&scene, &someone, &[]).await, ["fast", "openai/gpt-4.1"]);
}
