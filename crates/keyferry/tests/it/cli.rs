//! The commands: what they print, how they end, and that a key comes in from standard input only.

use std::{
    io::Write,
    process::{Output, Stdio},
};

use serde_json::{Value, json};

use crate::harness::{Gateway, Issuer, OPERATOR, Options, Provider, a_key, command};

/// Runs a command with this environment and standard input. On a thread of its own: the gateway's
/// provider lives on this one.
async fn run(env: Vec<(&'static str, String)>, arguments: &[&str], input: &str) -> Output {
    let mut command = command();
    command.args(arguments).envs(env).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let input = input.to_owned();
    let ended = tokio::task::spawn_blocking(move || {
        let mut child = command.spawn().expect("the program starts");
        // A command that reads nothing may be gone already.
        let _ = child.stdin.take().expect("piped").write_all(input.as_bytes());
        child.wait_with_output().expect("it ends")
    });
    ended.await.expect("no panic")
}

/// A command against a gateway, as its operator.
async fn ask(gateway: &Gateway, arguments: &[&str], input: &str) -> Output {
    let env = vec![("KEYFERRY_URL", gateway.url()), ("KEYFERRY_OPERATOR_TOKEN", OPERATOR.to_owned())];
    run(env, arguments, input).await
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[track_caller]
fn json_of(output: &Output) -> Value {
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("not JSON: {}", text(&output.stdout)))
}

#[tokio::test]
async fn a_tenant_a_key_and_a_token_are_made_and_serve() {
    let provider = Provider::right().await;
    let gateway = Gateway::before(&provider).await;
    let tenant = ask(&gateway, &["tenant", "create", "acme", "--byok-enabled", "true", "--json"], "").await;
    assert_eq!(json_of(&tenant)["id"], "acme");
    let key = a_key("sk-proj-");
    let add = ["credential", "add", "--tenant", "acme", "--provider", "openai", "--json"];
    let stored = ask(&gateway, &add, &format!("{key}\n")).await;
    assert!(!text(&stored.stdout).contains(&key) && !text(&stored.stderr).contains(&key));
    let id = json_of(&stored)["id"].as_str().expect("an id").to_owned();
    let token = json_of(&ask(&gateway, &["token", "create", "--tenant", "acme", "--json"], "").await);
    let token = token["token"].as_str().expect("a token").to_owned();
    gateway.chat(&token).await.expect(200);
    assert_eq!(provider.last().header("authorization"), format!("Bearer {key}"), "without the line break");

    let tested =
        json_of(&ask(&gateway, &["credential", "test", "--tenant", "acme", &id, "--json"], "").await);
    assert_eq!(tested["status"], "ok");
    let new = a_key("sk-proj-");
    let rotated = ask(&gateway, &["credential", "rotate", "--tenant", "acme", &id, "--json"], &new).await;
    assert_eq!(json_of(&rotated)["version"], 2);
    gateway.chat(&token).await.expect(200);
    assert_eq!(provider.last().header("authorization"), format!("Bearer {new}"));
    let list = ask(&gateway, &["credential", "list", "--tenant", "acme"], "").await;
    let shown = text(&list.stdout);
    assert!(shown.lines().next().is_some_and(|head| head.starts_with("id")), "{shown}");
    assert!(shown.contains(&id) && shown.contains(&new[new.len() - 4..]) && !shown.contains(&new), "{shown}");
    assert!(ask(&gateway, &["credential", "revoke", "--tenant", "acme", &id], "").await.status.success());
    gateway.chat(&token).await.refused(404, "BYOK_KEY_NOT_FOUND");
    let again = ask(&gateway, &["credential", "revoke", "--tenant", "acme", &id], "").await;
    assert_eq!(again.status.code(), Some(1));
    assert!(text(&again.stderr).contains("not_found"), "{}", text(&again.stderr));

    let token_id = token.split('-').nth(2).expect("an id");
    let list = json_of(&ask(&gateway, &["token", "list", "--tenant", "acme", "--json"], "").await);
    assert_eq!(list["data"][0]["id"], token_id);
    assert!(ask(&gateway, &["token", "revoke", "--tenant", "acme", token_id], "").await.status.success());
    gateway.chat(&token).await.refused(401, "unauthorized");
    let changed = ["tenant", "update", "acme", "--daily-quota", "7", "--json"];
    assert_eq!(json_of(&ask(&gateway, &changed, "").await)["daily_quota"], 7);
    assert_eq!(json_of(&ask(&gateway, &["tenant", "get", "acme", "--json"], "").await)["daily_quota"], 7);
    assert_eq!(
        ask(&gateway, &["tenant", "delete", "acme"], "").await.status.code(),
        Some(2),
        "without --yes"
    );
    assert!(ask(&gateway, &["tenant", "delete", "acme", "--yes"], "").await.status.success());
    let left = json_of(&ask(&gateway, &["tenant", "list", "--json"], "").await);
    assert_eq!(left["data"], json!([]));
}

#[tokio::test]
async fn an_issuer_is_added_from_a_file() {
    let provider = Provider::right().await;
    let gateway = Gateway::before(&provider).await;
    let tenant = gateway.tenant_with_key("openai", &a_key("sk-")).await;
    let issuer = Issuer::new();
    let file = gateway.dir().join("jwks.json");
    std::fs::write(&file, issuer.jwks().to_string()).expect("a file");
    let (file, id) = (file.to_str().expect("a path"), tenant.id.as_str());
    let name = crate::harness::issuer::ISSUER;
    let add = [
        "issuer",
        "add",
        "--tenant",
        id,
        "--issuer",
        name,
        "--audience",
        "keyferry",
        "--algorithm",
        "ES256",
        "--jwks-file",
        file,
        "--json",
    ];
    let added = json_of(&ask(&gateway, &add, "").await)["id"].as_str().expect("an id").to_owned();
    gateway.chat(&issuer.token(id, "1")).await.expect(200);
    assert!(ask(&gateway, &["issuer", "remove", "--tenant", id, &added], "").await.status.success());
    gateway.chat(&issuer.token(id, "2")).await.refused(401, "unauthorized");
    let neither = &add[..add.len() - 3];
    assert_eq!(ask(&gateway, neither, "").await.status.code(), Some(2));
}

#[tokio::test]
async fn a_key_is_taken_from_standard_input_and_from_nowhere_else() {
    let provider = Provider::right().await;
    let gateway = Gateway::before(&provider).await;
    gateway.tenant("acme").await;
    let key = a_key("sk-proj-");
    let base = ["credential", "add", "--tenant", "acme", "--provider", "openai"];
    for more in [&["--api-key", &key][..], &["--key", &key], &[&key], &[&format!("--api-key={key}")]] {
        let output = ask(&gateway, &[&base, more].concat(), &key).await;
        assert_eq!(output.status.code(), Some(2), "{more:?}");
        assert!(
            !text(&output.stderr).contains(&key),
            "the complaint quotes the key: {}",
            text(&output.stderr)
        );
    }
    for input in ["", "\n", "   \n"] {
        let output = ask(&gateway, &base, input).await;
        assert_eq!(output.status.code(), Some(1), "{input:?}");
        assert!(text(&output.stderr).contains("nothing came on standard input"), "{}", text(&output.stderr));
    }
    for input in [format!("{key} {key}"), format!("{key}\n{key}\n"), format!("{key}\"x"), "k".repeat(5000)] {
        let output = ask(&gateway, &base, &input).await;
        assert_eq!(output.status.code(), Some(1));
        assert!(!text(&output.stderr).contains(&key), "{}", text(&output.stderr));
    }
    let list = gateway.operator("GET", "/tenants/acme/credentials", &Value::Null).await.json();
    assert_eq!(list["data"], json!([]));
    for help in ["credential", "credential add", "credential rotate"] {
        let arguments: Vec<&str> = help.split(' ').chain(["--help"]).collect();
        let shown = text(&run(vec![], &arguments, "").await.stdout);
        assert!(!shown.contains("--api-key") && !shown.contains("--key"), "{shown}");
    }
}

#[tokio::test]
async fn a_token_is_taken_from_a_file_or_the_environment() {
    let provider = Provider::right().await;
    let gateway = Gateway::before(&provider).await;
    let tenant = gateway.tenant_with_key("openai", &a_key("sk-")).await;
    let file = gateway.dir().join("token");
    std::fs::write(&file, format!("{OPERATOR}\n")).expect("a file");
    let url = || vec![("KEYFERRY_URL", gateway.url())];
    let by_file = ["tenant", "list", "--json", "--token-file", file.to_str().expect("a path")];
    assert_eq!(json_of(&run(url(), &by_file, "").await)["data"][0]["id"], tenant.id);
    let none = run(url(), &["tenant", "list"], "").await;
    assert_eq!(none.status.code(), Some(1));
    assert!(text(&none.stderr).contains("KEYFERRY_OPERATOR_TOKEN"), "{}", text(&none.stderr));
    let mut env = url();
    env.push(("KEYFERRY_TOKEN", tenant.admin_token.clone()));
    let refused = run(env.clone(), &["tenant", "list"], "").await;
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("forbidden"), "{}", text(&refused.stderr));
    let own = run(env, &["credential", "list", "--tenant", &tenant.id, "--json"], "").await;
    assert_eq!(json_of(&own)["data"][0]["id"], tenant.credential_id);
}

