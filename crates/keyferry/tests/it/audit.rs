//! The audit log: every operation is in it, and nobody can take one out unseen.

use std::{path::Path, process::Output};

use serde_json::{Value, json};

use crate::harness::{Database, Gateway, Issuer, Options, Provider, a_key, command, request};

/// A gateway that has done a few things, and stands still now.
async fn written() -> (Gateway, String) {
    let provider = Provider::right().await;
    // Without sealing keys, which are made by the clock and have rows of their own.
    let options = Options::to(&provider).yaml("byok: {sealed: false}");
    let mut gateway = Gateway::start(options).await;
    let tenant = gateway.tenant_with_key("openai", &a_key("sk-")).await;
    for _ in 0..4 {
        gateway.token(&tenant.id, &json!({"role": "caller"})).await;
    }
    gateway.sigterm_and_wait().await;
    (gateway, tenant.id)
}

fn verify(gateway: &Gateway, more: &[&str]) -> Output {
    let mut command = command();
    command.args(["audit", "verify", "--config"]).arg(gateway.config()).args(more);
    command.output().expect("the program runs")
}

fn copy(gateway: &Gateway, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(gateway.dir().join("data")).expect("a folder") {
        let path = entry.expect("a file").path();
        std::fs::copy(&path, to.join(path.file_name().expect("a name"))).expect("a copy");
    }
}

#[tokio::test]
async fn a_log_that_nobody_touched_is_whole() {
    let (mut gateway, _) = written().await;
    let output = verify(&gateway, &[]);
    assert!(output.status.success(), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("whole: 8 rows"), "{output:?}");
    let output = verify(&gateway, &["--json"]);
    let said: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(said, json!({"whole": true, "rows": 8}));
    // Beside a running gateway too.
    gateway.restart().await;
    gateway.tenant("one-more").await;
    let said: Value = serde_json::from_slice(&verify(&gateway, &["--json"]).stdout).expect("JSON");
    assert_eq!(said["rows"], 9);
}

/// What was done, what the complaint must name, and the statements.
const TAMPERINGS: &[(&str, &str, &[&str])] = &[
    ("a changed actor", "row 3 ", &["UPDATE audit SET actor = 'somebody' WHERE seq = 3"]),
    ("a changed time", "row 4 ", &["UPDATE audit SET at = at + 1 WHERE seq = 4"]),
    ("a changed action", "row 5 ", &["UPDATE audit SET action = 'token.revoked' WHERE seq = 5"]),
    ("a changed tenant", "row 2 ", &["UPDATE audit SET tenant_id = 'other' WHERE seq = 2"]),
    ("no tenant", "row 2 ", &["UPDATE audit SET tenant_id = NULL WHERE seq = 2"]),
    ("a changed target", "row 6 ", &["UPDATE audit SET target = 'x' WHERE seq = 6"]),
    ("a changed source", "row 1 ", &["UPDATE audit SET source = '10.0.0.1' WHERE seq = 1"]),
    ("a changed detail", "row 8 ", &["UPDATE audit SET detail = '{}' WHERE seq = 8"]),
    ("a changed hash", "row 4 ", &["UPDATE audit SET hash = prev_hash WHERE seq = 4"]),
    ("a changed link", "row 4 ", &["UPDATE audit SET prev_hash = hash WHERE seq = 4"]),
    ("a changed proof", "row 4 ", &["UPDATE audit SET mac = hash WHERE seq = 4"]),
    ("the first row deleted", "row 1 ", &["DELETE FROM audit WHERE seq = 1"]),
    ("a row deleted in the middle", "row 4 ", &["DELETE FROM audit WHERE seq = 4"]),
    (
        "a row deleted and the others moved up",
        "row 4 ",
        &["DELETE FROM audit WHERE seq = 4", "UPDATE audit SET seq = seq - 1 WHERE seq > 4"],
    ),
    (
        "two rows exchanged",
        "row 5 ",
        &[
            "UPDATE audit SET seq = 100 WHERE seq = 5",
            "UPDATE audit SET seq = 5 WHERE seq = 6",
            "UPDATE audit SET seq = 6 WHERE seq = 100",
        ],
    ),
    (
        "a row put in twice",
        "row 9",
        &[
            "INSERT INTO audit SELECT 9, at, actor, action, tenant_id, target, source, detail, prev_hash, hash, mac FROM audit WHERE seq = 8",
            "UPDATE audit_head SET seq = 9",
        ],
    ),
    ("the last row deleted", "7", &["DELETE FROM audit WHERE seq = 8"]),
    ("the last rows deleted", "5", &["DELETE FROM audit WHERE seq > 5"]),
    (
        "the end cut and the head moved back",
        "7",
        &[
            "DELETE FROM audit WHERE seq = 8",
            "UPDATE audit_head SET seq = 7, hash = (SELECT hash FROM audit WHERE seq = 7)",
        ],
    ),
    (
        "the end cut and a row's proof put in the head",
        "7",
        &[
            "DELETE FROM audit WHERE seq = 8",
            "UPDATE audit_head SET seq = 7, hash = (SELECT hash FROM audit WHERE seq = 7), mac = (SELECT mac FROM audit WHERE seq = 7)",
        ],
    ),
    ("the head deleted", "head", &["DELETE FROM audit_head"]),
    ("all rows deleted", "0", &["DELETE FROM audit"]),
];

