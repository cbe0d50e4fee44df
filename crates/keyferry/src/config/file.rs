//! The shape of `keyferry.yaml`. The JSON Schema is made from these types, so what the schema
//! says and what is read cannot differ.

use std::{collections::BTreeMap, path::PathBuf};

use keyferry_core::limits::Rate;
use keyferry_envelope::SecretBytes;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    scalar::{from_text, some_from_text},
    span::Span,
};

/// keyferry's configuration.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(title = "keyferry.yaml")]
pub struct File {
    /// Folder of the database and the key file. Default: `./keyferry-data`.
    pub data_dir: Option<PathBuf>,
    /// In `production`, plaintext connections to providers are refused. Default: `development`.
    pub environment: Environment,
    /// Each: where it binds × what it serves.
    pub listeners: Option<Vec<Listener>>,
    /// Where tenants, credentials, tokens, usage and the audit log are kept.
    pub storage: Storage,
    /// Where replays, rates and quotas are counted.
    pub counters: Counters,
    /// What wraps the stored keys.
    pub kms: Kms,
    /// USD per million tokens, by `provider/model`; `provider/*` is the price of all that are not listed. The platform's
    /// key serves only what has a price.
    pub prices: BTreeMap<String, Price>,
    /// Bring-your-own-key: the switches that hold for every tenant.
    pub byok: Byok,
    /// Providers, by name. `openai`, `anthropic` and `gemini` are there without being listed.
    pub providers: BTreeMap<String, Provider>,
    /// Model aliases of the unified API, by name. A name has no slash.
    pub models: BTreeMap<String, Alias>,
    /// What tenants are entitled to, from least to most. Default: `free`, `pro` and `enterprise`, without limits of
    /// their own.
    pub tiers: Option<Vec<Tier>>,
    /// Budgets of requests that the platform pays.
    pub budgets: Budgets,
    /// How often a caller, a tenant, a tenant at one provider, and an address that tests keys may ask.
    pub rate_limits: RateLimits,
    /// How providers are reached.
    pub upstream: Upstream,
}

/// Where keyferry runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Environment {
    /// For people who try things.
    #[default]
    Development,
    /// Strict.
    Production,
}

/// A socket and what it serves.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    /// `127.0.0.1:8484`, or `unix:/run/keyferry/gateway.sock`.
    pub bind: String,
    /// The certificate to serve with.
    pub tls: Option<ListenerTls>,
    /// What is served here.
    pub resources: Vec<Resource>,
}

/// A listener's certificate.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListenerTls {
    /// The chain, a PEM file.
    pub cert: PathBuf,
    /// The private key, a PEM file.
    pub key: PathBuf,
}

/// What a listener can serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Resource {
    /// The data plane.
    Gateway,
    /// The control plane and the OpenAPI document.
    Admin,
    /// The console. Not part of this version; accepted and served by nothing.
    Ui,
    /// `/healthz` and `/readyz`.
    Health,
    /// `/metrics`.
    Metrics,
}

/// Storage.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Storage {
    /// `sqlite://PATH`, or `postgres://USER:PASSWORD@HOST/DATABASE`. Default: `keyferry.db` in the data folder.
    pub url: Option<Concealed>,
    /// A file with the URL, which only its owner may read.
    pub url_file: Option<PathBuf>,
    /// Whether usage rows go into a journal first, files of this gateway's own, so that answers do not wait
    /// for the database.
    /// Default: `true` with SQLite, `false` with PostgreSQL.
    #[serde(deserialize_with = "some_from_text")]
    pub journal: Option<bool>,
}

/// Counters.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Counters {
    /// `memory`, `redis://USER:PASSWORD@HOST:PORT/DB`, `rediss://…` for TLS, or `unix:///PATH`. Default: `memory`, which is
    /// for one gateway with SQLite.
    pub url: Option<Concealed>,
    /// A file with the URL, which only its owner may read.
    pub url_file: Option<PathBuf>,
    /// A certificate authority to trust for `rediss://` instead of the public ones, a PEM file.
    pub ca: Option<PathBuf>,
}

