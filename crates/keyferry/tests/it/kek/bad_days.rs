//! Bad days of the root: never a wrong key, never a hang, and all is well afterwards.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use keyferry_kms::VaultConfig;
use keyferry_kms_testing::transit::Day;
use serde_json::json;

use super::{OnTransit, away::PROMISED, kms, run, vault};
use crate::harness::{Gateway, Options, Provider, Tenant, a_key, request, until};

/// One gateway, one tenant whose KEK is not open, one day. On a day without answers several ask at once.
async fn on_this_day(on: &mut OnTransit, tenant: &Tenant, key: &str, day: Day) {
    on.forget().await;
    let (sent, begin) = (on.provider.count(), on.gateway.log().len());
    on.server.has(day);
    let begun = Instant::now();
    let at_once = if matches!(day, Day::Silent | Day::Stalling) { 5 } else { 1 };
    let chats = join_all((0..at_once).map(|_| on.gateway.chat(&tenant.caller_token)));
    let (chats, stored) = tokio::join!(chats, on.store(&tenant.id, "new"));
    let took = begun.elapsed();
    for reply in chats.into_iter().chain([stored]) {
        let reply = reply.refused(503, "BYOK_SERVICE_UNAVAILABLE");
        assert_eq!(reply.header("retry-after"), "1", "{day:?}");
    }
    assert!(took < PROMISED, "{day:?} took {took:?}");
    assert_eq!(on.provider.count(), sent, "{day:?}: nothing went to the provider");
    assert_eq!(on.readiness().await, "degraded", "{day:?}");
    on.server.has(Day::Fine);
    let reply = on.gateway.chat(&tenant.caller_token).await.expect(200);
    assert_eq!(reply.header("x-keyferry-credential"), "held");
    assert_eq!(on.provider.last().header("authorization"), format!("Bearer {key}"), "{day:?}");
    let log = &on.gateway.log()[begin..];
    assert!(!log.contains("panicked") && log.contains("kms_failed"), "{day:?}: {log}");
}

async fn each_of(days: &[Day]) {
    let mut on = OnTransit::start("").await;
    let key = a_key("sk-held-");
    let tenant = on.gateway.tenant_with_key("openai", &key).await;
    for &day in days {
        on_this_day(&mut on, &tenant, &key, day).await;
    }
}

#[tokio::test]
async fn a_root_that_is_sealed_throttling_failing_or_denying_is_told_as_away() {
    each_of(&[Day::Sealed, Day::Throttling, Day::Failing, Day::Denying, Day::Redirecting]).await;
}

#[tokio::test]
async fn a_root_that_answers_garbage_opens_nothing() {
    let garbage = [Day::Html, Day::TruncatedJson, Day::WrongBase64, Day::ShortKey, Day::Huge, Day::NotHttp];
    each_of(&garbage).await;
}

#[tokio::test]
async fn a_root_that_never_answers_is_waited_for_once() {
    each_of(&[Day::Silent, Day::Stalling, Day::ResetInBody]).await;
}

#[tokio::test]
async fn a_root_that_takes_four_seconds_is_waited_for() {
    let mut on = OnTransit::start("").await;
    let tenant = on.gateway.tenant_with_key("openai", &a_key("sk-")).await;
    on.forget().await;
    on.server.has(Day::Slow);
    let begun = Instant::now();
    let (chat, stored) = tokio::join!(on.gateway.chat(&tenant.caller_token), on.store(&tenant.id, "slowly"));
    chat.expect(200);
    stored.expect(201);
    let took = begun.elapsed();
    assert!(took > Duration::from_secs(4) && took < PROMISED, "{took:?}");
    assert_eq!(on.readiness().await, "ok");
}

#[tokio::test]
async fn a_revoked_token_denies_and_a_new_one_in_its_file_is_used_at_once() {
    let mut on = OnTransit::start("").await;
    let tenant = on.gateway.tenant_with_key("openai", &a_key("sk-")).await;
    on.forget().await;
    let token = std::fs::read_to_string(&on.bench.config.token_file).expect("a token");
    let next = on.bench.new_token(&json!({})).await;
    on.bench.operator.done("POST", "auth/token/revoke", &json!({"token": token.trim()})).await;
    on.gateway.chat(&tenant.caller_token).await.refused(503, "BYOK_SERVICE_UNAVAILABLE");
    let told = until("the log has it", || async {
        Some(on.gateway.log()).filter(|told| told.contains("the root denies"))
    });
    let told = told.await;
    assert!(!told.contains(token.trim()), "{told}");
    on.bench.write_token(&next);
    on.gateway.chat(&tenant.caller_token).await.expect(200);
    on.store(&tenant.id, "new").await.expect(201);
}

