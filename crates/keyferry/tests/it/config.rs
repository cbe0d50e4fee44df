//! Configuration: what is wrong is named by its path, and nothing is served until it is right.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{Gateway, OPERATOR, Options, Provider, a_key, command, request};

/// A folder with a configuration on free ports.
fn folder(more: &str) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let listeners = "listeners: [{bind: '127.0.0.1:0', resources: [gateway, admin, health]}]";
    let listeners = if more.contains("listeners:") { "" } else { listeners };
    let data_dir =
        if more.contains("data_dir:") { String::new() } else { format!("data_dir: {}\n", data.display()) };
    fs::write(folder.path().join("keyferry.yaml"), format!("{data_dir}{listeners}\n{more}\n"))
        .expect("a file");
    folder
}

fn serve(folder: &Path) -> Command {
    let mut command = command();
    command.args(["serve", "--config"]).arg(folder.join("keyferry.yaml")).current_dir(folder);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

/// Runs a gateway that is expected not to start.
fn refused(command: &mut Command) -> (Output, String) {
    let mut child = command.spawn().expect("the program starts");
    let deadline = Instant::now() + Duration::from_secs(10);
    while child.try_wait().expect("a child").is_none() {
        if Instant::now() > deadline {
            let _ = child.kill();
            panic!("it started");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let output = child.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output, said)
}

#[test]
fn a_wrong_setting_refuses_the_start_and_is_named_by_its_path() {
    for (path, more) in [
        ("moon", "moon: 1"),
        ("byok.enabld", "byok: {enabld: true}"),
        ("byok.daily_quota", "byok: {daily_quota: -1}"),
        ("upstream.first_byte_timeout", "upstream: {first_byte_timeout: soon}"),
        ("upstream.max_response_bytes", "upstream: {max_response_bytes: 5}"),
        ("upstream.dial[0].host", "upstream: {dial: [{host: localhost, address: '127.0.0.1:1'}]}"),
        ("upstream.dial[0].address", "upstream: {dial: [{host: api.openai.com, address: 'there'}]}"),
        ("upstream.nameservers[0]", "upstream: {nameservers: [there]}"),
        ("rate_limits.caller", "rate_limits: {caller: 0/s}"),
        ("listeners[0].bind", "listeners: [{bind: there, resources: [gateway]}]"),
        ("listeners[0].resources[0]", "listeners: [{bind: '127.0.0.1:0', resources: [moon]}]"),
        ("listeners[0]", "listeners: [{bind: '127.0.0.1:0', resources: [gateway], moon: 1}]"),
        (
            "providers.acme.base_url",
            "providers: {acme: {kind: openai-compatible, base_url: 'http://llm.acme.com'}}",
        ),
        (
            "providers.acme.base_url",
            "providers: {acme: {kind: openai-compatible, base_url: 'https://10.0.0.1'}}",
        ),
        ("providers.openai.base_url", "providers: {openai: {base_url: 'https://llm.acme.com'}}"),
        ("storage.url", "storage: {url: 'mysql://there'}"),
        ("storage.journal", "storage: {journal: perhaps}"),
        ("kms.kind", "kms: {kind: moon}"),
        ("prices.gpt", "prices: {gpt: {input: '1', output: '1'}}"),
        ("prices.nobody/m", "prices: {nobody/m: {input: '1', output: '1'}}"),
        ("prices.openai/m.input", "prices: {openai/m: {input: '1,5', output: '1'}}"),
        ("prices.openai/m.output", "prices: {openai/m: {input: '1', output: '0.0000001'}}"),
        ("budgets.hold_ttl", "budgets: {hold_ttl: 1s}"),
        ("providers.openai.platform_key", "providers: {openai: {platform_key: short}}"),
        ("providers.openai.platform_key_file", "providers: {openai: {platform_key_file: /nowhere}}"),
        ("data_dir", "data_dir: '${KEYFERRY_TEST_NOT_SET}'"),
        (
            "upstream.dial[0].plaintext",
            "environment: production\nupstream: {dial: [{host: api.openai.com, address: '127.0.0.1:1', plaintext: true}]}",
        ),
    ] {
        let folder = folder(more);
        let (output, said) = refused(&mut serve(folder.path()));
        assert_eq!(output.status.code(), Some(1), "{more}: {said}");
        assert!(said.contains(&format!(": {path}")), "{more}: {said}");
        assert!(!folder.path().join("data").exists(), "{more}: nothing is made before all is checked");
        let check = command()
            .args(["config", "check", "--json", "--config"])
            .arg(folder.path().join("keyferry.yaml"))
            .output();
        let check = check.expect("it runs");
        assert_eq!(check.status.code(), Some(1), "{more}");
        let verdict: Value = serde_json::from_slice(&check.stdout).expect("JSON");
        assert_eq!(verdict["valid"], false);
        assert!(verdict["path"].as_str().is_some_and(|found| found.starts_with(path)), "{more}: {verdict}");
    }
}

#[test]
fn what_is_no_yaml_or_not_there_is_said_with_the_name_of_the_file() {
    let folder = folder("");
    let file = folder.path().join("keyferry.yaml");
    for text in ["{", "a: [", "- 1\n- 2\n", "a: 1\na: 2\n", "\t\tx"] {
        fs::write(&file, text).expect("a file");
        let (output, said) = refused(&mut serve(folder.path()));
        assert_eq!(output.status.code(), Some(1), "{text:?}");
        let named = ["keyferry.yaml", "the file", ": a:"].iter().any(|name| said.contains(name));
        assert!(named, "{text:?}: {said}");
    }
    fs::remove_file(&file).expect("it was there");
    let (output, said) = refused(&mut serve(folder.path()));
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("keyferry.yaml") && said.contains("cannot be read"), "{said}");
}

#[test]
fn a_key_in_the_wrong_place_is_not_quoted() {
    let key = a_key("sk-proj-");
    for more in [
        format!("byok: {{enabled: {key}}}"),
        format!("rate_limits: {{caller: {key}}}"),
        format!("providers: {{openai: {key}}}"),
        format!("kms: {{kind: {key}}}"),
        format!("storage: {{url: '{key}'}}"),
    ] {
        let (_, said) = refused(&mut serve(folder(&more).path()));
        assert!(!said.contains(&key), "{said}");
    }
}

#[test]
fn a_master_secret_that_is_none_refuses_the_start() {
    let good = "0123456789abcdef".repeat(4);
    for (name, text, mode) in [
        ("empty", String::new(), 0o600),
        ("short", good[..62].to_owned(), 0o600),
        ("long", format!("{good}00"), 0o600),
        ("not hex", good.replace('a', "x"), 0o600),
        ("all zeros", "0".repeat(64), 0o600),
        ("others may read it", good.clone(), 0o644),
        ("its group may read it", good.clone(), 0o640),
    ] {
        let folder = folder("kms: {kind: local, master_secret_file: ./secret}");
        let file = folder.path().join("secret");
        fs::write(&file, &text).expect("a file");
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).expect("a mode");
        let (output, said) = refused(&mut serve(folder.path()));
        assert_eq!(output.status.code(), Some(1), "{name}");
        assert_eq!(said.matches("master secret's file").count(), 1, "{name}: said once: {said}");
        assert!(text.len() < 10 || !said.contains(&text), "{name}: the secret is quoted: {said}");
    }
    let folder = folder("kms: {kind: local, master_secret_file: ./secret}");
    let (output, said) = refused(&mut serve(folder.path()));
    assert_eq!((output.status.code(), said.contains("master secret")), (Some(1), true), "not there: {said}");
}