#[tokio::test]
async fn a_gateway_that_is_not_there_is_said_plainly() {
    let provider = Provider::right().await;
    let mut gateway = Gateway::before(&provider).await;
    gateway.kill();
    let output = ask(&gateway, &["tenant", "list"], "").await;
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("is it running?"), "{}", text(&output.stderr));
    for id in ["../x", "a/b", "", "a b", "a?b"] {
        let output = ask(&gateway, &["tenant", "get", id], "").await;
        assert_eq!(output.status.code(), Some(1), "{id:?}");
        assert!(!text(&output.stderr).contains("is it running?"), "{id:?} went out");
    }
}

#[tokio::test]
async fn fallback_and_budget_are_set_and_taken_away() {
    let provider = Provider::right().await;
    let platform = a_key("sk-proj-");
    let yaml = format!(
        "providers: {{openai: {{platform_key: {platform}}}}}\nprices: {{openai/*: {{input: '1', output: '1'}}}}"
    );
    let gateway = Gateway::start(Options::to(&provider).yaml(&yaml)).await;
    let tenant = async |arguments: &str| {
        let words: Vec<&str> = ["tenant"].into_iter().chain(arguments.split(' ')).chain(["--json"]).collect();
        json_of(&ask(&gateway, &words, "").await)
    };
    let made = "create acme --byok-enabled true --fallback missing=true --fallback no_credit=true \
                --budget-micro-usd 5000000 --budget-period total";
    let made = tenant(made).await;
    let switches = |missing: bool| {
        json!({"missing": missing, "unauthorized": false, "rate_limited": false, "no_credit": true,
            "server_error": false})
    };
    assert_eq!(made["fallback"], switches(true));
    assert_eq!((&made["budget_micro_usd"], &made["budget_period"]), (&json!(5_000_000), &json!("total")));
    let token = gateway.token("acme", &json!({"role": "caller"})).await;
    let chat = async || {
        let body = json!({"model": "m", "messages": [], "max_tokens": 5});
        gateway.post(&token, "/openai/v1/chat/completions", &[], &body).await
    };
    chat().await.expect(200);
    assert_eq!(provider.last().header("authorization"), format!("Bearer {platform}"));

    let changed = tenant("update acme --budget-micro-usd none").await;
    assert_eq!(
        (&changed["budget_micro_usd"], &changed["budget_period"]),
        (&Value::Null, &json!("total")),
        "what is not given stays"
    );
    chat().await.refused(402, "BUDGET_EXCEEDED");
    let changed =
        tenant("update acme --fallback missing=false --budget-micro-usd 7 --budget-period month").await;
    assert_eq!(changed["fallback"], switches(false), "the other cases stay");
    assert_eq!((&changed["budget_micro_usd"], &changed["budget_period"]), (&json!(7), &json!("month")));
    chat().await.refused(404, "BYOK_KEY_NOT_FOUND");
    for wrong in [
        ["--fallback", "moon=true"],
        ["--fallback", "missing"],
        ["--fallback", "missing=1"],
        ["--budget-micro-usd", "-1"],
        ["--budget-micro-usd", "1.5"],
        ["--budget-period", "day"],
    ] {
        let output = ask(&gateway, &["tenant", "update", "acme", wrong[0], wrong[1]], "").await;
        assert_eq!(output.status.code(), Some(2), "{wrong:?}");
    }
    assert_eq!(tenant("get acme").await["fallback"], switches(false));
}

