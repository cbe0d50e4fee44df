//! The disk is full: the data folder of a gateway is a file system of its own, which is filled under it.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use futures_util::future::join_all;
use serde_json::json;

use super::{ROW, SOON, chat, timed};
use crate::harness::{Gateway, Options, Provider, a_key, request, until};

/// How the machine lets somebody mount something: root may, others in a space of users of their own.
const WAYS: [&[&str]; 2] = [&["--mount"], &["--user", "--map-root-user", "--mount"]];

/// What the gateway's data folder becomes before the gateway starts in it. What others cannot reach is filled and emptied by
/// whom the gateway leaves behind there.
const BEFORE: &str = r"
mkdir -p data
mount -t tmpfs -o size=8m,mode=700 tmpfs data || exit 1
(
    until [ -e fill ] || ! kill -0 $$; do sleep 0.02; done
    LC_ALL=C cat /dev/zero > data/filler 2> filled
    until [ -e empty ] || ! kill -0 $$; do sleep 0.02; done
    rm data/filler
) < /dev/null > /dev/null 2>&1 &
";

/// A program that starts the gateway on a disk of its own; `None` where that is not allowed.
fn on_a_small_disk(folder: &Path) -> Option<PathBuf> {
    let try_out = "mount -t tmpfs -o size=8m tmpfs /tmp";
    let allowed = |way: &&[&str]| {
        let tried = Command::new("unshare").args(*way).args(["sh", "-c", try_out]).output();
        tried.is_ok_and(|tried| tried.status.success())
    };
    let Some(way) = WAYS.into_iter().find(allowed) else {
        eprintln!("nothing may be mounted here: a full disk is not tried");
        return None;
    };
    let (path, inside) = (folder.join("gateway"), folder.join("inside"));
    let program = env!("CARGO_BIN_EXE_keyferry");
    let script = format!("#!/bin/sh\nexec unshare {} {} \"$@\"\n", way.join(" "), inside.display());
    for (path, text) in [(&path, script), (&inside, format!("#!/bin/sh\n{BEFORE}exec {program} \"$@\"\n"))] {
        fs::write(path, text).expect("written");
        fs::set_permissions(path, fs::Permissions::from_mode(0o700)).expect("its owner's");
    }
    Some(path)
}

fn touch(gateway: &Gateway, name: &str) {
    fs::write(gateway.dir().join(name), "").expect("written");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_told_and_no_row_is_lost() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(binary) = on_a_small_disk(folder.path()) else { return };
    let provider = Provider::right().await;
    let mut options = Options::to(&provider).quiet();
    options.binary = Some(binary);
    let mut gateway = Gateway::start(options).await;
    let tenant = gateway.tenant_with_key("openai", &a_key("key-")).await;
    gateway.chat(&tenant.caller_token).await.expect(200);
    gateway.usage_row(&tenant.id, 1).await;

    let url = gateway.url();
    touch(&gateway, "fill");
    until("the disk is full", || async {
        let said = fs::read_to_string(gateway.dir().join("filled")).unwrap_or_default();
        said.contains("No space left").then_some(())
    })
    .await;
    // More than what is left of the last page has room for.
    for _ in 0..2 {
        let asked = join_all((0..15).map(async |_| timed(&url, &tenant.caller_token, &chat()).await)).await;
        for (reply, took) in asked {
            assert_eq!(reply.status(), 200, "{}", reply.text());
            assert!(took < ROW + SOON, "it took {took:?}");
        }
    }
    gateway.logged(&["usage_not_written", "full"]).await;
    gateway.logged(&["usage_journal_failed", "No space left"]).await;
    let path = format!("/tenants/{}/credentials", tenant.id);
    let stored = json!({"provider": "gemini", "api_key": a_key("key-")});
    gateway.operator("POST", &path, &stored).await.refused(503, "BYOK_SERVICE_UNAVAILABLE");
    let readiness = format!("{}/readyz", gateway.metrics_url());
    let ready = request("GET", &readiness, &[], b"").await.expect(503).json();
    assert_eq!(ready["storage"]["status"], "away", "{ready}");

    touch(&gateway, "empty");
    gateway.usage_row(&tenant.id, 31).await;
    until("there is room again", || async {
        (gateway.operator("POST", &path, &stored).await.status() == 201).then_some(())
    })
    .await;
    until("the gateway is ready again", || async {
        (request("GET", &readiness, &[], b"").await.status() == 200).then_some(())
    })
    .await;
    gateway.chat(&tenant.caller_token).await.expect(200);
    gateway.usage_row(&tenant.id, 32).await;
    assert!(!gateway.log().contains("panicked"), "{}", gateway.log_end());
    gateway.sigterm_and_wait().await;
}