#[tokio::test]
async fn a_new_token_is_used_at_once_though_the_circuit_is_open() {
    let mut on = OnTransit::start("").await;
    let tenant = on.gateway.tenant_with_key("openai", &a_key("sk-")).await;
    on.forget().await;
    let token = std::fs::read_to_string(&on.bench.config.token_file).expect("a token");
    let next = on.bench.new_token(&json!({})).await;
    on.bench.operator.done("POST", "auth/token/revoke", &json!({"token": token.trim()})).await;
    for _ in 0..3 {
        on.gateway.chat(&tenant.caller_token).await.refused(503, "BYOK_SERVICE_UNAVAILABLE");
    }
    on.gateway.chat(&tenant.caller_token).await.refused(503, "KMS_CIRCUIT_OPEN");
    assert_eq!(on.readiness().await, "open");
    on.bench.write_token(&next);
    on.gateway.chat(&tenant.caller_token).await.expect(200);
    assert_eq!(on.readiness().await, "ok");
}

#[tokio::test]
async fn reading_a_token_takes_no_more_memory_than_is_locked() {
    let mut on = OnTransit::start("").await;
    let tenant = on.gateway.tenant_with_key("openai", &a_key("sk-")).await;
    on.forget().await;
    on.bench.write_token(&on.bench.new_token(&json!({})).await);
    on.gateway.chat(&tenant.caller_token).await.expect(200);
    let metrics = request("GET", &format!("{}/metrics", on.gateway.metrics_url()), &[], b"").await.text();
    let overflowed = metrics.lines().find(|line| line.starts_with("keyferry_secretmem_overflowed_total "));
    assert_eq!(overflowed, Some("keyferry_secretmem_overflowed_total 0"), "{metrics}");
}

/// The program does not start; what it says.
async fn does_not_start(gateway: &Gateway) -> String {
    let begun = Instant::now();
    let output = run(gateway, &["serve"]).await;
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(begun.elapsed() < PROMISED + Duration::from_secs(2), "{:?}", begun.elapsed());
    told
}

#[tokio::test]
async fn without_its_root_the_program_does_not_start_and_says_why() {
    let mut on = OnTransit::start("").await;
    on.gateway.tenant_with_key("openai", &a_key("sk-")).await;
    on.gateway.kill();
    on.server.has(Day::Silent);
    let told = does_not_start(&on.gateway).await;
    assert!(
        told.contains("kms: the root vault:transit/kek") && told.contains("did not answer in time"),
        "{told}"
    );
    on.server.has(Day::Denying);
    assert!(does_not_start(&on.gateway).await.contains("the root denies"));
    on.server.down().await;
    let told = does_not_start(&on.gateway).await;
    assert!(told.contains("kms: the root vault:transit/kek") && told.contains("the root is away"), "{told}");
    on.server.up().await;
    on.forget().await;

    // A first start is no exception: nothing is kept that is not wrapped.
    let provider = Provider::right().await;
    let mut fresh = Gateway::start(Options::to(&provider)).await;
    fresh.kill();
    std::fs::remove_dir_all(fresh.dir().join("data")).expect("removed");
    fresh.set_kms(&kms(&vault(&on.bench.config), ""));
    on.server.down().await;
    let told = does_not_start(&fresh).await;
    assert!(told.contains("kms: the root vault:transit/kek"), "{told}");
}

#[tokio::test]
async fn what_keeps_it_from_starting_is_named_by_its_setting_and_a_file_by_its_path() {
    let mut on = OnTransit::start("").await;
    let config = &on.bench.config;
    let folder = tempfile::tempdir().expect("a folder");
    let (missing, pipe) = (folder.path().join("missing"), folder.path().join("pipe"));
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().expect("it runs").success());
    let told_of = |path: &std::path::Path, words: &str| format!("kms.token_file: {} {words}", path.display());
    on.gateway.kill();
    let data = on.gateway.dir().join("data");
    for (config, words) in [
        (VaultConfig { key: "other".to_owned(), ..config.clone() }, "`mount` and `key`".to_owned()),
        (VaultConfig { token_file: missing.clone(), ..config.clone() }, told_of(&missing, "cannot be read")),
        (
            VaultConfig { token_file: pipe.clone(), ..config.clone() },
            told_of(&pipe, "cannot be read: it is no"),
        ),
        (VaultConfig { ca: Some(missing.clone()), ..config.clone() }, "kms.ca: plain http".to_owned()),
    ] {
        std::fs::remove_dir_all(&data).expect("a store of another root is refused before");
        std::fs::create_dir(&data).expect("a folder");
        on.gateway.set_kms(&kms(&vault(&config), ""));
        let told = does_not_start(&on.gateway).await;
        assert!(told.contains(&words), "{words}: {told}");
    }
}