/// The root: what wraps the keys that wrap keys. Each kind has its own fields.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Kms {
    /// Which kind.
    pub kind: KmsKind,
    /// `local`: a file with the master secret, 64 hex characters, readable by its owner only.
    /// Default: `master.key` in the data folder, made at the first start.
    pub master_secret_file: Option<PathBuf>,
    /// `vault`: where it is, `https://host:port`. `http://` only on loopback.
    pub address: Option<String>,
    /// `vault`: where the Transit engine is mounted. Default: `transit`.
    pub mount: Option<String>,
    /// `vault`: the name of the Transit key. Default: `keyferry`.
    pub key: Option<String>,
    /// `vault`: a file with the token; read again when it changes.
    pub token_file: Option<PathBuf>,
    /// `vault`: the namespace.
    pub namespace: Option<String>,
    /// `vault` and `aws`: a certificate authority to trust instead of the public ones, a PEM file.
    pub ca: Option<PathBuf>,
    /// `aws`: the key's id or ARN.
    pub key_id: Option<String>,
    /// `aws`: the region.
    pub region: Option<String>,
    /// `aws`: an endpoint instead of the region's own. `http://` only on loopback.
    pub endpoint: Option<String>,
    /// `pkcs11`: the module, a shared library.
    pub module: Option<PathBuf>,
    /// `pkcs11`: the label of the token.
    pub token_label: Option<String>,
    /// `pkcs11`: the label of the AES key on it.
    pub key_label: Option<String>,
    /// `pkcs11`: a file with the user's PIN.
    pub pin_file: Option<PathBuf>,
    /// How long an opened tenant key serves. Default: `300s`, and at most that.
    pub cache_ttl: Option<Span>,
    /// Roots that may still be read from, until `keyferry kek rewrap` has moved everything away.
    pub previous: Vec<Kms>,
}

/// Kinds of roots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum KmsKind {
    /// A master secret in a file.
    #[default]
    Local,
    /// Transit of HashiCorp Vault or OpenBao.
    Vault,
    /// AWS KMS.
    Aws,
    /// A hardware module behind PKCS#11.
    Pkcs11,
}

/// A price list entry.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// USD per million prompt tokens, decimal text.
    pub input: String,
    /// USD per million cached prompt tokens, decimal text.
    pub cached_input: Option<String>,
    /// USD per million generated tokens, decimal text.
    pub output: String,
}

/// Bring-your-own-key.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Byok {
    /// The kill switch: `false` beats everything.
    #[serde(deserialize_with = "from_text")]
    pub enabled: bool,
    /// Requests a tenant may make on a UTC day, unless its operator says otherwise.
    #[serde(deserialize_with = "from_text")]
    pub daily_quota: u64,
    /// Whether stored keys serve.
    #[serde(deserialize_with = "from_text")]
    pub held: bool,
    /// Whether keys may come with a request.
    #[serde(deserialize_with = "from_text")]
    pub carried: bool,
    /// Legacy: whether keys may come with a request, sealed under a key beside them.
    #[serde(deserialize_with = "from_text")]
    pub session: bool,
    /// Whether keys may come sealed, with a request or to be stored.
    #[serde(deserialize_with = "from_text")]
    pub sealed: bool,
    /// How often a sealed key may be used for requests, by the same caller: 1 to 100. An SDK that retries
    /// needs 3.
    #[serde(deserialize_with = "from_text")]
    pub sealed_max_uses: u32,
    /// How long a job's key is kept. No effect in this version.
    #[serde(deserialize_with = "from_text")]
    pub cache_ttl_seconds: u32,
}

impl Default for Byok {
    fn default() -> Self {
        Self {
            enabled: true,
            daily_quota: keyferry_core::tenant::DEFAULT_DAILY_QUOTA,
            held: true,
            carried: true,
            session: false,
            sealed: true,
            sealed_max_uses: 1,
            cache_ttl_seconds: 300,
        }
    }
}

/// A provider.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Provider {
    /// Which dialect it speaks. Needed, and possible, only for providers that are not built in.
    pub kind: Option<ProviderKind>,
    /// Where it is: `https://host` or `https://host/path`, in canonical form.
    pub base_url: Option<String>,
    /// The operator's own key. It serves a tenant's request only where the tenant's `fallback` says so, and within the
    /// tenant's budget.
    pub platform_key: Option<Concealed>,
    /// A file with the operator's own key, which only its owner may read.
    pub platform_key_file: Option<PathBuf>,
}

