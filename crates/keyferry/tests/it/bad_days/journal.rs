//! A journal of a gateway's own beside a PostgreSQL that goes away.

use std::{
    fs,
    path::PathBuf,
    process::Stdio,
    time::{Duration, Instant},
};

use keyferry_storage_testing::Postgres;

use crate::harness::{Gateway, Options, Provider, Shared, Tenant, a_key};

/// A gateway that keeps one, and a tenant with a key and a row.
async fn keeping(shared: &Shared, provider: &Provider) -> (Gateway, Tenant) {
    let gateway = Gateway::start(shared.options_with_journal(Options::to(provider))).await;
    let tenant = gateway.tenant_with_key("openai", &a_key("key-")).await;
    gateway.chat(&tenant.caller_token).await.expect(200);
    gateway.usage_row(&tenant.id, 1).await;
    (gateway, tenant)
}

/// The files of journals in a gateway's data folder.
fn files(gateway: &Gateway) -> Vec<PathBuf> {
    let data = gateway.dir().join("data");
    let all = fs::read_dir(data).expect("a folder").map(|file| file.expect("an entry").path());
    all.filter(|file| file.to_string_lossy().contains("-usage-")).collect()
}

fn hold_something(gateway: &Gateway) -> bool {
    files(gateway).iter().any(|file| fs::metadata(file).expect("a file").len() > 0)
}

fn set(gateway: &Gateway, from: &str, to: &str) {
    let written = fs::read_to_string(gateway.config()).expect("a file");
    assert!(written.contains(from));
    fs::write(gateway.config(), written.replace(from, to)).expect("written");
}

fn server(shared: &mut Shared) -> &mut Postgres {
    shared.postgres.as_mut().expect("one of its own")
}

#[tokio::test]
async fn while_postgres_is_away_answers_do_not_wait_and_their_rows_survive_a_kill() {
    let Some(mut shared) = Shared::alone("while_postgres_is_away", &[]).await else { return };
    let provider = Provider::right().await;
    let (mut gateway, tenant) = keeping(&shared, &provider).await;
    server(&mut shared).stop();
    let begun = Instant::now();
    for _ in 0..8 {
        gateway.chat(&tenant.caller_token).await.expect(200);
    }
    assert!(begun.elapsed() < Duration::from_secs(4), "that is half a second each: {:?}", begun.elapsed());
    gateway.kill();
    server(&mut shared).start().await;
    gateway.restart().await;
    gateway.usage_row(&tenant.id, 9).await;
}

#[tokio::test]
async fn rows_that_a_stop_could_not_store_are_stored_at_the_next_start() {
    let Some(mut shared) = Shared::alone("rows_that_a_stop_could_not_store", &[]).await else { return };
    let provider = Provider::right().await;
    let (mut gateway, tenant) = keeping(&shared, &provider).await;
    server(&mut shared).stop();
    gateway.chat(&tenant.caller_token).await.expect(200);
    gateway.sigterm_and_wait().await;
    assert!(hold_something(&gateway));
    server(&mut shared).start().await;
    gateway.restart().await;
    gateway.logged(&["usage_rows_found"]).await;
    gateway.usage_row(&tenant.id, 2).await;
}

#[tokio::test]
async fn what_was_left_in_a_journal_is_stored_though_none_is_kept_any_more() {
    let Some(mut shared) = Shared::alone("what_was_left_in_a_journal", &[]).await else { return };
    let provider = Provider::right().await;
    let (mut gateway, tenant) = keeping(&shared, &provider).await;
    server(&mut shared).stop();
    gateway.chat(&tenant.caller_token).await.expect(200);
    gateway.kill();
    assert!(hold_something(&gateway));
    server(&mut shared).start().await;
    set(&gateway, "journal: true", "journal: false");
    gateway.restart().await;
    gateway.logged(&["usage_rows_found"]).await;
    gateway.usage_row(&tenant.id, 2).await;
    // From now on answers wait for the database.
    gateway.chat(&tenant.caller_token).await.expect(200);
    gateway.usage_row(&tenant.id, 3).await;
    server(&mut shared).pause();
    let begun = Instant::now();
    gateway.chat(&tenant.caller_token).await.expect(200);
    assert!(begun.elapsed() > Duration::from_millis(900), "{:?}", begun.elapsed());
    assert!(!hold_something(&gateway));
    server(&mut shared).resume();
    gateway.usage_row(&tenant.id, 4).await;
}

