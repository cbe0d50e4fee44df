//! Keys that come with a request: where each way of bringing one leads.

use data_encoding::BASE64;
use keyferry_core::{sealing::SealingKeyList, time::Timestamp};
use keyferry_envelope::{ApiKey, SealFor, SealPurpose, SecretBytes, SystemEntropy, seal_key};
use serde_json::json;

use super::{ALIASES, CHAT, Scene, Someone, asked};
use crate::{
    harness::{Reply, a_key, now, request},
    session,
};

async fn seal(scene: &Scene, who: &Someone, provider: &str, key: &str) -> String {
    let url = format!("{}/api/v1/sealing-keys", scene.gateway.url());
    let list = SealingKeyList::parse(&request("GET", &url, &[], b"").await.expect(200).body).expect("a list");
    let (kid, public) = list.choose(Timestamp::from_secs(now())).expect("a key");
    let tenant = who.id.as_str();
    let sealed_for = SealFor { purpose: SealPurpose::Request, tenant, provider, ts: now() as u64 };
    let key = ApiKey::parse(SecretBytes::new(key.as_bytes().to_vec())).expect("a key");
    seal_key(&public, &kid, &sealed_for, &key, &SystemEntropy).expect("seals")
}

/// The gateway's token apart, and a bearer beside it.
async fn own_slot(scene: &Scene, who: &Someone, model: &str, slot: (&str, &str)) -> Reply {
    let headers = [("x-keyferry-token", who.token.as_str()), ("content-type", "application/json"), slot];
    let body = json!({"model": model, "messages": []}).to_string();
    request("POST", &format!("{}{CHAT}", scene.gateway.url()), &headers, body.as_bytes()).await
}

#[tokio::test]
async fn a_key_in_each_mode_goes_to_each_provider_as_a_bearer() {
    let scene = Scene::start("byok: {session: true}").await;
    let (someone, _) = scene.tenant_with("all", ["openai", "anthropic", "gemini", "acme"]).await;
    for provider in ["openai", "anthropic", "gemini", "acme"] {
        let model = format!("{provider}/m");
        let key = a_key("own-");
        let arrived = |reply: Reply, mode: &str| {
            assert_eq!(reply.expect(200).header("x-keyferry-credential"), mode, "{provider}");
            let seen = scene.provider.last();
            assert_eq!(asked(&seen), provider);
            assert_eq!(seen.header("authorization"), format!("Bearer {key}"), "{provider} {mode}");
            let others = ["x-api-key", "x-goog-api-key", "x-byok-key", "x-byok-keys", "x-sealed-key"];
            assert!(others.iter().all(|name| seen.header(name).is_empty()), "{provider} {mode}");
        };
        arrived(scene.chat(&someone, &model, &[("x-byok-key", &key)]).await, "carried");
        let map = json!({"moon": "a-key-of-the-moon", provider: key}).to_string();
        arrived(scene.chat(&someone, &model, &[("x-byok-keys", &map)]).await, "carried");
        let bearer = format!("Bearer {key}");
        arrived(own_slot(&scene, &someone, &model, ("authorization", &bearer)).await, "carried");
        let sealed = seal(&scene, &someone, provider, &key).await;
        arrived(scene.chat(&someone, &model, &[("x-sealed-key", &sealed)]).await, "sealed");
        scene.chat(&someone, &model, &[("x-sealed-key", &sealed)]).await.refused(409, "BYOK_REPLAY_DETECTED");
        let secret = [7; 32];
        let encrypted = BASE64.encode(&session::sealed(&key, &secret));
        let headers = [("x-encrypted-key", encrypted.as_str()), ("x-session-key", &BASE64.encode(&secret))];
        arrived(scene.chat(&someone, &model, &headers).await, "session");
    }
    assert_eq!(scene.provider.count(), 20);
}

