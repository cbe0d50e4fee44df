//! Tiers: a key of one's own replaces the platform's, never the entitlement (A5).

use serde_json::{Value, json};

use super::{CHAT, Scene, Someone};
use crate::harness::{Reply, a_key, until};

const TIERS: &str = "\
tiers:
  - {name: basic, models: [fast, 'openai/gpt-4*'], rate_limits: {caller: 2/min}, budget_micro_usd: 1000}
  - {name: plus}
  - {name: top, rate_limits: {tenant_provider: 1/h}}
models:
  fast: {candidates: [anthropic/claude-haiku-4-5, openai/gpt-5]}
  good: {tier: plus, candidates: [openai/gpt-5]}
  best: {tier: top, candidates: [openai/gpt-5]}";
const NO_RATES: &str = "rate_limits: {caller: unlimited, tenant: unlimited, tenant_provider: unlimited}";

async fn with_key(scene: &Scene, id: &str, tier: Option<&str>) -> Someone {
    let someone = scene.tenant(id, tier).await;
    scene.gateway.store(id, "openai", &a_key("openai-")).await;
    someone
}

fn without_rates() -> String {
    TIERS.replace("rate_limits: {caller: 2/min}, ", "").replace(", rate_limits: {tenant_provider: 1/h}", "")
}

/// Asked for on both surfaces.
async fn native(scene: &Scene, who: &Someone, model: &str) -> Reply {
    let body = json!({"model": model, "messages": []});
    scene.gateway.post(&who.token, "/openai/v1/chat/completions", &[], &body).await
}

#[tokio::test]
async fn each_tier_has_its_aliases_and_those_before_it() {
    let scene = Scene::start(&without_rates()).await;
    for (tier, has) in [("basic", 1), ("plus", 2), ("top", 3)] {
        let someone = with_key(&scene, tier, Some(tier)).await;
        for (rank, alias) in ["fast", "good", "best"].into_iter().enumerate() {
            let reply = scene.chat(&someone, alias, &[]).await;
            if rank < has {
                reply.expect(200);
            } else {
                let refused = reply.refused(403, "MODEL_NOT_ALLOWED");
                assert!(
                    refused.text().contains(tier) && refused.text().contains(alias),
                    "{}",
                    refused.text()
                );
            }
        }
        // A key of one's own opens nothing.
        let map = json!({"openai": a_key("own-")}).to_string();
        let reply = scene.chat(&someone, "best", &[("x-byok-keys", &map)]).await;
        assert_eq!(reply.status(), if has == 3 { 200 } else { 403 }, "{tier}");
    }
}

#[tokio::test]
async fn a_tier_with_a_list_has_nothing_else_on_any_surface() {
    let scene = Scene::start(&without_rates()).await;
    let someone = with_key(&scene, "someone", Some("basic")).await;
    scene.chat(&someone, "openai/gpt-4.1", &[]).await.expect(200);
    native(&scene, &someone, "gpt-4.1").await.expect(200);
    // What an alias stands for need not be in the list, and is not by that.
    scene.chat(&someone, "fast", &[]).await.expect(200);
    for model in ["openai/gpt-5", "openai/xgpt-4", "gemini/gpt-4"] {
        scene.chat(&someone, model, &[]).await.refused(403, "MODEL_NOT_ALLOWED");
    }
    native(&scene, &someone, "gpt-5").await.refused(403, "MODEL_NOT_ALLOWED");
    native(&scene, &someone, "fast").await.refused(403, "MODEL_NOT_ALLOWED");
    let path = "/gemini/v1beta/models/gpt-4:generateContent";
    let refused = scene.gateway.post(&someone.token, path, &[], &json!({"contents": []})).await;
    refused.refused(403, "MODEL_NOT_ALLOWED");
    // Where no model is named, the provider would choose.
    let nameless = scene.gateway.post(&someone.token, "/openai/v1/chat/completions", &[], &json!({})).await;
    nameless.refused(403, "MODEL_NOT_ALLOWED");
    scene.get(&someone, "/openai/v1/models", &[]).await.expect(200);
    assert_eq!(scene.used(&someone).await, 4);
    // A change of tier is obeyed at once.
    scene.gateway.operator("PATCH", "/tenants/someone", &json!({"tier": "plus"})).await.expect(200);
    native(&scene, &someone, "gpt-5").await.expect(200);
    scene.chat(&someone, "good", &[]).await.expect(200);
}

#[tokio::test]
async fn a_tier_that_is_not_in_the_list_has_what_the_least_has_and_is_warned_about() {
    let scene = Scene::start(&without_rates()).await;
    let someone = with_key(&scene, "someone", Some("platinum")).await;
    for _ in 0..2 {
        scene.chat(&someone, "good", &[]).await.refused(403, "MODEL_NOT_ALLOWED");
        scene.chat(&someone, "fast", &[]).await.expect(200);
    }
    let warned = || {
        let log = scene.gateway.log();
        log.lines().filter(|line| line.contains("tier_unknown")).map(str::to_owned).collect::<Vec<_>>()
    };
    until("the warning", || async { (!warned().is_empty()).then_some(()) }).await;
    assert!(warned()[0].contains("someone") && warned()[0].contains("basic"), "{:?}", warned());
    // A tenant that was made without one is nobody's mistake.
    let other = with_key(&scene, "other", None).await;
    scene.chat(&other, "good", &[]).await.refused(403, "MODEL_NOT_ALLOWED");
    let denied = || scene.gateway.log().matches("\"event\":\"request_denied\"").count();
    until("the last denial's line", || async { (denied() == 3).then_some(()) }).await;
    assert_eq!(warned().len(), 1, "{:?}", warned());
}

#[tokio::test]
async fn the_rates_of_a_tier_take_the_place_of_those_for_all() {
    let scene = Scene::start(&format!("{TIERS}\n{NO_RATES}")).await;
    let someone = with_key(&scene, "someone", Some("basic")).await;
    for _ in 0..4 {
        native(&scene, &someone, "gpt-4.1").await.expect(200);
    }
    let refused = native(&scene, &someone, "gpt-4.1").await.refused(429, "RATE_LIMITED");
    assert!(refused.text().contains("from this caller"), "{}", refused.text());
    scene.chat(&someone, "openai/gpt-4.1", &[]).await.refused(429, "RATE_LIMITED");
    // A token's own rate stays what it is.
    let own = json!({"role": "caller", "rate": "100/s"});
    let token = scene.gateway.token(&someone.id, &own).await;
    for _ in 0..6 {
        let body = json!({"model": "openai/gpt-4.1", "messages": []});
        scene.gateway.post(&token, CHAT, &[], &body).await.expect(200);
    }
    // Only the operator may lift one above the tier's.
    let admin = scene.gateway.token(&someone.id, &json!({"role": "tenant_admin"})).await;
    let lifted = scene.gateway.admin(&admin, "POST", "/tenants/someone/tokens", &own).await;
    lifted.refused(400, "invalid_request");
    let other = with_key(&scene, "other", Some("top")).await;
    for _ in 0..2 {
        scene.chat(&other, "best", &[]).await.expect(200);
    }
    let refused = scene.chat(&other, "best", &[]).await.refused(429, "RATE_LIMITED");
    assert!(refused.text().contains("to this provider"), "{}", refused.text());
    let listed = scene.gateway.operator("GET", "/tenants/other", &Value::Null).await.expect(200).json();
    assert_eq!(listed["tier"], "top");
}
