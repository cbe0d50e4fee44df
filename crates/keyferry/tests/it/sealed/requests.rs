//! Sealed keys that come with a request.

use keyferry_envelope::SealPurpose;
use serde_json::json;

use super::{CHAT, Scene};
use crate::harness::{a_key, now};

#[tokio::test]
async fn a_sealed_key_serves_its_request_and_the_receipt_says_so() {
    let scene = Scene::start("").await;
    for (path, provider, slot, prefix) in [
        (CHAT, "openai", "authorization", "Bearer "),
        ("/anthropic/v1/messages", "anthropic", "x-api-key", ""),
        ("/gemini/v1beta/models/m:generateContent", "gemini", "x-goog-api-key", ""),
    ] {
        let key = a_key("sk-own-");
        let sealed = scene.seal(&key, SealPurpose::Request, &scene.tenant.id, provider, now()).await;
        let reply = scene.ask(path, &sealed).await.expect(200);
        assert_eq!(reply.header("x-keyferry-credential"), "sealed", "{path}");
        assert_eq!(reply.header("x-keyferry-credential-id"), "", "{path}");
        let seen = scene.provider.last();
        assert_eq!(seen.header(slot), format!("{prefix}{key}"), "{path}");
        assert_eq!(seen.header("x-sealed-key"), "", "{path}");
    }
    let row = scene.gateway.usage_row(&scene.tenant.id, 3).await;
    assert_eq!((&row["credential"], &row["credential_id"]), (&json!("sealed"), &json!(null)));
}

#[tokio::test]
async fn every_published_key_opens() {
    let scene = Scene::start("").await;
    let list = scene.published().await;
    let kems: Vec<u16> = list.keys.iter().map(|key| key.kem).collect();
    assert_eq!(kems, [32, 16], "one of each suite");
    for published in &list.keys {
        let (kid, public) = published.read().expect("a key");
        let sealed_for = keyferry_envelope::SealFor {
            purpose: SealPurpose::Request,
            tenant: &scene.tenant.id,
            provider: "openai",
            ts: now() as u64,
        };
        let key = super::api_key(&a_key("sk-own-"));
        let entropy = keyferry_envelope::SystemEntropy;
        let sealed = keyferry_envelope::seal_key(&public, &kid, &sealed_for, &key, &entropy).expect("seals");
        scene.ask(CHAT, &sealed).await.expect(200);
    }
}

#[tokio::test]
async fn a_sealed_key_is_good_once_also_after_a_crash() {
    let mut scene = Scene::start("").await;
    let sealed = scene.seal_for_request(&a_key("sk-own-")).await;
    scene.ask(CHAT, &sealed).await.expect(200);
    scene.ask(CHAT, &sealed).await.refused(409, "BYOK_REPLAY_DETECTED");
    scene.gateway.restart().await;
    let count = scene.provider.count();
    scene.ask(CHAT, &sealed).await.refused(409, "BYOK_REPLAY_DETECTED");
    assert_eq!(scene.provider.count(), count);
    let unused = scene.seal_for_request(&a_key("sk-own-")).await;
    scene.gateway.restart().await;
    scene.ask(CHAT, &unused).await.expect(200);
}

#[tokio::test]
async fn it_may_be_used_as_often_as_the_configuration_says_and_by_one_caller() {
    let scene = Scene::start("byok: {sealed_max_uses: 3}").await;
    let other = scene.gateway.token(&scene.tenant.id, &json!({"role": "caller"})).await;
    let sealed = scene.seal_for_request(&a_key("sk-own-")).await;
    scene.ask(CHAT, &sealed).await.expect(200);
    scene.ask_as(&other, CHAT, &sealed).await.refused(409, "BYOK_REPLAY_DETECTED");
    for _ in 0..2 {
        scene.ask(CHAT, &sealed).await.expect(200);
    }
    scene.ask(CHAT, &sealed).await.refused(409, "BYOK_REPLAY_DETECTED");
}

#[tokio::test]
async fn of_forty_uses_at_once_one_is_served() {
    let scene = std::sync::Arc::new(Scene::start("").await);
    let sealed = scene.seal_for_request(&a_key("sk-own-")).await;
    let asks: Vec<_> = (0..40)
        .map(|_| {
            let (scene, sealed) = (scene.clone(), sealed.clone());
            tokio::spawn(async move { scene.ask(CHAT, &sealed).await.status() })
        })
        .collect();
    let mut served = 0;
    for ask in asks {
        match ask.await.expect("asked") {
            200 => served += 1,
            status => assert_eq!(status, 409),
        }
    }
    assert_eq!((served, scene.provider.count()), (1, 1));
}