#[tokio::test]
async fn without_its_key_file_a_database_is_not_opened_under_a_new_one() {
    let provider = Provider::right().await;
    let mut gateway = Gateway::before(&provider).await;
    gateway.tenant_with_key("openai", &a_key("sk-")).await;
    gateway.sigterm_and_wait().await;
    let file = gateway.dir().join("data/master.key");
    fs::remove_file(&file).expect("it was there");
    let (output, said) = refused(&mut serve(gateway.dir()));
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("missing") && said.contains("master.key"), "{said}");
    assert!(!file.exists(), "no new one was made");
}

#[tokio::test]
async fn a_store_is_not_opened_under_another_master_secret() {
    let provider = Provider::right().await;
    let mut gateway = Gateway::before(&provider).await;
    let tenant = gateway.tenant_with_key("openai", &a_key("sk-")).await;
    gateway.sigterm_and_wait().await;
    let file = gateway.dir().join("data/master.key");
    let right = fs::read(&file).expect("a file");
    fs::write(&file, "0123456789abcdef".repeat(4) + "\n").expect("a file");
    let (output, said) = refused(&mut serve(gateway.dir()));
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("this store was made under the root local:"), "{said}");
    fs::write(&file, right).expect("a file");
    gateway.restart().await;
    gateway.chat(&tenant.caller_token).await.expect(200);
}

#[tokio::test]
async fn what_is_made_is_its_owners_alone() {
    let provider = Provider::right().await;
    let gateway = Gateway::before(&provider).await;
    gateway.tenant_with_key("openai", &a_key("sk-")).await;
    let data = gateway.dir().join("data");
    let mode = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    assert_eq!(mode(&data), 0o700);
    assert_eq!(mode(&data.join("master.key")), 0o600);
    for entry in fs::read_dir(&data).expect("a folder") {
        let path = entry.expect("a file").path();
        assert_eq!(mode(&path) & 0o077, 0, "{}", path.display());
    }
    let secret = fs::read_to_string(data.join("master.key")).expect("a file");
    assert!(secret.trim().len() == 64 && secret.trim().bytes().all(|b| b.is_ascii_hexdigit()));
}

