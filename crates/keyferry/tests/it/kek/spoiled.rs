//! Wrapped keys that somebody changed in the database.

use super::{OnTransit, run};
use crate::harness::{Database, a_key, until};

#[tokio::test]
async fn a_tenants_kek_that_was_changed_or_exchanged_opens_nothing_and_harms_no_other() {
    let on = OnTransit::start("").await;
    let a = on.gateway.tenant_with_key("openai", &a_key("sk-a-")).await;
    let b = on.gateway.tenant_with_key("openai", &a_key("sk-b-")).await;
    let mut database = Database::open(&on.gateway.database()).await;
    let keep = "CREATE TABLE kept AS SELECT owner, wrapped FROM wrapped_keys WHERE owner <> ''";
    database.run(keep, &[]).await;
    for spoil in [
        "UPDATE wrapped_keys SET wrapped = (SELECT wrapped FROM kept WHERE owner = ?2) WHERE owner = ?1",
        "UPDATE wrapped_keys SET wrapped = x'00' WHERE owner = ?1 AND ?2 <> ''",
        "UPDATE wrapped_keys SET wrapped = x'7661756c743a76313a41414141' WHERE owner = ?1 AND ?2 <> ''",
    ] {
        assert_eq!(database.run(spoil, &[&a.id, &b.id]).await, 1);
        let sent = on.provider.count();
        until("the gateway reads the row again", || async {
            (on.gateway.chat(&a.caller_token).await.status() == 503).then_some(())
        })
        .await;
        let sent = on.provider.count().max(sent);
        for _ in 0..4 {
            let reply = on.gateway.chat(&a.caller_token).await.refused(503, "BYOK_SERVICE_UNAVAILABLE");
            assert!(reply.text().contains("cannot be opened"), "{}", reply.text());
        }
        on.store(&a.id, "new").await.refused(503, "BYOK_SERVICE_UNAVAILABLE");
        assert_eq!(on.provider.count(), sent, "nothing was sent in its place");
        on.gateway.chat(&b.caller_token).await.expect(200);
        assert_eq!(on.readiness().await, "ok", "that is no fault of the root");
        let output = super::kek(&on.gateway, &["rewrap"]).await;
        assert_eq!(output.status.code(), Some(1));
        let mend =
            "UPDATE wrapped_keys SET wrapped = (SELECT wrapped FROM kept WHERE owner = ?1) WHERE owner = ?1";
        database.run(mend, &[&a.id]).await;
        until("it is mended", || async {
            (on.gateway.chat(&a.caller_token).await.status() == 200).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn without_its_service_secret_the_program_does_not_start_and_says_why() {
    let mut on = OnTransit::start("").await;
    let tenant = on.gateway.tenant_with_key("openai", &a_key("sk-")).await;
    on.gateway.kill();
    let mut database = Database::open(&on.gateway.database()).await;
    database.run("CREATE TABLE kept AS SELECT * FROM wrapped_keys", &[]).await;
    for spoil in [
        "UPDATE wrapped_keys SET wrapped = x'00' WHERE purpose = 'service'",
        "UPDATE wrapped_keys SET wrapped = (SELECT wrapped FROM kept WHERE owner <> '') WHERE purpose = 'service'",
        "UPDATE wrapped_keys SET root = 'vault:transit/gone' WHERE purpose = 'service'",
    ] {
        assert_eq!(database.run(spoil, &[]).await, 1);
        for command in [&["serve"][..], &["audit", "verify"]] {
            let output = run(&on.gateway, command).await;
            let told = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(1), "{told}");
            assert!(told.contains("kms: "), "{told}");
        }
        let mend = "UPDATE wrapped_keys SET (root, wrapped) =
            (SELECT root, wrapped FROM kept WHERE purpose = 'service') WHERE purpose = 'service'";
        assert_eq!(database.run(mend, &[]).await, 1);
    }
    on.forget().await;
    on.gateway.chat(&tenant.caller_token).await.expect(200);
}

#[tokio::test]
async fn a_sealing_key_that_does_not_open_does_not_take_the_others_with_it() {
    let mut on = OnTransit::start("").await;
    let mut database = Database::open(&on.gateway.database()).await;
    let spoil = "UPDATE wrapped_keys SET wrapped = x'00' WHERE n =
        (SELECT min(n) FROM wrapped_keys WHERE purpose = 'sealing')";
    assert_eq!(database.run(spoil, &[]).await, 1);
    on.forget().await;
    let url = format!("{}/api/v1/sealing-keys", on.gateway.url());
    let listed = crate::harness::request("GET", &url, &[], b"").await.expect(200).json();
    assert_eq!(listed["keys"].as_array().map(Vec::len), Some(1), "the one of the other suite: {listed}");
    on.gateway.logged(&["sealing_key_unreadable"]).await;
}
