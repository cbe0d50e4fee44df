//! From a file to a checked configuration.

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::{Config, ConfigError, check, env, file::File};

/// Loads and checks the configuration of a file, or the defaults without one.
pub fn load(path: Option<&Path>) -> Result<Config, ConfigError> {
    let file = path.map(read_file).transpose()?.unwrap_or_default();
    check(file)
}

/// Reads a file into its shape: YAML, then `${ENV}`, then the types.
pub fn read_file(path: &Path) -> Result<File, ConfigError> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path)
        .map_err(|error| ConfigError::at(&name, format!("cannot be read: {error}")))?;
    parse(&text, &name, &|name| std::env::var(name).ok())
}

fn parse(text: &str, name: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<File, ConfigError> {
    if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
        return Ok(File::default());
    }
    let mut tree: Value =
        serde_saphyr::from_str(text).map_err(|error| ConfigError::at(name, not_yaml(&error)))?;
    no_lists_for_mappings(&tree, "")?;
    env::interpolate(&mut tree, "", env)?;
    let mut track = serde_path_to_error::Track::new();
    let reader = serde_path_to_error::Deserializer::new(tree, &mut track);
    File::deserialize(reader).map_err(|error| {
        let path = track.path().to_string();
        let path = if path == "." { name.to_owned() } else { path };
        ConfigError::at(path, error)
    })
}

/// Where the YAML goes wrong, without the text around it that the library quotes.
fn not_yaml(error: &serde_saphyr::Error) -> String {
    match error.location() {
        Some(at) => format!("is not valid YAML at line {}, column {}", at.line(), at.column()),
        None => "is not valid YAML".to_owned(),
    }
}

const LISTS: [&str; 8] =
    ["listeners", "resources", "dial", "nameservers", "candidates", "previous", "tiers", "models"];

