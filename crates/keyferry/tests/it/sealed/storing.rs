//! Sealed keys that are stored.

use keyferry_envelope::SealPurpose;
use serde_json::json;

use super::{CHAT, Scene};
use crate::harness::{a_key, now};

#[tokio::test]
async fn a_sealed_key_is_stored_and_rotated_without_being_sent_in_plain_text() {
    let scene = Scene::start("").await;
    let seal = |key: String| {
        let scene = &scene;
        async move { scene.seal(&key, SealPurpose::Store, &scene.tenant.id, "anthropic", now()).await }
    };
    let (first, second) = (a_key("sk-ant-"), a_key("sk-ant-"));
    let body = json!({"provider": "anthropic", "sealed_key": seal(first.clone()).await});
    let stored = scene.credentials("POST", "", &body).await.expect(201).json();
    assert_eq!(stored["last4"], first[first.len() - 4..]);
    let ask = async || {
        let body = json!({"model": "m", "messages": []});
        let reply =
            scene.gateway.post(&scene.tenant.caller_token, "/anthropic/v1/messages", &[], &body).await;
        assert_eq!(reply.expect(200).header("x-keyferry-credential"), "held");
        scene.provider.last().header("x-api-key").to_owned()
    };
    assert_eq!(ask().await, first);

    let id = stored["id"].as_str().expect("an id");
    let body = json!({"sealed_key": seal(second.clone()).await});
    scene.credentials("POST", &format!("/{id}/rotate"), &body).await.expect(200);
    assert_eq!(ask().await, second);
    let log = scene.gateway.log();
    assert!(!log.contains(&first[8..24]) && !log.contains(&second[8..24]));
}

#[tokio::test]
async fn a_gateway_token_that_was_sealed_is_not_stored() {
    let scene = Scene::start("").await;
    let token = &scene.tenant.caller_token;
    let sealed = async || scene.seal(token, SealPurpose::Store, &scene.tenant.id, "openai", now()).await;
    let body = json!({"provider": "openai", "label": "token", "sealed_key": sealed().await});
    scene.credentials("POST", "", &body).await.refused(400, "BYOK_DECRYPTION_FAILED");
    let body = json!({"sealed_key": sealed().await});
    let rotate = format!("/{}/rotate", scene.tenant.credential_id);
    scene.credentials("POST", &rotate, &body).await.refused(400, "BYOK_DECRYPTION_FAILED");
}

#[tokio::test]
async fn what_was_sealed_for_a_request_is_not_stored_and_a_replay_is_told() {
    let scene = Scene::start("").await;
    let seal = |purpose| scene.seal("sk-ant-0123456789abcdef", purpose, &scene.tenant.id, "anthropic", now());
    let body = json!({"provider": "anthropic", "sealed_key": seal(SealPurpose::Request).await});
    scene.credentials("POST", "", &body).await.refused(400, "BYOK_DECRYPTION_FAILED");
    let body = json!({"provider": "anthropic", "label": "a", "sealed_key": seal(SealPurpose::Store).await});
    scene.credentials("POST", "", &body).await.expect(201);
    let again = json!({"provider": "anthropic", "label": "b", "sealed_key": body["sealed_key"]});
    scene.credentials("POST", "", &again).await.refused(409, "BYOK_REPLAY_DETECTED");
    let both =
        json!({"provider": "anthropic", "label": "b", "sealed_key": body["sealed_key"], "api_key": "sk-x"});
    scene.credentials("POST", "", &both).await.refused(400, "invalid_request");
    let stored =
        scene.seal("sk-0123456789abcdef", SealPurpose::Store, &scene.tenant.id, "openai", now()).await;
    scene.ask(CHAT, &stored).await.refused(400, "BYOK_DECRYPTION_FAILED");
}