/// Reads what a gateway says until it has started.
fn started(mut child: Child) -> (Child, String) {
    use std::io::{BufRead, BufReader};
    let mut said = String::new();
    let mut lines = BufReader::new(child.stderr.take().expect("piped"));
    while !said.contains("\"event\":\"started\"") {
        assert!(lines.read_line(&mut said).expect("text") > 0, "{said}");
    }
    (child, said)
}

#[test]
fn the_first_start_shows_an_operator_token_and_the_second_does_not() {
    let folder = folder("");
    for shown in [true, false] {
        let (mut child, said) = started(serve(folder.path()).spawn().expect("it starts"));
        assert_eq!(said.matches("Operator token").count(), usize::from(shown), "{said}");
        assert_eq!(said.contains("sk-kf-"), shown, "{said}");
        let _ = child.kill();
        let _ = child.wait();
    }
}

#[test]
fn an_operator_token_that_is_given_is_not_shown_and_not_too_short() {
    let folder = folder("");
    let (output, said) = refused(serve(folder.path()).env("KEYFERRY_OPERATOR_TOKEN", "fifteen-letters"));
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("KEYFERRY_OPERATOR_TOKEN") && !said.contains("fifteen"), "{said}");
    let (mut child, said) =
        started(serve(folder.path()).env("KEYFERRY_OPERATOR_TOKEN", OPERATOR).spawn().expect("it starts"));
    assert!(!said.contains("Operator token") && !said.contains(OPERATOR), "{said}");
    let _ = child.kill();
    let _ = child.wait();
}

#[tokio::test]
async fn each_listener_serves_its_resources_and_nothing_else() {
    let provider = Provider::right().await;
    let listeners = "listeners:\n  - {bind: '127.0.0.1:0', resources: [gateway]}\n  - {bind: '127.0.0.1:0', resources: [admin]}\n  - {bind: '127.0.0.1:0', resources: [metrics, health]}\n";
    let gateway = Gateway::start(Options::to(&provider).listeners(listeners)).await;
    let ports = gateway.ports().to_vec();
    let bearer = format!("Bearer {OPERATOR}");
    let headers = [("authorization", bearer.as_str())];
    for (path, serves) in
        [("/api/v1/tenants", 1), ("/openapi.json", 1), ("/metrics", 2), ("/healthz", 2), ("/readyz", 2)]
    {
        for (listener, port) in ports.iter().enumerate() {
            let status =
                request("GET", &format!("http://127.0.0.1:{port}{path}"), &headers, b"").await.status();
            // Where the gateway is served, a first segment that is no provider is a wrong request.
            let refused = matches!(status, 400 | 404);
            assert!(
                if listener == serves { status == 200 } else { refused },
                "{path} at {listener}: {status}"
            );
        }
    }
    let chat = "/openai/v1/chat/completions";
    for (port, status) in ports.iter().zip([401, 404, 404]) {
        request("POST", &format!("http://127.0.0.1:{port}{chat}"), &[], b"{}").await.expect(status);
    }
}

#[tokio::test]
async fn a_unix_socket_serves_as_a_port_does() {
    let provider = Provider::right().await;
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("gateway.sock");
    let listeners = format!(
        "listeners:\n  - {{bind: '127.0.0.1:0', resources: [gateway, admin, health]}}\n  - {{bind: 'unix:{}', resources: [gateway, health]}}\n  - {{bind: '127.0.0.1:0', resources: [health]}}\n",
        socket.display()
    );
    let gateway = Gateway::start(Options::to(&provider).listeners(&listeners)).await;
    let tenant = gateway.tenant_with_key("openai", &a_key("sk-")).await;
    let stream = tokio::net::UnixStream::connect(&socket).await.expect("it listens");
    let mut connection = crate::harness::Connection::over(stream);
    let bearer = format!("Bearer {}", tenant.caller_token);
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    connection.request("POST", "/openai/v1/chat/completions", &headers, b"{\"model\":\"m\"}").await;
    connection.reply().await.expect(200);
    connection.request("GET", "/api/v1/tenants", &headers, b"").await;
    let status = connection.reply().await.status();
    assert!(matches!(status, 400 | 404), "{status}");
}