#[tokio::test]
async fn a_key_is_taken_from_no_other_header_than_that_of_openai() {
    let scene = Scene::start("").await;
    let (someone, _) = scene.tenant_with("all", ["anthropic", "gemini"]).await;
    let key = a_key("own-");
    for (model, header) in [("anthropic/m", "x-api-key"), ("gemini/m", "x-goog-api-key")] {
        own_slot(&scene, &someone, model, (header, &key)).await.refused(400, "invalid_request");
    }
    // Without a key of its own, an SDK repeats the token there.
    let again = format!("Bearer {}", someone.token);
    let reply = own_slot(&scene, &someone, "gemini/m", ("authorization", &again)).await.expect(200);
    assert_eq!(reply.header("x-keyferry-credential"), "held");
}

#[tokio::test]
async fn of_several_keys_only_the_one_of_who_serves_leaves() {
    let scene = Scene::start(ALIASES).await;
    let someone = scene.tenant("someone", None).await;
    let (gemini, anthropic) = (a_key("gemini-"), a_key("anthropic-"));
    let map = json!({"gemini": gemini, "anthropic": anthropic}).to_string();
    let reply = scene.chat(&someone, "fast", &[("x-byok-keys", &map)]).await.expect(200);
    assert_eq!(reply.header("x-keyferry-model"), "anthropic/claude-haiku-4-5");
    let seen = scene.provider.last();
    assert_eq!(seen.header("authorization"), format!("Bearer {anthropic}"));
    assert!(!String::from_utf8_lossy(&seen.head).contains(&gemini));
    for malformed in [format!("{{\"gemini\":\"{gemini}\",\"gemini\":\"{gemini}\"}}"), "[]".into(), "{".into()]
    {
        scene.chat(&someone, "fast", &[("x-byok-keys", &malformed)]).await.refused(400, "invalid_request");
    }
}

#[tokio::test]
async fn a_key_that_does_not_say_whose_it_is_goes_to_nobody_where_several_may_serve() {
    let scene = Scene::start(ALIASES).await;
    let (someone, _) = scene.tenant_with("someone", ["openai"]).await;
    let key = a_key("own-");
    scene.chat(&someone, "fast", &[("x-byok-key", &key)]).await.refused(400, "invalid_request");
    let bearer = format!("Bearer {key}");
    own_slot(&scene, &someone, "fast", ("authorization", &bearer)).await.refused(400, "invalid_request");
    assert_eq!((scene.provider.count(), scene.used(&someone).await), (0, 0));
    let reply = scene.chat(&someone, "talk", &[("x-byok-key", &key)]).await.expect(200);
    assert_eq!(reply.header("x-keyferry-model"), "anthropic/claude-haiku-4-5", "only one may serve it");
}

#[tokio::test]
async fn a_sealed_key_serves_at_the_provider_it_was_sealed_for_and_nowhere_else() {
    let scene = Scene::start(ALIASES).await;
    let (someone, _) = scene.tenant_with("someone", ["openai", "anthropic", "gemini"]).await;
    let key = a_key("own-");
    let sealed = seal(&scene, &someone, "gemini", &key).await;
    for other in ["openai/m", "talk"] {
        let refused = scene.chat(&someone, other, &[("x-sealed-key", &sealed)]).await;
        refused.refused(400, "BYOK_DECRYPTION_FAILED");
    }
    scene.chat(&someone, "fast", &[("x-sealed-key", "v=1")]).await.refused(400, "BYOK_DECRYPTION_FAILED");
    assert_eq!((scene.provider.count(), scene.used(&someone).await), (0, 0));
    let reply = scene.chat(&someone, "fast", &[("x-sealed-key", &sealed)]).await.expect(200);
    assert_eq!(reply.header("x-keyferry-model"), "gemini/gemini-2.5-flash");
    assert_eq!(scene.provider.last().header("authorization"), format!("Bearer {key}"));
}

#[tokio::test]
async fn two_ways_of_bringing_a_key_are_refused() {
    let scene = Scene::start(ALIASES).await;
    let (someone, _) = scene.tenant_with("someone", ["openai"]).await;
    let key = a_key("own-");
    let map = json!({"openai": key}).to_string();
    let headers = [("x-byok-key", key.as_str()), ("x-byok-keys", &map)];
    scene.chat(&someone, "openai/m", &headers).await.refused(400, "invalid_request");
    assert_eq!(scene.provider.count(), 0);
}
