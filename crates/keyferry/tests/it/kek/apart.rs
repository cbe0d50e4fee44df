//! Roots whose files lie elsewhere, and what is seen of them while they are away.

use std::{os::unix::fs::symlink, path::Path};

use keyferry_kms::VaultConfig;
use keyferry_kms_testing::{
    Bench, Moto,
    transit::{Day, Transit},
};
use serde_json::json;

use super::{
    OnTransit, aws, kek, kek_json, kms,
    roots::{ACCESS_KEY, aws_key},
    run, vault,
};
use crate::harness::{Gateway, Options, Provider, a_key};

/// A link in a folder of its own.
fn link(to: &Path) -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("link");
    symlink(to, &path).expect("a link");
    (folder, path)
}

/// As agents write it: the token is a link into a folder that only they know.
#[tokio::test]
async fn a_token_file_may_be_a_link_into_another_folder() {
    let server = Transit::start().await;
    let bench = Bench::small(&server, "transit").await;
    let (_folder, token_file) = link(&bench.config.token_file);
    let config = VaultConfig { token_file, ..bench.config.clone() };
    let provider = Provider::right().await;
    let gateway = Gateway::start(Options::to(&provider).yaml(&kms(&vault(&config), ""))).await;
    let tenant = gateway.tenant_with_key("openai", &a_key("sk-")).await;
    gateway.chat(&tenant.caller_token).await.expect(200);
}

#[tokio::test]
async fn the_status_is_told_while_the_root_is_away() {
    let mut on = OnTransit::start("").await;
    on.gateway.tenant_with_key("openai", &a_key("sk-")).await;
    let before = kek_json(&on.gateway, &["status"]).await;
    assert_eq!((&before["keys_under_older_versions"], &before["older_unknown"]), (&json!(0), &json!(null)));
    on.server.down().await;
    let away = kek_json(&on.gateway, &["status"]).await;
    for name in ["roots", "keks_in_use", "versions_in_place", "keys_under_previous_roots"] {
        assert_eq!(away[name], before[name], "{away}");
    }
    assert_eq!(away["keks_in_use"], 1, "{away}");
    // Only the root knows whether there is a newer version of its key.
    assert_eq!((&away["keys_under_older_versions"], &away["newest_version"]), (&json!(null), &json!(null)));
    assert!(away["older_unknown"].as_str().is_some_and(|why| why.contains("the root is away")), "{away}");
    let shown = run(&on.gateway, &["kek", "status"]).await;
    let shown = String::from_utf8(shown.stdout).expect("text");
    assert!(shown.contains("under older versions of the root's key: unknown, the root is away"), "{shown}");
}

#[tokio::test]
async fn keys_under_an_older_version_are_told_until_they_are_renewed() {
    let on = OnTransit::start("").await;
    on.gateway.tenant_with_key("openai", &a_key("sk-")).await;
    let older = async |what: &str| kek_json(&on.gateway, &["status"]).await[what].as_u64();
    assert_eq!((older("newest_version").await, older("keys_under_older_versions").await), (Some(1), Some(0)));
    on.bench.rotate().await;
    on.gateway.tenant_with_key("openai", &a_key("sk-")).await;
    // A KEK, the service secret and two sealing keys; the second tenant's KEK is under the newest.
    assert_eq!((older("newest_version").await, older("keys_under_older_versions").await), (Some(2), Some(4)));
    let shown = run(&on.gateway, &["kek", "status"]).await;
    let shown = String::from_utf8(shown.stdout).expect("text");
    assert!(shown.contains("4 under older versions (the newest is 2)"), "{shown}");
    assert!(shown.contains("keyferry kek rewrap"), "{shown}");

    on.server.has(Day::Sealed);
    assert_eq!(kek(&on.gateway, &["rewrap"]).await.status.code(), Some(1), "it was stopped");
    on.server.has(Day::Fine);
    assert_eq!(older("keys_under_older_versions").await, Some(4), "nothing to move would be wrong");
    assert_eq!(kek_json(&on.gateway, &["rewrap"]).await["keys"], 4);
    assert_eq!(older("keys_under_older_versions").await, Some(0));
}

#[tokio::test]
async fn a_root_that_does_not_tell_of_versions_is_said_not_to() {
    let Some(moto) = Moto::start("a_root_that_does_not_tell_of_versions_is_said_not_to") else { return };
    let provider = Provider::right().await;
    let options = ACCESS_KEY.iter().fold(Options::to(&provider), |all, (name, value)| all.env(name, value));
    let gateway = Gateway::start(options.yaml(&kms(&aws(&aws_key(&moto)), ""))).await;
    let status = kek_json(&gateway, &["status"]).await;
    assert_eq!(status["keys_under_older_versions"], json!(null), "{status}");
    assert!(status["older_unknown"].as_str().is_some_and(|why| why.contains("does not tell")), "{status}");
}