#[tokio::test]
async fn no_other_database_gets_what_was_left() {
    let Some(mut shared) = Shared::alone("no_other_database_gets_what_was_left", &[]).await else { return };
    let provider = Provider::right().await;
    let (mut gateway, tenant) = keeping(&shared, &provider).await;
    server(&mut shared).stop();
    gateway.chat(&tenant.caller_token).await.expect(200);
    gateway.kill();
    server(&mut shared).start().await;
    let (own, other) = (shared.database(), server(&mut shared).new_database().await);
    set(&gateway, &own, &other);
    gateway.restart().await;
    gateway.logged(&["usage_journal_of_another_database"]).await;
    assert!(hold_something(&gateway));
    let mut doctor = gateway.command();
    let said =
        doctor.args(["doctor", "--json", "--config"]).arg(gateway.config()).output().expect("runs").stdout;
    let said: serde_json::Value = serde_json::from_slice(&said).expect("JSON");
    let checks = said["checks"].as_array().expect("checks");
    assert!(checks.iter().any(|one| one["check"] == "usage_journal" && one["status"] == "warn"), "{said}");
    // Whoever comes back to it has them.
    gateway.kill();
    set(&gateway, &other, &own);
    gateway.restart().await;
    gateway.usage_row(&tenant.id, 2).await;
}

#[tokio::test]
async fn who_does_not_ask_for_a_journal_beside_postgres_has_none() {
    let test = "who_does_not_ask_for_a_journal_beside_postgres_has_none";
    let Some(shared) = Shared::open(test).await else { return };
    let provider = Provider::right().await;
    let gateway = Gateway::start(shared.options(Options::to(&provider))).await;
    let tenant = gateway.tenant_with_key("openai", &a_key("key-")).await;
    gateway.chat(&tenant.caller_token).await.expect(200);
    assert_eq!(files(&gateway), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn a_journal_that_cannot_be_written_stops_the_start_if_one_is_asked_for() {
    let test = "a_journal_that_cannot_be_written_stops_the_start_if_one_is_asked_for";
    let Some(shared) = Shared::open(test).await else { return };
    let provider = Provider::right().await;
    let (mut gateway, tenant) = keeping(&shared, &provider).await;
    gateway.sigterm_and_wait().await;
    let file = files(&gateway).swap_remove(0);
    fs::remove_file(&file).expect("there");
    fs::create_dir(&file).expect("made");
    let mut command = gateway.command();
    let mut serving = command
        .args(["serve", "--config"])
        .arg(gateway.config())
        .stderr(Stdio::piped())
        .spawn()
        .expect("runs");
    let begun = Instant::now();
    let ended = loop {
        match serving.try_wait().expect("a child") {
            Some(ended) => break ended,
            None if begun.elapsed() > Duration::from_secs(20) => {
                serving.kill().expect("killed");
                panic!("it serves");
            }
            None => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    };
    assert_eq!(ended.code(), Some(1));
    let said = String::from_utf8(serving.wait_with_output().expect("it has ended").stderr).expect("text");
    let name = file.file_name().expect("a name").to_str().expect("text");
    assert!(said.contains(name) && said.matches("Is a directory").count() == 1, "{said}");
    set(&gateway, "journal: true", "journal: false");
    gateway.restart().await;
    gateway.chat(&tenant.caller_token).await.expect(200);
}