#[tokio::test]
async fn a_store_is_not_copied_while_somebody_keeps_rows_in_its_journal() {
    let provider = Provider::right().await;
    let mut gateway = Gateway::before(&provider).await;
    gateway.sigterm_and_wait().await;
    let config = gateway.dir().join("new.yaml");
    let stores = json!({
        "storage": {"url": "postgres://nobody@127.0.0.1:1/none"},
        "counters": {"url": "redis://127.0.0.1:1"},
        "kms": {"master_secret_file": gateway.database().with_file_name("master.key")},
    });
    std::fs::write(&config, stores.to_string()).expect("written");
    let (config, database) = (config.display().to_string(), gateway.database().display().to_string());
    let migrate = ["migrate", "--config", &config, "--from", &database];
    let journal = std::fs::File::open(format!("{database}-usage-2")).expect("there");
    journal.lock().expect("free");
    let refused = run(Vec::new(), &migrate, "").await;
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("another gateway serves"), "{}", text(&refused.stderr));
    drop(journal);
    let unreached = run(Vec::new(), &migrate, "").await;
    assert!(!text(&unreached.stderr).contains("another gateway serves"), "{}", text(&unreached.stderr));
}

#[tokio::test]
async fn every_command_has_help_and_wrong_usage_exits_with_2() {
    for command in [
        "",
        "serve",
        "demo",
        "config",
        "config check",
        "config schema",
        "openapi",
        "upstream",
        "upstream check",
        "audit",
        "audit verify",
        "audit export",
        "tenant",
        "tenant create",
        "tenant list",
        "tenant get",
        "tenant update",
        "tenant delete",
        "credential",
        "credential add",
        "credential list",
        "credential test",
        "credential rotate",
        "credential revoke",
        "token",
        "token create",
        "token list",
        "token revoke",
        "issuer",
        "issuer add",
        "issuer list",
        "issuer remove",
    ] {
        let words: Vec<&str> = command.split_whitespace().chain(["--help"]).collect();
        let output = run(vec![], &words, "").await;
        assert_eq!(output.status.code(), Some(0), "{command} --help");
        assert!(text(&output.stdout).contains("Usage: keyferry"), "{command}");
        let words: Vec<&str> = command.split_whitespace().chain(["--moon"]).collect();
        let output = run(vec![], &words, "").await;
        assert_eq!(output.status.code(), Some(2), "{command} --moon");
        assert!(output.stdout.is_empty(), "{command}");
    }
    assert!(text(&run(vec![], &["--version"], "").await.stdout).starts_with("keyferry "));
    assert_eq!(run(vec![], &["moon"], "").await.status.code(), Some(2));
}

