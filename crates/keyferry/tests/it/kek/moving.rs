//! Rotation and re-wrap on the embedded defaults.

use std::{process::Stdio, time::Duration};

use serde_json::json;
use tokio::time::sleep;

use super::{kek, kek_json, store_many};
use crate::harness::{Database, Gateway, Options, Provider, a_key, command, until};

#[tokio::test]
async fn a_rotation_puts_new_keys_in_use_and_a_rewrap_moves_the_old_ones() {
    let provider = Provider::right().await;
    let gateway = Gateway::before(&provider).await;
    let a = gateway.tenant_with_key("openai", &a_key("sk-a-")).await;
    let b = gateway.tenant_with_key("openai", &a_key("sk-b-")).await;
    let credentials = format!("/tenants/{}/credentials", a.id);
    let kek_of = || async {
        let listed = gateway.operator("GET", &credentials, &json!(null)).await.expect(200);
        listed.json()["data"][0]["kek_id"].as_str().expect("an id").to_owned()
    };
    let before = kek_of().await;

    assert_eq!(kek_json(&gateway, &["rotate"]).await["rotated"], 2);
    assert_eq!(kek_of().await, before, "what is stored stays where it is");
    gateway.chat(&a.caller_token).await.expect(200);
    let status = kek_json(&gateway, &["status"]).await;
    assert_eq!((&status["versions_in_place"], &status["versions_to_move"]), (&json!(0), &json!(2)));
    assert_eq!((&status["keks_in_use"], &status["keks_retired"]), (&json!(2), &json!(2)));

    let second = json!({"provider": "openai", "label": "second", "api_key": a_key("sk-c-")});
    gateway.operator("POST", &credentials, &second).await.expect(201);
    let moved = kek_json(&gateway, &["rewrap"]).await;
    assert_eq!(
        (&moved["versions"], &moved["left"]),
        (&json!(2), &json!(0)),
        "the new one is in place already"
    );
    assert_ne!(kek_of().await, before);
    for tenant in [&a, &b] {
        gateway.chat(&tenant.caller_token).await.expect(200);
    }
    let again = kek_json(&gateway, &["rewrap"]).await;
    assert_eq!((&again["versions"], &again["keys"]), (&json!(0), &json!(0)));

    let audit =
        gateway.operator("GET", &format!("/tenants/{}/audit?action=kek.rotated", a.id), &json!(null)).await;
    assert_eq!(audit.expect(200).json()["data"].as_array().map(Vec::len), Some(1));
    let verified = command().args(["audit", "verify", "--config"]).arg(gateway.config()).output();
    assert!(verified.expect("it runs").status.success());
}

#[tokio::test]
async fn only_one_tenants_key_is_replaced_when_asked_so() {
    let provider = Provider::right().await;
    let gateway = Gateway::before(&provider).await;
    let a = gateway.tenant_with_key("openai", &a_key("sk-a-")).await;
    gateway.tenant_with_key("openai", &a_key("sk-b-")).await;
    assert_eq!(kek_json(&gateway, &["rotate", "--tenant", &a.id]).await["rotated"], 1);
    assert_eq!(kek_json(&gateway, &["status"]).await["versions_to_move"], 1);
    let output = kek(&gateway, &["rotate", "--tenant", "nobody"]).await;
    assert_eq!(output.status.code(), Some(1));
}

#[tokio::test]
async fn a_rewrap_that_was_killed_goes_on_where_it_was() {
    let provider = Provider::right().await;
    let gateway = Gateway::start(Options::to(&provider).quiet()).await;
    let tenant = gateway.tenant_with_key("openai", &a_key("sk-a-")).await;
    store_many(&gateway, &tenant.id, 2000).await;
    kek_json(&gateway, &["rotate"]).await;
    let mut database = Database::open(&gateway.database()).await;
    let moved = "SELECT count(*) FROM credential_versions v JOIN wrapped_keys k ON k.id = v.kek_id
        WHERE k.retired_at IS NULL AND k.owner = ?";
    let mut kills = 0;
    loop {
        let mut rewrap = command();
        rewrap.args(["kek", "rewrap", "--config"]).arg(gateway.config()).stdout(Stdio::null());
        let mut rewrap = rewrap.spawn().expect("it runs");
        let before = database.number(moved, &tenant.id).await;
        // Killed as soon as a batch is through, until nothing is left to kill.
        let ended = loop {
            if let Some(status) = rewrap.try_wait().expect("a child") {
                break Some(status);
            }
            if database.number(moved, &tenant.id).await > before {
                rewrap.kill().expect("killed");
                rewrap.wait().expect("a child");
                kills += 1;
                break None;
            }
            sleep(Duration::from_millis(1)).await;
        };
        if let Some(status) = ended {
            assert!(status.success());
            break;
        }
        gateway.chat(&tenant.caller_token).await.expect(200);
    }
    assert!(kills > 0, "it was never stopped in the middle");
    assert_eq!(database.number(moved, &tenant.id).await, 2001);
    gateway.chat(&tenant.caller_token).await.expect(200);
}

#[tokio::test]
async fn what_does_not_open_is_left_and_told() {
    let provider = Provider::right().await;
    let gateway = Gateway::before(&provider).await;
    let a = gateway.tenant_with_key("openai", &a_key("sk-a-")).await;
    let b = gateway.tenant_with_key("openai", &a_key("sk-b-")).await;
    kek_json(&gateway, &["rotate"]).await;
    let mut database = Database::open(&gateway.database()).await;
    let spoil = "UPDATE credential_versions SET wrapped_dek = x'00' WHERE credential_id = ?";
    database.run(spoil, &[&a.credential_id]).await;
    let output = kek(&gateway, &["rewrap"]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).contains("\"left\": 1"), "{output:?}");
    gateway.chat(&b.caller_token).await.expect(200);
}

#[tokio::test]
async fn a_tenants_kek_that_was_exchanged_opens_nothing() {
    let provider = Provider::right().await;
    let gateway = Gateway::before(&provider).await;
    let a = gateway.tenant_with_key("openai", &a_key("sk-a-")).await;
    let b = gateway.tenant_with_key("openai", &a_key("sk-b-")).await;
    let mut database = Database::open(&gateway.database()).await;
    let exchange = "UPDATE wrapped_keys SET wrapped = (SELECT wrapped FROM wrapped_keys WHERE owner = ?2)
        WHERE owner = ?1";
    assert_eq!(database.run(exchange, &[&a.id, &b.id]).await, 1);
    until("the gateway reads the row again", || async {
        (gateway.chat(&a.caller_token).await.status() == 503).then_some(())
    })
    .await;
    gateway.chat(&a.caller_token).await.refused(503, "BYOK_SERVICE_UNAVAILABLE");
    gateway.chat(&b.caller_token).await.expect(200);
}

#[tokio::test]
async fn a_deleted_tenants_kek_is_gone() {
    let provider = Provider::right().await;
    let gateway = Gateway::before(&provider).await;
    let a = gateway.tenant_with_key("openai", &a_key("sk-a-")).await;
    let mut database = Database::open(&gateway.database()).await;
    let count = "SELECT count(*) FROM wrapped_keys WHERE owner = ?";
    assert_eq!(database.number(count, &a.id).await, 1);
    gateway.operator("DELETE", &format!("/tenants/{}", a.id), &json!(null)).await.expect(204);
    assert_eq!(database.number(count, &a.id).await, 0);
}