#[tokio::test]
async fn its_time_must_be_within_two_minutes() {
    let scene = Scene::start("").await;
    for (ts, code) in [
        (now() - 110, None),
        (now() + 110, None),
        (now() - 130, Some("BYOK_SEAL_STALE")),
        (now() + 130, Some("BYOK_SEAL_STALE")),
    ] {
        let sealed =
            scene.seal(&a_key("sk-own-"), SealPurpose::Request, &scene.tenant.id, "openai", ts).await;
        let reply = scene.ask(CHAT, &sealed).await;
        match code {
            None => drop(reply.expect(200)),
            Some(code) => {
                let reply = reply.refused(400, code);
                assert!(!reply.header("date").is_empty(), "it tells our time");
            }
        }
    }
}

#[tokio::test]
async fn what_is_wrong_with_it_is_not_told_and_no_other_key_serves() {
    let scene = Scene::start("").await;
    let other = scene.gateway.tenant_with_key("openai", &a_key("sk-held-")).await;
    let good = scene.seal_for_request(&a_key("sk-own-")).await;
    let seal = |purpose, tenant: &str, provider: &'static str| {
        let (scene, tenant) = (&scene, tenant.to_owned());
        async move { scene.seal(&a_key("sk-own-"), purpose, &tenant, provider, now()).await }
    };
    let flipped = |at: usize| {
        let mut bytes = good.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        String::from_utf8(bytes).expect("text")
    };
    let at = |name: &str| good.find(name).expect("a field") + name.len();
    let wrong = [
        seal(SealPurpose::Request, &other.id, "openai").await,
        seal(SealPurpose::Request, &scene.tenant.id, "anthropic").await,
        seal(SealPurpose::Store, &scene.tenant.id, "openai").await,
        flipped(at(";n=")),
        flipped(at(";enc=") + 4),
        flipped(at(";ct=")),
        flipped(good.len() - 2),
        good[..good.len() - 1].to_owned(),
        format!("{good};x=1"),
        good.replace("v=1;", "v=2;"),
        good.replace("v=1;", ""),
        good.replace("provider=openai", "provider=anthropic"),
        "v=1".to_owned(),
        "nonsense".to_owned(),
    ];
    let count = scene.provider.count();
    let mut bodies = std::collections::BTreeSet::new();
    for sealed in &wrong {
        let reply = scene.ask(CHAT, sealed).await.refused(400, "BYOK_DECRYPTION_FAILED");
        bodies.insert(reply.text());
    }
    assert_eq!(bodies.len(), 1, "{bodies:?}");
    assert_eq!(scene.provider.count(), count);
    // None of these was a use of it.
    scene.ask(CHAT, &good).await.expect(200);
}

#[tokio::test]
async fn a_gateway_token_that_was_sealed_goes_to_no_provider() {
    let scene = Scene::start("").await;
    let sealed = scene.seal_for_request(&scene.tenant.admin_token).await;
    let count = scene.provider.count();
    scene.ask(CHAT, &sealed).await.refused(400, "BYOK_DECRYPTION_FAILED");
    assert_eq!(scene.provider.count(), count);
}

#[tokio::test]
async fn a_key_that_nobody_published_is_named_as_such() {
    let scene = Scene::start("").await;
    let good = scene.seal_for_request(&a_key("sk-own-")).await;
    let (before, rest) = good.split_once("kid=").expect("a field");
    let (_, after) = rest.split_once(';').expect("a field");
    let sealed = format!("{before}kid=seal_unknown;{after}");
    scene.ask(CHAT, &sealed).await.refused(400, "BYOK_SEALING_KEY_UNKNOWN");
}

#[tokio::test]
async fn it_is_off_where_it_is_turned_off_and_excludes_other_ways() {
    let scene = Scene::start("").await;
    let sealed = scene.seal_for_request(&a_key("sk-own-")).await;
    let headers = [("x-sealed-key", sealed.as_str()), ("x-byok-key", "sk-another-key-0123456789")];
    let body = json!({"model": "m", "messages": []});
    let reply = scene.gateway.post(&scene.tenant.caller_token, CHAT, &headers, &body).await;
    reply.refused(400, "invalid_request");

    let off = Scene::start("byok: {sealed: false}").await;
    let count = off.provider.count();
    off.ask(CHAT, &sealed).await.refused(404, "BYOK_DISABLED");
    let url = format!("{}/api/v1/sealing-keys", off.gateway.url());
    crate::harness::request("GET", &url, &[], b"").await.refused(404, "BYOK_DISABLED");
    assert_eq!(off.provider.count(), count);
}
