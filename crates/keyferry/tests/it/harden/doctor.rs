//! `keyferry doctor`.

use std::{fs, os::unix::fs::PermissionsExt, process::Command};

use serde_json::Value;

use super::{Home, output, start, text};
use crate::harness::OPERATOR;

/// What the doctor says, by check, and how it ends.
fn ask(command: &mut Command) -> (Value, Option<i32>) {
    let output = output(command.arg("--json"));
    let said: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{} {}", text(&output.stdout), text(&output.stderr)));
    assert_eq!(said["ok"] == true, output.status.success(), "{said}");
    (said, output.status.code())
}

#[track_caller]
fn check<'a>(said: &'a Value, name: &str) -> &'a Value {
    let checks = said["checks"].as_array().expect("checks");
    checks.iter().find(|check| check["check"] == name).unwrap_or_else(|| panic!("{name} in {said}"))
}

#[track_caller]
fn status<'a>(said: &'a Value, name: &str) -> &'a str {
    check(said, name)["status"].as_str().expect("a status")
}

#[test]
fn it_finds_the_running_gateway_and_sees_that_it_is_hardened() {
    let home = Home::new();
    let (before, _) = ask(&mut home.keyferry(&["doctor"]));
    assert!(check(&before, "gateway")["found"].as_str().is_some_and(|found| found.starts_with("none")));
    assert!(!home.path().join("data").exists(), "it changes nothing");
    let gateway = start(home.keyferry(&["serve"]).env("KEYFERRY_OPERATOR_TOKEN", OPERATOR));
    let (said, _) = ask(&mut home.keyferry(&["doctor"]));
    let found = check(&said, "gateway")["found"].as_str().expect("text");
    assert_eq!(found, format!("process {}", gateway.child.id()));
    let measures =
        ["core_dumps", "no_new_privs", "syscalls", "capabilities", "dumpable", "user", "gateway_swap"];
    for name in
        measures.into_iter().chain(["configuration", "master_secret", "database_files", "clock", "database"])
    {
        assert_ne!(status(&said, name), "no", "{}", check(&said, name));
    }
    for name in ["core_dumps", "no_new_privs", "syscalls", "seccomp"] {
        assert_eq!(status(&said, name), "ok", "{said}");
    }
    assert!(
        check(&said, "secret_memory")["found"].as_str().is_some_and(|found| found.starts_with("tried out"))
    );
    assert!(check(&said, "database")["found"].as_str().is_some_and(|found| found.contains("audit log has")));
    // Who may look into the process sees the token.
    let mut as_root = Command::new(env!("CARGO_BIN_EXE_keyferry"));
    as_root.args(["doctor", "--config", "keyferry.yaml"]).current_dir(home.path());
    if rustix::process::geteuid().is_root() {
        let (said, _) = ask(&mut as_root);
        assert_eq!(status(&said, "environment_secrets"), "warn", "{said}");
        assert_eq!(status(&said, "dumpable"), "ok", "{said}");
    }
}

#[test]
fn what_does_not_hold_is_named_and_ends_with_1() {
    let home = Home::new();
    drop(start(&mut home.keyferry(&["serve"])));
    let (said, code) = ask(&mut home.keyferry(&["doctor", "--pid", "1"]));
    assert_eq!((status(&said, "gateway"), code), ("no", Some(1)), "{said}");
    let mode = |file: &str, mode| {
        fs::set_permissions(home.path().join(file), fs::Permissions::from_mode(mode)).expect("a mode");
    };
    for file in ["data/master.key", "data/keyferry.db"] {
        mode(file, 0o644);
        let (said, code) = ask(&mut home.keyferry(&["doctor"]));
        let name = if file.ends_with("key") { "master_secret" } else { "database_files" };
        assert_eq!((status(&said, name), code), ("no", Some(1)), "{said}");
        assert!(check(&said, name)["advice"].as_str().is_some_and(|advice| advice.contains("chmod 600")));
        mode(file, 0o600);
    }
    let journal = home.path().join("data/keyferry.db-usage-2");
    assert_eq!(status(&ask(&mut home.keyferry(&["doctor"])).0, "usage_journal"), "ok");
    fs::write(&journal, "a row\n").expect("a file");
    let (said, code) = ask(&mut home.keyferry(&["doctor"]));
    assert_eq!((status(&said, "usage_journal"), code), ("warn", Some(0)), "{said}");
    mode("data/keyferry.db-usage-2", 0o644);
    let (said, code) = ask(&mut home.keyferry(&["doctor"]));
    assert_eq!((status(&said, "usage_journal"), code), ("no", Some(1)), "{said}");
    fs::write(&journal, "").expect("a file");
    mode("data/keyferry.db-usage-2", 0o600);
    mode("data", 0o755);
    let (said, code) = ask(&mut home.keyferry(&["doctor"]));
    assert_eq!((status(&said, "data_folder"), code), ("warn", Some(0)), "{said}");
    fs::remove_file(home.path().join("data/master.key")).expect("it was there");
    let (said, code) = ask(&mut home.keyferry(&["doctor"]));
    assert_eq!((status(&said, "master_secret"), code), ("no", Some(1)), "{said}");
    fs::write(home.path().join("data/keyferry.db"), "no database").expect("a file");
    let (said, code) = ask(&mut home.keyferry(&["doctor"]));
    assert_eq!((status(&said, "database"), code), ("no", Some(1)), "{said}");
    fs::write(home.path().join("keyferry.yaml"), "moon: 1\n").expect("a file");
    let (said, code) = ask(&mut home.keyferry(&["doctor"]));
    assert_eq!((status(&said, "configuration"), code), ("no", Some(1)), "{said}");
    assert!(check(&said, "configuration")["found"].as_str().is_some_and(|found| found.contains("moon")));
}

#[test]
fn a_token_of_vault_is_judged_as_the_gateway_judges_it() {
    let home = Home::new();
    let file = home.path().join("keyferry.yaml");
    let before = fs::read_to_string(&file).expect("a file");
    let token = home.path().join("token");
    fs::write(&token, "s.abc").expect("a file");
    let root = "kms: {kind: vault, address: 'http://127.0.0.1:1', token_file: token}\n";
    fs::write(&file, before + root).expect("a file");
    for (mode, expected, code) in [(0o640, "ok", 0), (0o600, "ok", 0), (0o644, "no", 1), (0o641, "no", 1)] {
        fs::set_permissions(&token, fs::Permissions::from_mode(mode)).expect("a mode");
        let (said, ended) = ask(&mut home.keyferry(&["doctor"]));
        assert_eq!((status(&said, "vault_token"), ended), (expected, Some(code)), "{mode:o}: {said}");
    }
}

#[test]
fn people_get_a_table_with_what_to_do() {
    let home = Home::new();
    let shown = text(&output(&mut home.keyferry(&["doctor"])).stdout);
    assert!(shown.lines().any(|line| line.starts_with("warn  environment")), "{shown}");
    assert!(
        shown.lines().any(|line| line.trim_start().starts_with("→ Set `environment: production`")),
        "{shown}"
    );
    assert!(shown.lines().any(|line| line.contains("  seccomp ") && line.contains("tried out")), "{shown}");
}