#[tokio::test]
async fn a_listener_replaces_no_socket_that_lives_and_takes_no_folder_of_others() {
    let folder = tempfile::tempdir().expect("a folder");
    let (place, file) = (folder.path().join("gateway.sock"), folder.path().join("keyferry.yaml"));
    let config = format!(
        "data_dir: '{}'\nlisteners: [{{bind: 'unix:{}', resources: [gateway]}}]\n",
        folder.path().join("data").display(),
        place.display()
    );
    fs::write(&file, config).expect("a file");
    let refused = || {
        let output = command().args(["serve", "--config"]).arg(&file).output().expect("it runs");
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    // One for datagrams, which answers no connection.
    let living = std::os::unix::net::UnixDatagram::bind(&place).expect("a socket");
    let said = refused();
    assert!(said.contains("another process answers"), "{said}");
    let sender = std::os::unix::net::UnixDatagram::unbound().expect("a socket");
    sender.send_to(b"x", &place).expect("it is there");
    drop(living);
    fs::remove_file(&place).expect("it is there");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).expect("a mode");
    let said = refused();
    assert!(said.contains("others may write"), "{said}");
}

#[tokio::test]
async fn a_configured_provider_has_a_surface_of_its_own() {
    let provider = Provider::right().await;
    let yaml = "providers: {acme: {kind: openai-compatible, base_url: 'https://llm.acme.com/base/v1'}}";
    let options = Options::to(&provider).dial("llm.acme.com", provider.address, true).yaml(yaml);
    let gateway = Gateway::start(options).await;
    let key = a_key("acme-");
    let tenant = gateway.tenant_with_key("acme", &key).await;
    let body = json!({"model": "m", "messages": []});
    let reply = gateway.post(&tenant.caller_token, "/acme/v1/chat/completions", &[], &body).await.expect(200);
    assert_eq!(reply.header("x-keyferry-credential-id"), tenant.credential_id);
    let seen = provider.last();
    assert_eq!((seen.target.as_str(), seen.header("host")), ("/base/v1/chat/completions", "llm.acme.com"));
    assert_eq!(seen.header("authorization"), format!("Bearer {key}"));
    gateway.chat(&tenant.caller_token).await.refused(404, "BYOK_KEY_NOT_FOUND");
}

#[tokio::test]
async fn a_provider_that_is_pointed_elsewhere_does_not_get_the_old_key() {
    let provider = Provider::right().await;
    let yaml = |host: &str| {
        format!("providers: {{acme: {{kind: openai-compatible, base_url: 'https://{host}/v1'}}}}")
    };
    let options = Options::to(&provider)
        .dial("llm.acme.com", provider.address, true)
        .dial("llm.thief.com", provider.address, true)
        .yaml(&yaml("llm.acme.com"));
    let mut gateway = Gateway::start(options).await;
    let tenant = gateway.tenant_with_key("acme", &a_key("acme-")).await;
    gateway.sigterm_and_wait().await;
    let text = fs::read_to_string(gateway.config()).expect("a file");
    fs::write(gateway.config(), text.replace(&yaml("llm.acme.com"), &yaml("llm.thief.com"))).expect("a file");
    gateway.restart().await;
    let body = json!({"model": "m", "messages": []});
    let reply = gateway.post(&tenant.caller_token, "/acme/v1/chat/completions", &[], &body).await;
    reply.refused(503, "BYOK_SERVICE_UNAVAILABLE");
    assert_eq!(provider.count(), 0);
}

#[tokio::test]
async fn values_come_from_the_environment() {
    let provider = Provider::right().await;
    let options = Options::to(&provider)
        .yaml("byok: {daily_quota: \"${KEYFERRY_TEST_QUOTA}\"}")
        .env("KEYFERRY_TEST_QUOTA", "3");
    let gateway = Gateway::start(options).await;
    let tenant = gateway.operator("POST", "/tenants", &json!({"id": "acme"})).await.expect(201).json();
    assert_eq!(tenant["daily_quota"], 3);
}

#[tokio::test]
async fn what_has_no_effect_yet_and_what_is_dangerous_is_said_at_the_start() {
    let provider = Provider::right().await;
    let key = a_key("sk-proj-");
    let yaml = format!("providers: {{openai: {{platform_key: {key}}}}}\nbudgets: {{hold_ttl: 300s}}");
    let gateway = Gateway::start(Options::to(&provider).yaml(&yaml)).await;
    gateway.logged(&["plaintext_upstream"]).await;
    assert!(!gateway.log().contains(&key));
    gateway.tenant("acme").await;
    let token = gateway.token("acme", &json!({"role": "caller"})).await;
    gateway.chat(&token).await.refused(404, "BYOK_KEY_NOT_FOUND");
    assert_eq!(provider.count(), 0, "the platform's key serves no tenant unasked");
}
