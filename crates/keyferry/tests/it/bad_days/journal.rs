//! A journal of a gateway's own beside a PostgreSQL that goes away.

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use crate::harness::{Gateway, Options, Provider, Shared, Tenant, a_key};

/// A gateway that keeps one, and a tenant with a key and a row.
async fn keeping(shared: &Shared, provider: &Provider) -> (Gateway, Tenant) {
    let gateway = Gateway::start(shared.options_with_journal(Options::to(provider))).await;
    let tenant = gateway.tenant_with_key("openai", &a_key("key-")).await;
    gateway.chat(&tenant.caller_token).await.expect(200);
    gateway.usage_row(&tenant.id, 1).await;
    (gateway, tenant)
}

fn files(gateway: &Gateway) -> [PathBuf; 2] {
    ["keyferry-usage-1", "keyferry-usage-2"].map(|name| gateway.database().with_file_name(name))
}

#[tokio::test]
async fn while_postgres_is_away_answers_do_not_wait_and_their_rows_survive_a_kill() {
    let Some(mut shared) = Shared::alone("while_postgres_is_away", &[]).await else { return };
    let provider = Provider::right().await;
    let (mut gateway, tenant) = keeping(&shared, &provider).await;
    shared.postgres.as_mut().expect("one of its own").stop();
    let begun = Instant::now();
    for _ in 0..8 {
        gateway.chat(&tenant.caller_token).await.expect(200);
    }
    assert!(begun.elapsed() < Duration::from_secs(4), "that is half a second each: {:?}", begun.elapsed());
    gateway.kill();
    shared.postgres.as_mut().expect("one of its own").start().await;
    gateway.restart().await;
    gateway.usage_row(&tenant.id, 9).await;
}

#[tokio::test]
async fn what_was_left_in_a_journal_is_stored_though_none_is_kept_any_more() {
    let Some(shared) = Shared::alone("what_was_left_in_a_journal", &[]).await else { return };
    let provider = Provider::right().await;
    let (mut gateway, tenant) = keeping(&shared, &provider).await;
    let server = shared.postgres.as_ref().expect("one of its own");
    server.pause();
    gateway.chat(&tenant.caller_token).await.expect(200);
    gateway.kill();
    server.resume();
    let written = fs::read_to_string(gateway.config()).expect("a file");
    assert!(files(&gateway).iter().any(|file| fs::metadata(file).expect("a file").len() > 0));
    fs::write(gateway.config(), written.replace("journal: true", "journal: false")).expect("written");
    gateway.restart().await;
    gateway.usage_row(&tenant.id, 2).await;
    // From now on answers wait for the database.
    gateway.chat(&tenant.caller_token).await.expect(200);
    gateway.usage_row(&tenant.id, 3).await;
    server.pause();
    let begun = Instant::now();
    gateway.chat(&tenant.caller_token).await.expect(200);
    assert!(begun.elapsed() > Duration::from_millis(900), "{:?}", begun.elapsed());
    server.resume();
    gateway.usage_row(&tenant.id, 4).await;
}

#[tokio::test]
async fn who_does_not_ask_for_a_journal_beside_postgres_has_none() {
    let test = "who_does_not_ask_for_a_journal_beside_postgres_has_none";
    let Some(shared) = Shared::open(test).await else { return };
    let provider = Provider::right().await;
    let gateway = Gateway::start(shared.options(Options::to(&provider))).await;
    let tenant = gateway.tenant_with_key("openai", &a_key("key-")).await;
    gateway.chat(&tenant.caller_token).await.expect(200);
    assert!(files(&gateway).iter().all(|file| !file.exists()));
}

#[tokio::test]
async fn a_journal_that_cannot_be_written_stops_the_start() {
    let test = "a_journal_that_cannot_be_written_stops_the_start";
    let Some(shared) = Shared::open(test).await else { return };
    let provider = Provider::right().await;
    let (mut gateway, _) = keeping(&shared, &provider).await;
    gateway.sigterm_and_wait().await;
    let [first, _] = files(&gateway);
    fs::remove_file(&first).expect("there");
    fs::create_dir(&first).expect("made");
    let output = gateway.command().args(["serve", "--config"]).arg(gateway.config()).output().expect("runs");
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("keyferry-usage-1"), "{said}");
}
