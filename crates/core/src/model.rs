//! Names of models on the unified surface: `provider/model`, and aliases that stand for several of them.
//!
//! Which provider is meant is written in front of the first slash. It is never guessed from the rest: a name that
//! begins like another provider's would send a key and a prompt to the wrong one.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
};

use crate::{
    id::{AliasName, ProviderId},
    tenant::Tenant,
    tier::Tier,
};

/// A provider, and the model by its name there, which may have slashes of its own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ModelName {
    /// Who has it.
    pub provider: ProviderId,
    /// What it is called there.
    pub model: String,
}

/// The text is not `provider/model`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected `provider/model`")]
pub struct NotAModelName;

impl FromStr for ModelName {
    type Err = NotAModelName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (provider, model) = text.split_once('/').ok_or(NotAModelName)?;
        if model.is_empty() {
            return Err(NotAModelName);
        }
        let provider = provider.parse().map_err(|_| NotAModelName)?;
        Ok(Self { provider, model: model.to_owned() })
    }
}

impl fmt::Display for ModelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.provider, self.model)
    }
}

/// A name that stands for one of several models.
#[derive(Clone, Debug)]
pub struct Alias {
    /// The name.
    pub name: AliasName,
    /// The least tier that has it; the place in the list of tiers. Zero for an alias that all have.
    pub rank: usize,
    /// What it stands for, the preferred one first. Never empty.
    pub candidates: Vec<ModelName>,
}

/// What a request names, as far as entitlements see it.
#[derive(Clone, Copy, Debug)]
pub enum Named<'a> {
    /// An alias.
    Alias(&'a Alias),
    /// A model of a provider.
    Model {
        /// Who has it.
        provider: &'a ProviderId,
        /// What it is called there.
        model: &'a str,
    },
    /// None, and the provider would choose one.
    ProvidersChoice,
    /// None, and none is needed.
    Nothing,
}

/// The tiers and aliases of a running gateway, and the models it has heard of.
#[derive(Debug)]
pub struct Catalogue {
    tiers: Vec<Tier>,
    aliases: BTreeMap<String, Alias>,
    models: BTreeSet<ModelName>,
}

/// The tier of a tenant that was made without one.
pub const NO_TIER: &str = "default";

impl Catalogue {
    /// `tiers` from least to most, at least one; `models` are shown besides the candidates of aliases.
    pub fn new(
        tiers: Vec<Tier>,
        aliases: impl IntoIterator<Item = Alias>,
        models: impl IntoIterator<Item = ModelName>,
    ) -> Option<Self> {
        if tiers.is_empty() {
            return None;
        }
        let aliases: BTreeMap<_, _> =
            aliases.into_iter().map(|alias| (alias.name.as_str().to_owned(), alias)).collect();
        let candidates = aliases.values().flat_map(|alias| alias.candidates.iter().cloned());
        let models = candidates.chain(models).collect();
        Some(Self { tiers, aliases, models })
    }

    /// The tier of a tenant, and whether it is the one that its operator wrote. One that is not in the list gives what
    /// the least gives: a name that was mistyped must not open anything.
    pub fn tier_of(&self, tenant: &Tenant) -> (&Tier, bool) {
        match self.tiers.iter().find(|tier| tier.name.as_str() == tenant.tier) {
            Some(tier) => (tier, true),
            None => (self.least(), tenant.tier == NO_TIER),
        }
    }

    fn least(&self) -> &Tier {
        // `new` refuses an empty list.
        self.tiers.first().unwrap_or_else(|| unreachable!("there is a tier"))
    }

    /// The tier at a place of the list.
    pub fn tier_at(&self, rank: usize) -> Option<&Tier> {
        self.tiers.get(rank)
    }

    /// The alias of a name.
    pub fn alias(&self, name: &str) -> Option<&Alias> {
        self.aliases.get(name)
    }

    /// All aliases, in order of their names.
    pub fn aliases(&self) -> impl Iterator<Item = &Alias> {
        self.aliases.values()
    }

    /// The models that the configuration names, in order.
    pub fn models(&self) -> impl Iterator<Item = &ModelName> {
        self.models.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_slash_ends_the_providers_name() {
        let name: ModelName = "acme/meta/llama-3".parse().expect("a name");
        assert_eq!((name.provider.as_str(), name.model.as_str()), ("acme", "meta/llama-3"));
        assert_eq!(name.to_string(), "acme/meta/llama-3");
        for bad in ["", "/", "gpt-4.1", "openai/", "/gpt-4.1", "a b/c"] {
            assert_eq!(bad.parse::<ModelName>(), Err(NotAModelName), "{bad:?}");
        }
    }
}