#[tokio::test]
async fn every_way_of_tampering_is_found_and_names_the_row() {
    let (gateway, _) = written().await;
    let saved = gateway.dir().join("saved");
    copy(&gateway, &saved);
    for (how, named, statements) in TAMPERINGS {
        let mut database = Database::open(&gateway.database()).await;
        for statement in *statements {
            assert!(database.run(statement, &[]).await > 0, "{how}");
        }
        database.close().await;
        let output = verify(&gateway, &[]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{how} was not found");
        assert!(said.contains(named), "{how}: {said}");
        restore(&gateway, &saved);
    }
    assert!(verify(&gateway, &[]).status.success(), "the copy is whole");
}

fn restore(gateway: &Gateway, saved: &Path) {
    let data = gateway.dir().join("data");
    std::fs::remove_dir_all(&data).expect("a folder");
    std::fs::create_dir(&data).expect("a folder");
    for entry in std::fs::read_dir(saved).expect("a folder") {
        let path = entry.expect("a file").path();
        std::fs::copy(&path, data.join(path.file_name().expect("a name"))).expect("a copy");
    }
}

#[tokio::test]
async fn a_log_that_was_emptied_whole_is_found() {
    let (gateway, _) = written().await;
    let mut database = Database::open(&gateway.database()).await;
    database.run("DELETE FROM audit", &[]).await;
    database.run("DELETE FROM audit_head", &[]).await;
    database.close().await;
    let output = verify(&gateway, &[]);
    assert_eq!(output.status.code(), Some(1), "there are tenants, so there were rows: {output:?}");
}

#[tokio::test]
async fn a_new_chain_needs_the_gateways_key() {
    let (gateway, _) = written().await;
    // A chain that is right in itself, made by a gateway with another master secret.
    let (other, _) = written().await;
    let mut database = Database::open(&gateway.database()).await;
    database.run("ATTACH ? AS other", &[&other.database().display().to_string()]).await;
    for statement in [
        "DELETE FROM main.audit",
        "DELETE FROM main.audit_head",
        "INSERT INTO main.audit SELECT * FROM other.audit",
        "INSERT INTO main.audit_head SELECT * FROM other.audit_head",
    ] {
        database.run(statement, &[]).await;
    }
    let output = verify(&gateway, &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("row 1 was not written by this gateway"),
        "{output:?}"
    );
}

#[tokio::test]
async fn an_export_can_be_checked_apart() {
    let (gateway, _) = written().await;
    let output =
        command().args(["audit", "export", "--config"]).arg(gateway.config()).output().expect("it runs");
    let export = String::from_utf8(output.stdout).expect("text");
    let lines: Vec<&str> = export.lines().collect();
    assert_eq!(lines.len(), 9, "eight rows and the head");
    let check = |name: &str, text: String| {
        let file = gateway.dir().join(name);
        std::fs::write(&file, text).expect("a file");
        verify(&gateway, &["--file", file.to_str().expect("a path")])
    };
    assert!(check("whole", export.clone()).status.success());
    for (name, named, text) in [
        ("changed", "row 3 ", export.replace(lines[2], &lines[2].replace("operator", "somebody"))),
        ("deleted", "row 3 ", export.replace(&format!("{}\n", lines[2]), "")),
        (
            "exchanged",
            "row 3 ",
            export.replace(lines[2], "X").replace(lines[3], lines[2]).replace('X', lines[3]),
        ),
        ("not JSON", "line 3 ", export.replace(lines[2], "moon")),
        ("cut", "no head", export.replace(&format!("{}\n", lines[8]), "")),
        ("cut before the head", "the last is 7", export.replace(&format!("{}\n", lines[7]), "")),
    ] {
        let output = check(name, text);
        assert_eq!(output.status.code(), Some(1), "{name}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains(named), "{name}: {said}");
    }
}

#[tokio::test]
async fn every_operation_is_in_the_log_with_who_what_and_from_where() {
    let provider = Provider::right().await;
    let gateway = Gateway::before(&provider).await;
    let key = a_key("sk-");
    let tenant = gateway.tenant_with_key("openai", &key).await;
    let base = format!("/tenants/{}", tenant.id);
    let credential = format!("{base}/credentials/{}", tenant.credential_id);
    let admin = async |method: &str, path: String, body: Value| {
        let reply = gateway.admin(&tenant.admin_token, method, &path, &body).await;
        assert!(reply.status() < 300, "{method} {path}: {}", reply.text());
    };
    admin("POST", format!("{credential}/test"), json!({})).await;
    admin("POST", format!("{credential}/rotate"), json!({"api_key": a_key("sk-")})).await;
    admin("DELETE", credential, Value::Null).await;
    let token = tenant.caller_token.split('-').nth(2).expect("an id");
    let bearer = format!("Bearer {}", tenant.caller_token);
    let headers =
        [("authorization", bearer.as_str()), ("x-byok-key", &key), ("content-type", "application/json")];
    let url = format!("{}/api/v1/keys/test", gateway.url());
    request("POST", &url, &headers, b"{\"provider\":\"openai\"}").await.expect(200);
    admin("DELETE", format!("{base}/tokens/{token}"), Value::Null).await;
    let issuer = Issuer::new().register(&gateway, &tenant.id).await;
    admin("DELETE", format!("{base}/issuers/{issuer}"), Value::Null).await;
    gateway.operator("PATCH", &base, &json!({"name": "new"})).await.expect(200);

    let log =
        gateway.admin(&tenant.admin_token, "GET", &format!("{base}/audit"), &Value::Null).await.expect(200);
    let text = log.text();
    assert!(!text.contains(&key) && !text.contains(&key[8..]), "{text}");
    let log = log.json();
    let rows = log["data"].as_array().expect("rows");
    let actions: Vec<&str> = rows.iter().rev().filter_map(|row| row["action"].as_str()).collect();
    assert_eq!(
        actions,
        [
            "tenant.created",
            "credential.stored",
            "token.issued",
            "token.issued",
            "credential.tested",
            "credential.rotated",
            "credential.revoked",
            "key.tested",
            "token.revoked",
            "issuer.registered",
            "issuer.removed",
            "tenant.updated",
        ]
    );
    let admin_id = tenant.admin_token.split('-').nth(2).expect("an id");
    for row in rows {
        assert_eq!((&row["tenant"], &row["source"]), (&json!(tenant.id), &json!("127.0.0.1")), "{row}");
    }
    let of = |action: &str| rows.iter().find(|row| row["action"] == action).expect("a row");
    assert_eq!(of("credential.stored")["actor"], "operator");
    assert_eq!(of("credential.rotated")["actor"], format!("token:{admin_id}"));
    assert_eq!(of("credential.rotated")["target"], tenant.credential_id);

    for (filter, count) in [
        ("action=token.issued", 2),
        ("actor=operator", 6),
        ("action=moon", 0),
        ("to=2020-01-01T00:00:00Z", 0),
        ("from=2020-01-01T00:00:00Z", 12),
        ("limit=5", 5),
    ] {
        let path = format!("{base}/audit?{filter}");
        let found = gateway.admin(&tenant.admin_token, "GET", &path, &Value::Null).await.expect(200).json();
        assert_eq!(found["data"].as_array().map(Vec::len), Some(count), "{filter}: {found}");
    }
    let lines =
        gateway.admin(&tenant.admin_token, "GET", &format!("{base}/audit?format=jsonl"), &Value::Null).await;
    assert_eq!(lines.text().lines().count(), 12);
}

#[tokio::test]
async fn what_was_refused_is_not_told_as_done() {
    let provider = Provider::right().await;
    let gateway = Gateway::before(&provider).await;
    let tenant = gateway.tenant_with_key("openai", &a_key("sk-")).await;
    let base = format!("/tenants/{}", tenant.id);
    let again = json!({"provider": "openai", "api_key": a_key("sk-")});
    gateway.operator("POST", &format!("{base}/credentials"), &again).await.refused(409, "conflict");
    gateway
        .operator("DELETE", &format!("{base}/tokens/nobody"), &Value::Null)
        .await
        .refused(404, "not_found");
    let log = gateway.operator("GET", &format!("{base}/audit"), &Value::Null).await.expect(200).json();
    assert_eq!(log["data"].as_array().map(Vec::len), Some(4), "{log}");
}