/// Dialects a configured provider can speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ProviderKind {
    /// That of OpenAI.
    OpenaiCompatible,
}

/// A secret, in locked memory; nothing can print it.
#[derive(Deserialize, JsonSchema)]
#[serde(from = "String")]
#[schemars(with = "String")]
pub struct Concealed(SecretBytes);

impl Concealed {
    /// What was written.
    pub fn expose(&self) -> &[u8] {
        self.0.expose()
    }
}

impl From<String> for Concealed {
    fn from(mut text: String) -> Self {
        let secret = SecretBytes::copy_of(text.as_bytes());
        zeroize::Zeroize::zeroize(&mut text);
        Self(secret)
    }
}

impl std::fmt::Debug for Concealed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[concealed]")
    }
}

/// A model alias.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Alias {
    /// The least tier that may use it. Without one, all may.
    pub tier: Option<String>,
    /// `provider/model`, in order.
    pub candidates: Vec<String>,
}

/// What the tenants of a tier are entitled to, whoever's key serves them.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tier {
    /// Its name, which tenants have as their `tier`.
    pub name: String,
    /// The only models it has: aliases, `provider/model`, or a beginning of these with a `*` behind it. Default: all but
    /// the aliases of higher tiers.
    pub models: Option<Vec<String>>,
    /// Rates in place of those in `rate_limits`.
    #[serde(default)]
    pub rate_limits: TierRates,
    /// The most that the platform may pay for a tenant in its period, in micro-USD.
    #[serde(default, deserialize_with = "some_from_text")]
    pub budget_micro_usd: Option<u64>,
}

/// Rates of a tier.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TierRates {
    /// Each token or JWT subject.
    pub caller: Option<Rate>,
    /// All callers of a tenant together.
    pub tenant: Option<Rate>,
    /// All calls of a tenant to one provider.
    pub tenant_provider: Option<Rate>,
}

/// Budgets.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Budgets {
    /// How long money is held for a request without being renewed: `10s` to `1h`.
    pub hold_ttl: Span,
}

impl Default for Budgets {
    fn default() -> Self {
        Self { hold_ttl: Span::secs(300) }
    }
}

/// Rates.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RateLimits {
    /// Each token or JWT subject.
    pub caller: Rate,
    /// All callers of a tenant together.
    pub tenant: Rate,
    /// All calls of a tenant to one provider.
    pub tenant_provider: Rate,
    /// Key tests from one address.
    pub key_test: Rate,
}

impl Default for RateLimits {
    fn default() -> Self {
        let per = |count, per_millis| Rate::Per { count, per_millis };
        Self {
            caller: per(100, 1_000),
            tenant: per(1000, 1_000),
            tenant_provider: per(500, 1_000),
            key_test: per(30, 60_000),
        }
    }
}

/// How providers are reached.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Upstream {
    /// Until the connection stands, TLS included.
    pub connect_timeout: Span,
    /// Until the response head is complete.
    pub first_byte_timeout: Span,
    /// Between two pieces of a body: 504 before the answer has begun, a broken stream after.
    pub idle_timeout: Span,
    /// The whole exchange.
    pub total_timeout: Span,
    /// The longest answer that is not a stream, in bytes.
    #[serde(deserialize_with = "from_text")]
    pub max_response_bytes: usize,
    /// A further certificate authority to trust for providers, a PEM file.
    pub extra_ca: Option<PathBuf>,
    /// Addresses to dial for a host instead of resolving it.
    pub dial: Vec<Dial>,
    /// Name servers (`address:port`) to ask instead of the system's.
    pub nameservers: Vec<String>,
}

impl Default for Upstream {
    fn default() -> Self {
        Self {
            connect_timeout: Span::secs(5),
            first_byte_timeout: Span::secs(120),
            idle_timeout: Span::secs(300),
            total_timeout: Span::secs(3600),
            max_response_bytes: 10 * 1024 * 1024,
            extra_ca: None,
            dial: Vec::new(),
            nameservers: Vec::new(),
        }
    }
}

/// A private link, or a test: this address for this host. TLS is still verified for the name.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Dial {
    /// The host.
    pub host: String,
    /// The address, `127.0.0.1:9443`.
    pub address: String,
    /// Without TLS: development only, warned about, refused in production.
    #[serde(default, deserialize_with = "from_text")]
    pub plaintext: bool,
}
