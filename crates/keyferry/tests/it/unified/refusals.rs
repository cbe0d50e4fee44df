//! What is refused here, and how it is told: in the dialect of OpenAI, whoever would have served.

use serde_json::json;

use super::{ALIASES, CHAT, Scene};
use crate::harness::{Answer, Gateway, Options, Provider, Reply, a_key, request};

fn is_of_openai(reply: &Reply) {
    let error = &reply.json()["error"];
    assert!(error["message"].is_string() && error["type"].is_string(), "{}", reply.text());
    assert!(error.as_object().is_some_and(|error| error.contains_key("param")), "{}", reply.text());
    assert_eq!(reply.header("content-type"), "application/json");
}

#[tokio::test]
async fn a_name_is_never_guessed() {
    let scene = Scene::start(ALIASES).await;
    let (someone, _) = scene.tenant_with("someone", ["openai", "anthropic", "gemini"]).await;
    let secret = a_key("sk-proj-");
    for name in [
        "gpt-4.1-mini",
        "claude-haiku-4-5",
        "gemini-2.5-flash",
        "Fast",
        "fast ",
        "FAST",
        "openai/",
        "/gpt-4.1",
        "",
        "OpenAI/gpt-4.1",
        "moon/m",
        "v1/m",
        "openai",
        " openai/m",
        "fast/m",
        &secret,
    ] {
        let refused = scene.chat(&someone, name, &[]).await.refused(404, "not_found");
        is_of_openai(&refused);
        assert_eq!(refused.header("x-should-retry"), "false");
        assert!(!refused.text().contains(&secret));
    }
    assert_eq!((scene.provider.count(), scene.used(&someone).await), (0, 0));
    assert!(!scene.gateway.log().contains(&secret));
}

#[tokio::test]
async fn other_operations_are_not_here() {
    let scene = Scene::start(ALIASES).await;
    let (someone, _) = scene.tenant_with("someone", ["openai"]).await;
    let body = json!({"model": "openai/m"}).to_string();
    for path in
        ["/v1/moderations", "/v1/completions", "/v1/files", "/v1/", "/v1/models", "/v1/chat/completions/x"]
    {
        let refused = scene.send(&someone, path, "application/json", body.as_bytes()).await;
        is_of_openai(&refused.refused(400, "BYOK_UNKNOWN_OPERATION"));
    }
    scene.get(&someone, CHAT, &[]).await.refused(400, "BYOK_UNKNOWN_OPERATION");
    let query = scene.send(&someone, "/v1/embeddings?limit=1", "application/json", body.as_bytes()).await;
    query.refused(400, "invalid_request");
    // A stranger does not learn what is here.
    for path in ["/v1/moderations", CHAT, "/v1/models"] {
        let url = format!("{}{path}", scene.gateway.url());
        request("POST", &url, &[("x-api-key", "nobody")], b"{}").await.refused(401, "unauthorized");
    }
    scene.chat(&someone, "openai/m", &[]).await.expect(200);
    scene.send(&someone, "/v1/chat/completions/", "application/json", body.as_bytes()).await.expect(200);
    assert_eq!(scene.provider.last().target, CHAT);
}

#[tokio::test]
async fn our_own_errors_come_in_the_dialect_of_openai() {
    let scene = Scene::start(ALIASES).await;
    let someone = scene.tenant("someone", None).await;
    for model in ["openai/m", "anthropic/m", "gemini/m", "fast"] {
        is_of_openai(&scene.chat(&someone, model, &[]).await.refused(404, "BYOK_KEY_NOT_FOUND"));
    }
    scene.gateway.operator("PATCH", "/tenants/someone", &json!({"byok_enabled": false})).await.expect(200);
    is_of_openai(&scene.chat(&someone, "gemini/m", &[]).await.refused(404, "BYOK_DISABLED"));
}

#[tokio::test]
async fn a_providers_error_passes_with_its_keys_masked() {
    let provider = Provider::start(|seen| {
        let key = seen.header("authorization").to_owned();
        let body = json!([{"error": {"code": 401, "message": format!("Wrong key: {key}"), "status": "UNAUTHENTICATED"}}]);
        Answer::with(401, &[("content-type", "application/json"), ("request-id", "req_theirs"), ("retry-after", "7")], body.to_string().as_bytes())
    })
    .await;
    let scene = Scene::before(provider, ALIASES).await;
    let (someone, keys) = scene.tenant_with("someone", ["anthropic", "gemini"]).await;
    for (model, key) in [("anthropic/m", &keys[0]), ("gemini/m", &keys[1])] {
        let reply = scene.chat(&someone, model, &[]).await.expect(401);
        assert!(
            !reply.text().contains(key.as_str()) && reply.text().contains("[redacted]"),
            "{}",
            reply.text()
        );
        assert_eq!((reply.header("request-id"), reply.header("retry-after")), ("req_theirs", "7"));
        assert_eq!(reply.header("x-keyferry-model"), model);
        assert_eq!(reply.header("x-keyferry-credential"), "held");
    }
    let row = scene.gateway.usage_row(&someone.id, 2).await;
    assert_eq!((&row["outcome"], &row["status"]), (&json!("provider_error"), &json!(401)));
}

#[tokio::test]
async fn a_provider_that_is_away_is_told_as_openai_would() {
    let scene = Scene::before(Provider::answering([Answer::reset()]).await, ALIASES).await;
    let (someone, _) = scene.tenant_with("someone", ["gemini"]).await;
    let reply = scene.chat(&someone, "fast", &[]).await.refused(502, "BYOK_UPSTREAM_ERROR");
    is_of_openai(&reply);
    assert_eq!(reply.header("x-keyferry-model"), "gemini/gemini-2.5-flash");
}

#[tokio::test]
async fn without_a_configuration_the_surface_is_there_and_has_no_alias() {
    let provider = Provider::right().await;
    let gateway = Gateway::start(Options::to(&provider)).await;
    let tenant = gateway.tenant_with_key("openai", &a_key("sk-")).await;
    let ask = async |model: &str| {
        gateway.post(&tenant.caller_token, CHAT, &[], &json!({"model": model, "messages": []})).await
    };
    ask("openai/gpt-4.1-mini").await.expect(200);
    ask("fast").await.refused(404, "not_found");
}
