//! Providers as data: which host, which base path, and in which header the key goes.
//!
//! Nothing of a request can reach in here: a request names a provider, the configuration says
//! where that is.

use crate::{
    dialect::Dialect,
    id::ProviderId,
    map::Map,
    net::{base_url::BaseUrl, host::ProviderHost},
};

/// The header in which a provider expects its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AuthSlot {
    /// `Authorization: Bearer …`
    Bearer,
    /// `x-api-key: …`
    XApiKey,
    /// `x-goog-api-key: …`
    XGoogApiKey,
}

impl AuthSlot {
    /// The header's name.
    pub const fn header(self) -> &'static str {
        match self {
            Self::Bearer => "authorization",
            Self::XApiKey => "x-api-key",
            Self::XGoogApiKey => "x-goog-api-key",
        }
    }

    /// What stands before the key in the header's value.
    pub const fn scheme(self) -> &'static str {
        match self {
            Self::Bearer => "Bearer ",
            Self::XApiKey | Self::XGoogApiKey => "",
        }
    }
}

/// A provider and its rules.
#[derive(Clone, Debug)]
pub struct Provider {
    /// Its name in the configuration and in the first segment of a path.
    pub id: ProviderId,
    /// What its bodies and errors look like.
    pub dialect: Dialect,
    /// Where it is.
    pub base: BaseUrl,
}

impl Provider {
    /// The host that is dialled and whose certificate is demanded.
    pub fn host(&self) -> &ProviderHost {
        self.base.host()
    }

    /// Where a stored key goes.
    pub const fn auth_slot(&self) -> AuthSlot {
        match self.dialect {
            Dialect::OpenAi => AuthSlot::Bearer,
            Dialect::Anthropic => AuthSlot::XApiKey,
            Dialect::Gemini => AuthSlot::XGoogApiKey,
        }
    }

    /// The slots in which an SDK of this provider may carry a key of the caller's.
    pub const fn own_slots(&self) -> &'static [AuthSlot] {
        match self.dialect {
            Dialect::OpenAi => &[AuthSlot::Bearer],
            Dialect::Anthropic => &[AuthSlot::XApiKey, AuthSlot::Bearer],
            Dialect::Gemini => &[AuthSlot::XGoogApiKey],
        }
    }

    /// The path upstream for a path below this provider's surface, such as `/v1/models`.
    ///
    /// OpenAI-like base URLs end in their version, as the SDKs write them, so the version of the
    /// surface is replaced by the path of the base URL.
    pub fn upstream_path(&self, below: &str) -> String {
        let rest = match self.dialect {
            Dialect::OpenAi => below.strip_prefix("/v1").unwrap_or(below),
            Dialect::Anthropic | Dialect::Gemini => below,
        };
        [self.base.path(), rest].concat()
    }
}

/// The providers that exist without configuration: name, dialect, base URL.
pub const BUILT_IN: [(&str, Dialect, &str); 3] = [
    ("openai", Dialect::OpenAi, "https://api.openai.com/v1"),
    ("anthropic", Dialect::Anthropic, "https://api.anthropic.com"),
    ("gemini", Dialect::Gemini, "https://generativelanguage.googleapis.com"),
];

/// First path segments that are the gateway's own, and so no provider's name.
pub const RESERVED: [&str; 9] =
    ["api", "v1", "vault", "ui", "healthz", "readyz", "metrics", "openapi.json", "assets"];

/// All providers of a running gateway.
#[derive(Debug, Default)]
pub struct Providers(Map<String, Provider>);

/// Why a provider cannot be added.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ProviderRefused {
    /// The name is one of the gateway's own paths.
    #[error("this name is a path of the gateway itself")]
    Reserved,
    /// There is one of that name already.
    #[error("there is a provider of this name already")]
    Taken,
}

impl Providers {
    /// The built-in ones.
    pub fn built_in() -> Self {
        let all = BUILT_IN.iter().filter_map(|&(id, dialect, base)| {
            let provider = Provider { id: id.parse().ok()?, dialect, base: BaseUrl::parse(base).ok()? };
            Some((id.to_owned(), provider))
        });
        Self(all.collect())
    }

    /// Adds a provider from the configuration.
    pub fn add(&mut self, provider: Provider) -> Result<(), ProviderRefused> {
        let name = provider.id.as_str();
        if RESERVED.contains(&name) {
            return Err(ProviderRefused::Reserved);
        }
        if self.0.contains_key(name) {
            return Err(ProviderRefused::Taken);
        }
        self.0.insert(name.to_owned(), provider);
        Ok(())
    }

    /// The provider of a name.
    pub fn get(&self, name: &str) -> Option<&Provider> {
        self.0.get(name)
    }

    /// All of them, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Provider> {
        self.0.values()
    }
}

impl FromIterator<Provider> for Providers {
    fn from_iter<I: IntoIterator<Item = Provider>>(all: I) -> Self {
        Self(all.into_iter().map(|provider| (provider.id.as_str().to_owned(), provider)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_built_in_provider_is_complete() {
        let providers = Providers::built_in();
        for (name, ..) in BUILT_IN {
            assert!(providers.get(name).is_some(), "{name}");
        }
    }

    #[test]
    fn the_surface_maps_onto_the_base_url() {
        let providers = Providers::built_in();
        let path = |name, below| providers.get(name).expect("built in").upstream_path(below);
        assert_eq!(path("openai", "/v1/models"), "/v1/models");
        assert_eq!(path("anthropic", "/v1/messages"), "/v1/messages");
        assert_eq!(path("gemini", "/v1beta/models"), "/v1beta/models");
    }
}
