//! Roots whose files lie elsewhere, and what is seen of them while they are away.

use std::{os::unix::fs::symlink, path::Path};

use keyferry_kms::VaultConfig;
use keyferry_kms_testing::{Bench, transit::Transit};

use super::{OnTransit, kek_json, kms, vault};
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
    on.server.down().await;
    assert_eq!(kek_json(&on.gateway, &["status"]).await, before);
    assert_eq!(before["keks_in_use"], 1, "{before}");
}
