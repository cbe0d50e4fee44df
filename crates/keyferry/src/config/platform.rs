//! The platform's side: its own keys, and what models cost.

use std::{collections::HashMap, sync::Arc};

use keyferry_core::{
    id::ProviderId,
    money::{Price, Prices},
    provider::Providers,
};
use keyferry_envelope::{ApiKey, SecretBytes};

use super::{ConfigError, file, secret_file};
use crate::custody::provider_key;

/// The longest key.
const MAX_KEY: usize = 512;

/// The platform's own keys, by provider. In locked memory, shown to nobody.
#[derive(Default)]
pub struct PlatformKeys(HashMap<ProviderId, Arc<ApiKey>>);

impl PlatformKeys {
    /// The key for a provider, if the platform has one.
    pub fn of(&self, provider: &ProviderId) -> Option<&Arc<ApiKey>> {
        self.0.get(provider)
    }
}

impl std::fmt::Debug for PlatformKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// Takes the platform's keys over.
pub(super) fn keys(file: &file::File) -> Result<PlatformKeys, ConfigError> {
    let mut keys = PlatformKeys::default();
    for (name, provider) in &file.providers {
        let path = format!("providers.{name}.platform_key");
        let (path, secret) = match (&provider.platform_key, &provider.platform_key_file) {
            (None, None) => continue,
            (Some(_), Some(_)) => {
                return Err(ConfigError::at(path, "stands here and in a file: one is enough"));
            }
            (Some(written), None) => {
                let secret = SecretBytes::copy_of(written.expose());
                (path, secret)
            }
            (None, Some(place)) => {
                let path = format!("{path}_file");
                let secret = secret_file::read(place, MAX_KEY).map_err(|why| ConfigError::at(&path, why))?;
                (path, secret)
            }
        };
        let id: ProviderId =
            name.parse().map_err(|error| ConfigError::at(format!("providers.{name}"), error))?;
        let key = provider_key(secret).map_err(|error| ConfigError::at(path, error))?;
        keys.0.insert(id, Arc::new(key));
    }
    Ok(keys)
}

/// Reads the price list.
pub(super) fn prices(file: &file::File, providers: &Providers) -> Result<Prices, ConfigError> {
    let mut prices = Prices::default();
    for (name, written) in &file.prices {
        let at = |field: &str| format!("prices.{name}{field}");
        let Some((provider, model)) = name.split_once('/').filter(|(_, model)| !model.is_empty()) else {
            return Err(ConfigError::at(at(""), "expected `provider/model`, or `provider/*` for all others"));
        };
        if providers.get(provider).is_none() {
            return Err(ConfigError::at(at(""), format!("there is no provider `{provider}`")));
        }
        let read = |field: &str, text: &str| text.parse().map_err(|error| ConfigError::at(at(field), error));
        let input = read(".input", &written.input)?;
        let price = Price {
            input,
            cached_input: match &written.cached_input {
                Some(text) => read(".cached_input", text)?,
                None => input,
            },
            output: read(".output", &written.output)?,
        };
        prices.add(provider, model, price);
    }
    Ok(prices)
}