#[tokio::test]
async fn the_documents_are_json() {
    let schema = json_of(&run(vec![], &["config", "schema"], "").await);
    assert!(schema["properties"]["upstream"].is_object() || schema["$defs"].is_object(), "{schema}");
    let document = json_of(&run(vec![], &["openapi"], "").await);
    assert!(document["openapi"].as_str().is_some_and(|version| version.starts_with("3.")));
    let provider = Provider::right().await;
    let gateway = Gateway::before(&provider).await;
    let served = crate::harness::request("GET", &format!("{}/openapi.json", gateway.url()), &[], b"").await;
    assert_eq!(served.expect(200).json(), document);
    for path in
        ["/tenants", "/tenants/{tenant}/credentials", "/keys/test", "/tenants/{tenant}/usage/requests"]
    {
        let found = document["paths"].as_object().expect("paths").keys().any(|known| known.ends_with(path));
        assert!(found, "{path} is not in the document");
    }
}

#[tokio::test]
async fn upstream_check_judges_a_line_at_a_time() {
    let input =
        "\"https://api.openai.com\"\n\"http://api.openai.com\"\nmoon\n\"https://169.254.169.254/\"\n7\n";
    let output = run(vec![], &["upstream", "check"], input).await;
    assert!(output.status.success());
    let rows: Vec<Value> =
        text(&output.stdout).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let verdicts: Vec<&Value> = rows.iter().map(|row| &row["verdict"]).collect();
    assert_eq!(verdicts, ["allow", "deny", "deny", "deny", "deny"]);
    assert!(rows.iter().all(|row| row["reason"].as_str().is_some_and(|reason| !reason.is_empty())));
    for (kind, allowed, denied) in
        [("host", "api.example.com", "localhost"), ("address", "8.8.8.8", "10.0.0.1")]
    {
        let input = format!("\"{allowed}\"\n\"{denied}\"\n");
        let output = run(vec![], &["upstream", "check", "--kind", kind], &input).await;
        let shown = text(&output.stdout);
        let mut lines = shown.lines();
        assert!(lines.next().is_some_and(|line| line.contains("\"allow\"")), "{kind}: {shown}");
        assert!(lines.next().is_some_and(|line| line.contains("\"deny\"")), "{kind}: {shown}");
    }
}

#[tokio::test]
async fn the_demo_holds() {
    let output = run(vec![], &["demo"], "").await;
    let shown = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{shown}{}", text(&output.stderr));
    assert!(shown.contains("steps held") && !shown.contains('✘'), "{shown}");
}
