//! Keys given to the program in the wrong way: as arguments, in the configuration, on standard input.

use super::Waters;
use crate::harness::OPERATOR;

#[tokio::test]
async fn keys_as_arguments_are_not_said_back() {
    let waters = Waters::open().await;
    let url = waters.gateway.url();
    let tenant = waters.tenant.id.clone();
    let commands: [&[&str]; 24] = [
        &["KEY"],
        &["--KEY"],
        &["serve", "KEY"],
        &["serve", "--api-key", "KEY"],
        &["serve", "--log-level", "KEY"],
        &["serve", "--log-format=KEY"],
        &["serve", "--config", "KEY"],
        &["config", "check", "--config", "KEY"],
        &["config", "check", "--config", "KEY", "--json"],
        &["config", "KEY"],
        &["credential", "add", "KEY"],
        &["credential", "add", "--tenant", "TENANT", "--provider", "openai", "KEY"],
        &["credential", "add", "--tenant", "TENANT", "--provider", "openai", "--api-key", "KEY"],
        &["credential", "add", "--tenant", "KEY", "--provider", "openai"],
        &["credential", "add", "--tenant", "TENANT", "--provider", "KEY"],
        &["credential", "rotate", "--tenant", "TENANT", "KEY"],
        &["credential", "test", "--tenant", "TENANT", "KEY"],
        &["credential", "revoke", "--tenant", "TENANT", "KEY"],
        &["credential", "list", "--tenant", "KEY"],
        &["tenant", "create", "--KEY"],
        &["token", "create", "--tenant", "KEY", "KEY"],
        &["audit", "verify", "--config", "KEY"],
        &["audit", "verify", "--file", "KEY"],
        &["issuer", "KEY"],
    ];
    for arguments in commands {
        for prefix in ["sk-proj-", "AIzaSy"] {
            let way = format!("as an argument: {}", arguments.join(" "));
            let key = waters.key_like(&way, prefix);
            let arguments: Vec<String> =
                arguments.iter().map(|text| text.replace("KEY", &key).replace("TENANT", &tenant)).collect();
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            let env = [("KEYFERRY_URL", url.as_str()), ("KEYFERRY_TOKEN", OPERATOR)];
            waters.run(&way, &arguments, &env, b"sk-proj-another-key-0123456789");
        }
    }
    waters.assert_clean().await;
}

#[tokio::test]
async fn keys_on_standard_input_are_not_said_back() {
    let waters = Waters::open().await;
    let url = waters.gateway.url();
    let tenant = waters.tenant.id.clone();
    for form in [
        "KEY",
        "KEY\n",
        "KEY\r\n",
        "KEY KEY",
        "KEY\nKEY\n",
        "\"KEY\"",
        "KEY\\",
        "export OPENAI_API_KEY=KEY",
        "KEY\0",
        "\u{feff}KEY",
    ] {
        for (how, token) in [
            ("with a token", OPERATOR),
            ("with a wrong token", "wrong-token-wrong-token"),
            ("with a key as the token", "KEY"),
        ] {
            let way = format!("on standard input: {form:?} {how}");
            let key = waters.key(&way);
            let token = token.replace("KEY", &waters.key(&way));
            let env = [("KEYFERRY_URL", url.as_str()), ("KEYFERRY_TOKEN", token.as_str())];
            let input = form.replace("KEY", &key);
            let label = format!("l{}", super::random(8));
            waters.run(
                &way,
                &["credential", "add", "--tenant", &tenant, "--provider", "openai", "--label", &label],
                &env,
                input.as_bytes(),
            );
            waters.run(
                &way,
                &["credential", "rotate", "--tenant", &tenant, &waters.tenant.credential_id, "--json"],
                &env,
                input.as_bytes(),
            );
        }
    }
    waters.assert_clean().await;
}

