//! From the shape people write to values that hold: the checks that need more than types.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use keyferry_core::{
    admission::Policy,
    dialect::Dialect,
    limits::RateLimits,
    net::{base_url::BaseUrl, host::ProviderHost},
    provider::{self, Providers},
};

use super::{
    Bind, Config, ConfigError, Dial, Listener, ListenerTls, Platform, Resources, Upstream, catalogue,
    file::{self, Environment, File, Resource},
    kms, platform, stores,
};

/// Checks a configuration as a whole.
pub fn check(file: File) -> Result<Config, ConfigError> {
    if i64::try_from(file.byok.daily_quota).is_err() {
        return Err(ConfigError::at("byok.daily_quota", "is too large"));
    }
    let production = file.environment == Environment::Production;
    let providers = providers(&file)?;
    let data_dir = file.data_dir.clone().unwrap_or_else(|| PathBuf::from("keyferry-data"));
    let (storage, counters) = stores::stores(&file, &data_dir)?;
    Ok(Config {
        production,
        listeners: listeners(file.listeners.as_deref())?,
        journal: stores::journal(&file.storage, &storage, &data_dir),
        storage,
        counters,
        kms: kms::kms(&file.kms, data_dir.join("master.key"))?,
        sealed_max_uses: sealed_max_uses(&file.byok)?,
        policy: Policy {
            enabled: file.byok.enabled,
            held: file.byok.held,
            carried: file.byok.carried,
            daily_quota: file.byok.daily_quota,
            rates: RateLimits {
                caller: file.rate_limits.caller,
                tenant: file.rate_limits.tenant,
                tenant_provider: file.rate_limits.tenant_provider,
                key_test: file.rate_limits.key_test,
            },
            session: file.byok.session,
            sealed: file.byok.sealed,
        },
        platform: Platform {
            keys: platform::keys(&file)?,
            prices: platform::prices(&file, &providers)?,
            hold_ttl: hold_ttl(file.budgets.hold_ttl.0)?,
        },
        catalogue: catalogue::catalogue(&file, &providers)?,
        providers,
        upstream: upstream(&file.upstream, production)?,
        data_dir,
    })
}

fn hold_ttl(written: Duration) -> Result<Duration, ConfigError> {
    if !(Duration::from_secs(10)..=Duration::from_secs(3600)).contains(&written) {
        return Err(ConfigError::at("budgets.hold_ttl", "expected `10s` to `1h`"));
    }
    Ok(written)
}

fn sealed_max_uses(byok: &file::Byok) -> Result<Option<u32>, ConfigError> {
    if !(1..=100).contains(&byok.sealed_max_uses) {
        return Err(ConfigError::at("byok.sealed_max_uses", "expected 1 to 100"));
    }
    Ok(byok.sealed.then_some(byok.sealed_max_uses))
}

fn listeners(written: Option<&[file::Listener]>) -> Result<Vec<Listener>, ConfigError> {
    let Some(written) = written else {
        let at = |port, resources| Listener {
            bind: Bind::Tcp(SocketAddr::from(([127, 0, 0, 1], port))),
            tls: None,
            resources,
        };
        let gateway = Resources { gateway: true, admin: true, health: true, metrics: false };
        let metrics = Resources { metrics: true, health: true, ..Resources::default() };
        return Ok(vec![at(8484, gateway), at(9484, metrics)]);
    };
    if written.is_empty() {
        return Err(ConfigError::at("listeners", "at least one is needed"));
    }
    written.iter().enumerate().map(|(i, one)| listener(i, one)).collect()
}

fn listener(index: usize, written: &file::Listener) -> Result<Listener, ConfigError> {
    let bind = match written.bind.strip_prefix("unix:") {
        Some(path) if path.starts_with('/') => Bind::Unix(PathBuf::from(path)),
        Some(_) => {
            let path = format!("listeners[{index}].bind");
            return Err(ConfigError::at(path, "a Unix socket needs an absolute path"));
        }
        None => Bind::Tcp(written.bind.parse().map_err(|_| {
            let path = format!("listeners[{index}].bind");
            ConfigError::at(path, "expected `address:port` or `unix:/path`")
        })?),
    };
    if written.resources.is_empty() {
        let path = format!("listeners[{index}].resources");
        return Err(ConfigError::at(path, "name at least one: gateway, admin, health, metrics"));
    }
    let has = |resource| written.resources.contains(&resource);
    Ok(Listener {
        bind,
        tls: written.tls.as_ref().map(|tls| ListenerTls { cert: tls.cert.clone(), key: tls.key.clone() }),
        resources: Resources {
            gateway: has(Resource::Gateway),
            admin: has(Resource::Admin),
            health: has(Resource::Health),
            metrics: has(Resource::Metrics),
        },
    })
}

fn providers(file: &File) -> Result<Providers, ConfigError> {
    let mut all = Providers::built_in();
    for (name, written) in &file.providers {
        let at = |field: &str| format!("providers.{name}{field}");
        if all.get(name).is_some() {
            if written.base_url.is_some() {
                let hint = "a built-in provider has its own; add another one of kind openai-compatible";
                return Err(ConfigError::at(at(".base_url"), hint));
            }
            if written.kind.is_some() {
                return Err(ConfigError::at(at(".kind"), "a built-in provider has its own"));
            }
            continue;
        }
        if written.kind.is_none() {
            return Err(ConfigError::at(at(".kind"), "expected `openai-compatible`"));
        }
        let Some(base_url) = &written.base_url else {
            return Err(ConfigError::at(at(".base_url"), "is missing: where is this provider?"));
        };
        let base = BaseUrl::parse(base_url).map_err(|e| ConfigError::at(at(".base_url"), e))?;
        let id = name.parse().map_err(|e| ConfigError::at(at(""), e))?;
        all.add(provider::Provider { id, dialect: Dialect::OpenAi, base })
            .map_err(|e| ConfigError::at(at(""), e))?;
    }
    Ok(all)
}

fn upstream(written: &file::Upstream, production: bool) -> Result<Upstream, ConfigError> {
    let mut dial = Vec::with_capacity(written.dial.len());
    for (index, one) in written.dial.iter().enumerate() {
        let at = |field: &str| format!("upstream.dial[{index}].{field}");
        if one.plaintext && production {
            return Err(ConfigError::at(at("plaintext"), "refused with `environment: production`"));
        }
        let host = ProviderHost::parse(&one.host).map_err(|e| ConfigError::at(at("host"), e))?;
        if dial.iter().any(|other: &Dial| other.host == host) {
            return Err(ConfigError::at(at("host"), "stands here twice"));
        }
        dial.push(Dial {
            host,
            address: one
                .address
                .parse()
                .map_err(|_| ConfigError::at(at("address"), "expected `address:port`"))?,
            plaintext: one.plaintext,
        });
    }
    let mut nameservers = Vec::new();
    for (index, text) in written.nameservers.iter().enumerate() {
        let at = format!("upstream.nameservers[{index}]");
        nameservers.push(text.parse().map_err(|_| ConfigError::at(at, "expected `address:port`"))?);
    }
    if !(1024..=1 << 30).contains(&written.max_response_bytes) {
        let at = "upstream.max_response_bytes";
        return Err(ConfigError::at(at, "expected 1024 to 1073741824 bytes"));
    }
    Ok(Upstream {
        connect_timeout: written.connect_timeout.0,
        first_byte_timeout: written.first_byte_timeout.0,
        idle_timeout: written.idle_timeout.0,
        total_timeout: written.total_timeout.0,
        max_response_bytes: written.max_response_bytes,
        extra_ca: written.extra_ca.clone(),
        dial,
        nameservers,
    })
}
