//! The steps about custody: a key that nobody on the way can read, and a re-wrap under traffic.

use anyhow::{Context, anyhow, ensure};
use http::{Method, StatusCode};
use keyferry_core::{
    clock::{Clock, SystemClock},
    sealing::SealingKeyList,
};
use keyferry_envelope::{ApiKey, SealPurpose, SecretBytes, SystemEntropy};
use serde_json::{Value, json};

use super::{
    stage::Stage,
    steps::{Cast, Scene, TENANT},
};
use crate::{
    cli::store,
    custody::for_rewrap,
    sidecar::seal::{SealFor, published, seal},
};

/// Seals a key for a request, sends it, and sends it again.
pub(super) async fn sealed(stage: &mut Stage, scene: &Scene, cast: &Cast) -> anyhow::Result<()> {
    stage.begin("A key is sealed to the gateway: nothing in between can read it");
    let answer = scene.admin(Method::GET, "/sealing-keys", &Value::Null).await?.expect(StatusCode::OK)?;
    let list: SealingKeyList = published(&answer.json(), None)?;
    for key in &list.keys {
        stage.show(&format!("{}  kem {}  until {}", key.kid, key.kem, key.not_after.to_rfc3339()));
    }
    let key = ApiKey::parse(SecretBytes::copy_of(cast.carried_key.as_bytes()))?;
    let tenant = TENANT.parse().map_err(|_| anyhow!("the demo's tenant has no name"))?;
    let provider = "anthropic".parse().map_err(|_| anyhow!("the demo's provider has no name"))?;
    let sealed_for = SealFor {
        purpose: SealPurpose::Request,
        tenant: &tenant,
        provider: &provider,
        now: SystemClock.now(),
    };
    let text = seal(&list, sealed_for, &key, &SystemEntropy)?;
    ensure!(!text.contains(&cast.carried_key), "the sealed key shows the key");
    stage.show(&format!("X-Sealed-Key: {}…", text.get(..72).context("a sealed key is longer")?));
    let headers = [("x-sealed-key", text.as_str())];
    let body = json!({"model": "claude-demo", "max_tokens": 16, "messages": []});
    let first = scene.post(cast, "/anthropic/v1/messages", &body, &headers).await?.expect(StatusCode::OK)?;
    ensure!(first.header("x-keyferry-credential") == "sealed", "the receipt is missing");
    let again = scene.post(cast, "/anthropic/v1/messages", &body, &headers).await?;
    again.expect(StatusCode::CONFLICT)?.refused_with("BYOK_REPLAY_DETECTED")?;
    stage.hold("opened inside the gateway, once: the second time was refused with BYOK_REPLAY_DETECTED");
    Ok(())
}

/// Replaces the tenant's KEK and moves what it wraps, while requests run.
pub(super) async fn rewrap(stage: &mut Stage, scene: &Scene, cast: &Cast) -> anyhow::Result<()> {
    stage.begin("The key that wraps the keys is replaced, while requests run");
    let (ground, _) = store::open(&scene.config).await?;
    let tenant = TENANT.parse().map_err(|_| anyhow!("the demo's tenant has no name"))?;
    let before = wrapped_by(scene, cast).await?;
    let kek = ground.keks().rotate(&tenant, "operator", "keyferry demo").await?;
    let body = json!({"model": "gpt-demo", "messages": []});
    let calls = async {
        for _ in 0..20 {
            scene.chat(cast, &body, &[]).await?.expect(StatusCode::OK)?;
        }
        anyhow::Ok(())
    };
    let mover = for_rewrap(&ground);
    let (moved, served) = tokio::join!(mover.run(|_| {}), calls);
    let moved = moved?;
    served.context("a request failed meanwhile")?;
    ensure!(moved.moved.versions == 1 && moved.left == 0, "not all keys were moved");
    let after = wrapped_by(scene, cast).await?;
    ensure!(after == kek.id, "the list shows another KEK");
    stage.show(&format!("{before} → {after}"));
    stage.hold("moved without opening it; 20 requests meanwhile, none failed");
    Ok(())
}

/// The KEK that the stored key lies under.
async fn wrapped_by(scene: &Scene, cast: &Cast) -> anyhow::Result<String> {
    let path = format!("/tenants/{TENANT}/credentials/{}", cast.credential);
    let shown = scene.admin(Method::GET, &path, &Value::Null).await?.expect(StatusCode::OK)?.json();
    Ok(shown["kek_id"].as_str().unwrap_or_default().to_owned())
}
