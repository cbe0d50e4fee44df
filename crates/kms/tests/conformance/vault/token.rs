//! The token: taken from its file whenever that changes, kept alive, and never told.

use std::{os::unix::fs::PermissionsExt, time::Duration};

use keyferry_core::port::root::{Root, RootError};
use keyferry_kms_testing::{
    Bench, OpenBao, Operator,
    transit::{Day, Transit},
};
use serde_json::json;

use crate::suite::{CONTEXT, key};

#[tokio::test]
async fn another_token_in_the_file_is_used_from_the_next_call_on() {
    let server = Transit::start().await;
    let bench = Bench::small(&server, "transit").await;
    let vault = bench.vault();
    vault.wrap(&CONTEXT, &key(7)).await.expect("wraps");
    let first = std::fs::read_to_string(&bench.config.token_file).expect("a token");
    bench.write_token(&bench.new_token(&json!({})).await);
    bench.operator.done("POST", "auth/token/revoke", &json!({"token": first.trim()})).await;
    vault.wrap(&CONTEXT, &key(7)).await.expect("wraps with the new token");
}

#[tokio::test]
async fn after_a_denial_another_token_is_news_once() {
    let server = Transit::start().await;
    let bench = Bench::small(&server, "transit").await;
    let vault = bench.vault();
    let [second, third] = [bench.new_token(&json!({})).await, bench.new_token(&json!({})).await];
    bench.write_token(&bench.new_token(&json!({})).await);
    assert!(!vault.has_other_credentials().await, "nobody was denied");
    server.has(Day::Denying);
    assert!(vault.wrap(&CONTEXT, &key(7)).await.is_err());
    assert!(!vault.has_other_credentials().await, "it is the token that was denied");
    bench.write_token(&second);
    assert_eq!([vault.has_other_credentials().await, vault.has_other_credentials().await], [true, false]);

    let path = &bench.config.token_file;
    std::fs::remove_file(path).expect("it was there");
    assert!(vault.wrap(&CONTEXT, &key(7)).await.is_err());
    assert!(!vault.has_other_credentials().await, "there is none");
    bench.write_token(&third);
    assert_eq!([vault.has_other_credentials().await, vault.has_other_credentials().await], [true, false]);
}

#[tokio::test]
async fn a_refused_token_is_read_again_once() {
    let server = Transit::start().await;
    let bench = Bench::small(&server, "transit").await;
    let vault = bench.vault();
    let before = server.requests();
    server.has(Day::Denying);
    assert!(matches!(vault.wrap(&CONTEXT, &key(7)).await, Err(RootError::Denied(_))));
    assert_eq!(server.requests() - before, 1, "the same token is not tried twice");
}

#[tokio::test]
async fn a_file_written_in_place_without_a_trace_is_found_after_a_refusal() {
    let server = Transit::start().await;
    let bench = Bench::small(&server, "transit").await;
    let first = std::fs::read_to_string(&bench.config.token_file).expect("a token");
    let vault = bench.vault();
    let second = bench.new_token(&json!({})).await;
    assert_eq!(first.trim().len(), second.len(), "or the length would tell");
    // The same inode, length and time of change, as after a clock that went back.
    let file = std::fs::File::options().write(true).open(&bench.config.token_file).expect("opened");
    let changed = file.metadata().and_then(|meta| meta.modified()).expect("a time");
    std::os::unix::fs::FileExt::write_all_at(&file, second.as_bytes(), 0).expect("written");
    file.set_modified(changed).expect("set back");
    bench.operator.done("POST", "auth/token/revoke", &json!({"token": first.trim()})).await;
    vault.wrap(&CONTEXT, &key(7)).await.expect("wraps with the new token");
}

#[tokio::test]
async fn a_file_that_others_may_read_denies() {
    let server = Transit::start().await;
    let bench = Bench::small(&server, "transit").await;
    let vault = bench.vault();
    let path = &bench.config.token_file;
    bench.write_token("another");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644)).expect("set");
    let before = server.requests();
    match vault.wrap(&CONTEXT, &key(7)).await {
        Err(RootError::Denied(words)) => assert!(words.contains("0644"), "{words}"),
        other => panic!("expected a denial, got {:?}", other.err()),
    }
    assert_eq!(server.requests(), before);
}

#[tokio::test]
async fn no_error_tells_the_token_or_what_the_server_said() {
    let server = Transit::start().await;
    let bench = Bench::small(&server, "transit").await;
    let vault = bench.vault();
    let wrapped = vault.wrap(&CONTEXT, &key(7)).await.expect("wraps");
    let token = std::fs::read_to_string(&bench.config.token_file).expect("a token");
    for day in [
        Day::Sealed,
        Day::Throttling,
        Day::Failing,
        Day::Denying,
        Day::Redirecting,
        Day::Html,
        Day::TruncatedJson,
        Day::WrongBase64,
        Day::ShortKey,
        Day::ResetInBody,
        Day::NotHttp,
    ] {
        server.has(day);
        let error = vault.unwrap(&CONTEXT, &wrapped).await.err().expect("a failure");
        let told = format!("{error} {error:?}");
        for secret in
            [token.trim(), "sealed\"", "permission", "quota", "Welcome", "AAAA", "mail.example", "%%"]
        {
            assert!(!told.contains(secret), "{day:?}: {told}");
        }
    }
}

/// A token of four seconds lives on for as long as it is kept, and ends when nobody keeps it.
async fn a_kept_token_lives_on(operator: Operator) {
    let bench = Bench::on(operator, "kept").await;
    bench.write_token(&bench.new_token(&json!({"ttl": "4s", "renewable": true})).await);
    let vault = bench.vault();
    let kept = tokio::spawn(std::sync::Arc::clone(&vault).keep_token());
    for _ in 0..6 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        vault.wrap(&CONTEXT, &key(7)).await.expect("the token is alive");
    }
    kept.abort();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(matches!(vault.wrap(&CONTEXT, &key(7)).await, Err(RootError::Denied(_))));
}

#[tokio::test]
async fn a_token_that_can_be_renewed_is_kept_alive() {
    a_kept_token_lives_on(Operator::of(&Transit::start().await)).await;
}

#[tokio::test]
async fn openbao_keeps_a_renewed_token_alive() {
    let Some(bao) = OpenBao::start("openbao_keeps_a_renewed_token_alive").await else { return };
    a_kept_token_lives_on(bao.operator.clone()).await;
}

#[tokio::test]
async fn a_token_without_an_end_is_left_alone() {
    let server = Transit::start().await;
    let bench = Bench::small(&server, "transit").await;
    bench.write_token(&bench.operator.token);
    let before = server.requests();
    let kept = tokio::spawn(bench.vault().keep_token());
    tokio::time::sleep(Duration::from_secs(3)).await;
    kept.abort();
    assert_eq!(server.requests() - before, 1, "it was looked at, and no more");
}

#[tokio::test]
async fn keeping_a_token_goes_on_after_a_bad_minute() {
    let server = Transit::start().await;
    let bench = Bench::small(&server, "transit").await;
    bench.write_token(&bench.new_token(&json!({"ttl": "8s", "renewable": true})).await);
    let vault = bench.vault();
    server.has(Day::Sealed);
    let kept = tokio::spawn(std::sync::Arc::clone(&vault).keep_token());
    tokio::time::sleep(Duration::from_millis(2500)).await;
    server.has(Day::Fine);
    tokio::time::sleep(Duration::from_secs(8)).await;
    vault.wrap(&CONTEXT, &key(7)).await.expect("the token is alive");
    kept.abort();
}
