//! Configuration: read once, checked whole, handed out in sections.
//!
//! `file` holds the shape people write (and its JSON Schema); this module turns it into values
//! that need no further checking. What is wrong is reported with the path of the value.

mod catalogue;
mod checked;
mod env;
pub mod file;
pub mod kms;
mod load;
mod platform;
mod scalar;
mod secret_file;
mod span;
mod stores;

use keyferry_storage::Backend;
use std::{net::SocketAddr, path::PathBuf, time::Duration};

pub use checked::check;
use keyferry_core::{
    admission::Policy, mask, model::Catalogue, money::Prices, net::host::ProviderHost, provider::Providers,
};
pub use kms::{Kms, MasterSecret, RootConfig};
pub use load::{load, read_file};
pub use platform::PlatformKeys;
pub use stores::{Counters, Journal, JournalPlace};

/// What is wrong with a configuration, and where.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {message}")]
pub struct ConfigError {
    /// The path of the value, such as `providers.acme.base_url`.
    pub path: String,
    /// What is wrong and what would be right.
    pub message: String,
}

impl ConfigError {
    pub(crate) fn at(path: impl Into<String>, message: impl ToString) -> Self {
        // Both may quote what was written, and a key may stand in the wrong place.
        let masked = |text: String| String::from_utf8_lossy(&mask::scrub(text.as_bytes(), None)).into_owned();
        Self { path: masked(path.into()), message: masked(message.to_string()) }
    }
}

/// A configuration that was checked.
#[derive(Debug)]
pub struct Config {
    /// Where the database and the key file live.
    pub data_dir: PathBuf,
    /// Whether development conveniences are refused.
    pub production: bool,
    /// What is bound, and what is served there.
    pub listeners: Vec<Listener>,
    /// Where tenants and their things are kept.
    pub storage: Backend,
    /// Where usage rows go first.
    pub journal: Journal,
    /// Where replays, rates, quotas and budgets are counted.
    pub counters: Counters,
    /// What wraps the keys that wrap keys.
    pub kms: Kms,
    /// How often a sealed key may be used for requests; `None` where sealed keys are not accepted.
    pub sealed_max_uses: Option<u32>,
    /// The operator's switches and rates.
    pub policy: Policy,
    /// The platform's own keys and what they may cost.
    pub platform: Platform,
    /// Every provider.
    pub providers: Providers,
    /// Tiers, aliases, and the models that are named.
    pub catalogue: Catalogue,
    /// How providers are reached.
    pub upstream: Upstream,
}

/// The platform's side of requests that it pays.
#[derive(Debug)]
pub struct Platform {
    /// Its own keys.
    pub keys: PlatformKeys,
    /// What models cost.
    pub prices: Prices,
    /// How long money is held for a request without being renewed.
    pub hold_ttl: Duration,
}

/// A socket and what it serves.
#[derive(Clone, Debug)]
pub struct Listener {
    /// Where.
    pub bind: Bind,
    /// With which certificate.
    pub tls: Option<ListenerTls>,
    /// What.
    pub resources: Resources,
}

/// Where a listener binds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bind {
    /// A TCP address.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

/// A listener's certificate.
#[derive(Clone, Debug)]
pub struct ListenerTls {
    /// The chain, PEM.
    pub cert: PathBuf,
    /// The private key, PEM.
    pub key: PathBuf,
}

/// What a listener serves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// The data plane.
    pub gateway: bool,
    /// The control plane.
    pub admin: bool,
    /// `/healthz` and `/readyz`.
    pub health: bool,
    /// `/metrics`.
    pub metrics: bool,
}

/// How providers are reached.
#[derive(Clone, Debug)]
pub struct Upstream {
    /// Until the connection stands, TLS included.
    pub connect_timeout: Duration,
    /// Until the response head is complete.
    pub first_byte_timeout: Duration,
    /// Between two pieces of a body.
    pub idle_timeout: Duration,
    /// The whole exchange.
    pub total_timeout: Duration,
    /// The longest answer that is not a stream.
    pub max_response_bytes: usize,
    /// A further certificate authority, PEM.
    pub extra_ca: Option<PathBuf>,
    /// Hosts with an address of their own.
    pub dial: Vec<Dial>,
    /// Name servers to ask instead of the system's.
    pub nameservers: Vec<SocketAddr>,
}

/// An address that is dialled for a host instead of resolving it.
#[derive(Clone, Debug)]
pub struct Dial {
    /// For this host.
    pub host: ProviderHost,
    /// This address.
    pub address: SocketAddr,
    /// Without TLS: development only.
    pub plaintext: bool,
}