#[tokio::test]
async fn keys_in_a_wrong_configuration_are_not_said_back() {
    let waters = Waters::open().await;
    let texts = [
        "KEY: 1",
        "KEY",
        "- KEY",
        "\"KEY",
        "a: [KEY",
        "{KEY: ",
        "data_dir: [KEY]",
        "environment: KEY",
        "listeners: KEY",
        "listeners: [{bind: KEY, resources: [gateway]}]",
        "listeners: [{bind: '127.0.0.1:0', resources: [KEY]}]",
        "listeners: [{bind: '127.0.0.1:0', resources: [gateway], KEY: 1}]",
        "listeners: [{bind: 'unix:KEY', resources: [gateway]}]",
        "storage: {url: KEY}",
        "storage: KEY",
        "counters: {url: KEY}",
        "counters: {url: 'redis://:KEY@127.0.0.1/'}",
        "kms: {kind: KEY}",
        "kms: KEY",
        "byok: {enabled: KEY}",
        "byok: {KEY: true}",
        "byok: {daily_quota: KEY}",
        "providers: KEY",
        "providers: {openai: KEY}",
        "providers: {openai: {KEY: 1}}",
        "providers: {openai: {api_key: KEY}}",
        "providers: {openai: {platform_key: [KEY]}}",
        "providers: {openai: {platform_key: {a: KEY}}}",
        "providers: {openai: {base_url: KEY}}",
        "providers: {KEY: {}}",
        "providers: {KEY: {kind: openai-compatible}}",
        "providers: {acme: {kind: KEY, base_url: 'https://llm.acme.example'}}",
        "providers: {acme: {kind: openai-compatible, base_url: 'https://KEY@llm.acme.example'}}",
        "providers: {acme: {kind: openai-compatible, base_url: 'https://llm.acme.example/?key=KEY'}}",
        "providers: {acme: {kind: openai-compatible, base_url: KEY}}",
        "rate_limits: {caller: KEY}",
        "rate_limits: KEY",
        "prices: {KEY: 1}",
        "prices: {openai/x: KEY}",
        "models: {KEY: KEY}",
        "models: {fast: {candidates: KEY}}",
        "upstream: {connect_timeout: KEY}",
        "upstream: {max_response_bytes: KEY}",
        "upstream: {dial: [{host: KEY, address: '127.0.0.1:1'}]}",
        "upstream: {dial: [{host: api.openai.com, address: KEY}]}",
        "upstream: {nameservers: [KEY]}",
        "upstream: {KEY: 1}",
        "data_dir: '${KEY}'",
        "data_dir: '$KEY'",
        "data_dir: '${KEY'",
        "budgets: {hold_ttl: KEY}",
    ];
    for text in texts {
        for prefix in ["sk-proj-", "AIzaSy"] {
            let way = format!("in the configuration: {text}");
            let key = waters.key_like(&way, prefix);
            let folder = tempfile::tempdir().expect("a folder");
            let path = folder.path().join("keyferry.yaml");
            std::fs::write(&path, text.replace("KEY", &key)).expect("a file");
            let path = path.display().to_string();
            waters.run(&way, &["config", "check", "--config", &path], &[], b"");
            waters.run(&way, &["config", "check", "--json", "--config", &path], &[], b"");
            waters.run(&way, &["upstream", "check", "--config", &path], &[], b"\"https://api.openai.com\"\n");
        }
    }
    waters.assert_clean().await;
}

#[tokio::test]
async fn a_platform_key_in_the_configuration_leaves_no_trace() {
    use crate::harness::{Gateway, Options, Provider};
    let waters = Waters::open().await;
    let provider = Provider::right().await;
    let literal = waters.key("as a platform key");
    let yaml = format!("providers: {{openai: {{platform_key: {literal}}}}}");
    let mut gateway = Gateway::start(Options::to(&provider).yaml(&yaml)).await;
    let tenant = gateway.tenant_with_key("anthropic", &waters.key("beside a platform key")).await;
    let reply = gateway.chat(&tenant.caller_token).await;
    waters.keep("without a key of its own", format!("{:?} {}", reply.head, reply.text()).into_bytes());
    assert_eq!(provider.count(), 0, "a tenant's request was served by the operator's key");
    let metrics =
        crate::harness::request("GET", &format!("{}/metrics", gateway.metrics_url()), &[], b"").await;
    waters.keep("metrics", metrics.body);
    gateway.sigterm_and_wait().await;
    waters.keep("log", gateway.log().into_bytes());
    let mut places = Vec::new();
    super::files(&gateway.dir().join("data"), &mut places);
    for (place, text) in places {
        waters.keep(&place, text);
    }
    waters.assert_clean().await;
}