/// The places where a list belongs. Elsewhere the derived readers would take one for a mapping, by
/// position.
fn no_lists_for_mappings(value: &Value, path: &str) -> Result<(), ConfigError> {
    match value {
        Value::Array(items) => {
            let last = path.rsplit('.').next().unwrap_or_default();
            let last = last.split('[').next().unwrap_or_default();
            if !LISTS.contains(&last) {
                let path = if path.is_empty() { "the file" } else { path };
                return Err(ConfigError::at(path, "is a list, but a list does not belong here"));
            }
            for (at, item) in items.iter().enumerate() {
                no_lists_for_mappings(item, &format!("{path}[{at}]"))?;
                if item.is_array() {
                    return Err(ConfigError::at(format!("{path}[{at}]"), "is a list within a list"));
                }
            }
            Ok(())
        }
        Value::Object(fields) => fields.iter().try_for_each(|(name, field)| {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            no_lists_for_mappings(field, &path)
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error_of(text: &str) -> String {
        match parse(text, "keyferry.yaml", &|_| None).and_then(check) {
            Ok(_) => String::new(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn the_path_of_a_wrong_value_is_named() {
        for (text, path) in [
            ("bogus: 1", "bogus"),
            ("byok: {enabld: true}", "byok.enabld"),
            ("byok: {enabled: perhaps}", "byok.enabled"),
            ("byok: {daily_quota: -1}", "byok.daily_quota"),
            ("upstream: {connect_timeout: 5}", "upstream.connect_timeout"),
            ("upstream: {dial: [{host: api.openai.com}]}", "upstream.dial[0]"),
            ("upstream: {dial: [{host: localhost, address: '127.0.0.1:1'}]}", "upstream.dial[0].host"),
            ("upstream: {dial: [{host: api.openai.com, address: 'x'}]}", "upstream.dial[0].address"),
            ("rate_limits: {caller: fast}", "rate_limits.caller"),
            ("listeners: [{bind: '127.0.0.1', resources: [gateway]}]", "listeners[0].bind"),
            ("listeners: [{bind: '127.0.0.1:1', resources: [moon]}]", "listeners[0].resources[0]"),
            ("listeners: []", "listeners"),
            (
                "providers: {acme: {kind: openai-compatible, base_url: 'http://x.example/v1'}}",
                "providers.acme.base_url",
            ),
            ("providers: {acme: {base_url: 'https://llm.acme.example/v1'}}", "providers.acme.kind"),
            ("providers: {acme: {kind: openai-compatible}}", "providers.acme.base_url"),
            (
                "providers: {api: {kind: openai-compatible, base_url: 'https://llm.acme.example'}}",
                "providers.api",
            ),
            ("providers: {openai: {base_url: 'https://llm.acme.example'}}", "providers.openai.base_url"),
            ("storage: {url: 'mysql://x'}", "storage.url"),
            ("counters: {url: 'redis://'}", "counters.url"),
            ("counters: {url: 'memcached://x'}", "counters.url"),
            ("counters: {url: memory, url_file: f}", "counters.url"),
            ("counters: {url_file: /nowhere}", "counters.url_file"),
            ("counters: {url: 'redis://x', ca: c}", "counters.ca"),
            ("storage: {url: 'postgres://u@x/db'}\nkms: {master_secret_file: k}", "counters.url"),
            ("storage: {url: 'postgres://u@x/db'}\ncounters: {url: 'redis://x'}", "kms"),
            ("models: {fast: {candidates: []}}", "models.fast.candidates"),
            ("models: {fast: {candidates: [gpt-4.1]}}", "models.fast.candidates[0]"),
            ("models: {fast: {candidates: [openai/gpt, moon/x]}}", "models.fast.candidates[1]"),
            ("models: {fast: {candidates: [openai/gpt, openai/gpt]}}", "models.fast.candidates[1]"),
            ("models: {fast: {tier: gold, candidates: [openai/gpt]}}", "models.fast.tier"),
            ("models: {a/b: {candidates: [openai/gpt]}}", "models.a/b"),
            ("models: {fast: {candidates: [\"openai/a\\nb\"]}}", "models.fast.candidates[0]"),
            ("models: [1]", "models"),
            ("tiers: []", "tiers"),
            ("tiers: [{}]", "tiers[0]"),
            ("tiers: [[free]]", "tiers[0]"),
            ("tiers: [{name: ''}]", "tiers[0].name"),
            ("tiers: [{name: free}, {name: free}]", "tiers[1].name"),
            ("tiers: [{name: free, models: [moon/x]}]", "tiers[0].models[0]"),
            ("tiers: [{name: free, models: ['openai/*', fast]}]", "tiers[0].models[1]"),
            ("tiers: [{name: free, models: ['openai/*x']}]", "tiers[0].models[0]"),
            (
                "tiers: [{name: free, models: [best]}, {name: pro}]\nmodels: {best: {tier: pro, candidates: [openai/gpt]}}",
                "tiers[0].models[0]",
            ),
            ("tiers: [{name: free, rate_limits: {caller: fast}}]", "tiers[0].rate_limits.caller"),
            ("tiers: [{name: free, rate_limits: {key_test: 1/s}}]", "tiers[0].rate_limits.key_test"),
            ("tiers: [{name: free, budget_micro_usd: -1}]", "tiers[0].budget_micro_usd"),
            ("kms: {kind: moon}", "kms.kind"),
            ("kms: {kind: vault}", "kms.address"),
            ("kms: {kind: vault, address: 'https://vault.example'}", "kms.token_file"),
            ("kms: {kind: aws, key_id: k}", "kms.region"),
            ("kms: {kind: pkcs11, module: m, token_label: t, key_label: k}", "kms.pin_file"),
            ("kms: {kind: vault, key_id: k}", "kms.key_id"),
            ("kms: {address: 'https://vault.example'}", "kms.address"),
            ("kms: {kind: vault, token_file: t, address: 'http://vault.example'}", "kms.address"),
            ("kms: {kind: vault, token_file: t, address: 'https://vault.example/v1'}", "kms.address"),
            ("kms: {kind: vault, token_file: t, address: 'http://127.0.0.1:8200', ca: c}", "kms.ca"),
            ("kms: {kind: vault, token_file: t, address: 'https://vault.example:99999'}", "kms.address"),
            ("kms: {kind: vault, token_file: t, address: 'vault.example'}", "kms.address"),
            ("kms: {kind: vault, token_file: t, address: 'https://v.example', mount: 'a//b'}", "kms.mount"),
            ("kms: {kind: vault, token_file: t, address: 'https://v.example', key: 'a/b'}", "kms.key"),
            (
                "kms: {kind: vault, token_file: t, address: 'https://v.example', namespace: 'a b'}",
                "kms.namespace",
            ),
            ("kms: {kind: aws, region: eu-central-1, key_id: ''}", "kms.key_id"),
            ("kms: {kind: aws, region: eu-central-1, key_id: 'a key'}", "kms.key_id"),
            ("kms: {kind: aws, region: 'eu central', key_id: k}", "kms.region"),
            (
                "kms: {kind: aws, region: eu-central-1, key_id: k, endpoint: 'http://kms.example'}",
                "kms.endpoint",
            ),
            ("kms: {previous: [{kind: aws, region: 'eu central', key_id: k}]}", "kms.previous[0].region"),
            ("kms: {cache_ttl: 301s}", "kms.cache_ttl"),
            ("kms: {previous: [{kind: local}]}", "kms.previous[0].master_secret_file"),
            ("kms: {master_secret_file: k, previous: [{master_secret_file: k}]}", "kms.previous[0]"),
            ("kms: {previous: [{master_secret_file: k, cache_ttl: 1s}]}", "kms.previous[0]"),
            ("data_dir: '${NOT_SET}'", "data_dir"),
            (
                "environment: production\nupstream: {dial: [{host: api.openai.com, address: '127.0.0.1:1', plaintext: true}]}",
                "upstream.dial[0].plaintext",
            ),
        ] {
            let error = error_of(text);
            assert!(error.starts_with(&format!("{path}: ")), "{text}\n→ {error}");
        }
    }

    #[test]
    fn the_example_of_the_reference_is_accepted() {
        let text = include_str!("../../../../docs/reference/keyferry.example.yaml");
        let env = |_: &str| Some("from-the-environment".to_owned());
        let config = parse(text, "example", &env).and_then(check);
        assert!(config.is_ok(), "{:?}", config.err());
    }

    #[test]
    fn nothing_at_all_is_a_configuration() {
        assert_eq!(error_of(""), "");
        assert_eq!(error_of("# only a comment\n"), "");
    }
}
