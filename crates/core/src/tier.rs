//! Tiers: what a tenant is entitled to, whoever's key serves it (A5). A key of one's own replaces the platform's,
//! never the entitlement.

use std::borrow::Cow;

use crate::{
    admission::Denial,
    id::TierName,
    limits::{Rate, RateLimits},
    mask,
    model::Named,
};

/// One tier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tier {
    /// Its name.
    pub name: TierName,
    /// Its place in the list, from least to most.
    pub rank: usize,
    /// The only models it has; `None` for all but the aliases of higher tiers.
    pub models: Option<Vec<Pattern>>,
    /// Rates in place of those that the configuration has for all.
    pub rates: TierRates,
    /// The most that the platform may pay for one of its tenants in the tenant's period.
    pub budget_micro_usd: Option<u64>,
}

/// Rates of a tier; what is absent is as for all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TierRates {
    /// Each token or JWT subject.
    pub caller: Option<Rate>,
    /// All callers of a tenant together.
    pub tenant: Option<Rate>,
    /// All calls of a tenant to one provider.
    pub tenant_provider: Option<Rate>,
}

impl TierRates {
    /// These, and for all else the given ones.
    pub fn over(self, limits: RateLimits) -> RateLimits {
        RateLimits {
            caller: self.caller.unwrap_or(limits.caller),
            tenant: self.tenant.unwrap_or(limits.tenant),
            tenant_provider: self.tenant_provider.unwrap_or(limits.tenant_provider),
            key_test: limits.key_test,
        }
    }
}

/// Names that a tier has: an alias, or `provider/model`, or all that begin with what stands before a `*` at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// This name.
    Is(String),
    /// Names that begin like this.
    Begins(String),
}

impl Pattern {
    /// Reads a pattern; `None` if a star stands anywhere but at the end.
    pub fn parse(text: &str) -> Option<Self> {
        let pattern = match text.strip_suffix('*') {
            Some(prefix) => Self::Begins(prefix.to_owned()),
            None => Self::Is(text.to_owned()),
        };
        let (Self::Is(fixed) | Self::Begins(fixed)) = &pattern;
        (!fixed.contains('*')).then_some(pattern)
    }

    fn matches(&self, name: &str) -> bool {
        match self {
            Self::Is(this) => this == name,
            Self::Begins(prefix) => name.starts_with(prefix),
        }
    }
}

impl Tier {
    /// A tier without limits of its own.
    pub fn named(name: TierName, rank: usize) -> Self {
        Self { name, rank, models: None, rates: TierRates::default(), budget_micro_usd: None }
    }

    /// Whether a tenant of this tier may use what a request names.
    ///
    /// An alias counts under its own name: what it stands for is its operator's choice and need not be listed.
    pub fn allows(&self, named: Named<'_>) -> Result<(), Denial> {
        let name = match named {
            Named::Alias(alias) if alias.rank > self.rank => {
                return Err(Denial::AliasOfHigherTier {
                    alias: alias.name.as_str().to_owned(),
                    tier: self.name.clone(),
                });
            }
            Named::Alias(alias) => Cow::Borrowed(alias.name.as_str()),
            Named::Model { .. } if self.models.is_none() => return Ok(()),
            Named::Model { provider, model } => Cow::Owned(format!("{provider}/{model}")),
            Named::ProvidersChoice if self.models.is_some() => {
                return Err(Denial::TierNeedsModel { tier: self.name.clone() });
            }
            Named::ProvidersChoice | Named::Nothing => return Ok(()),
        };
        match &self.models {
            Some(models) if !models.iter().any(|pattern| pattern.matches(&name)) => {
                let model = String::from_utf8_lossy(&mask::scrub(name.as_bytes(), None)).into_owned();
                Err(Denial::NotInTier { tier: self.name.clone(), model })
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Alias;

    fn tier(models: Option<&[&str]>) -> Tier {
        let models =
            models.map(|all| all.iter().map(|one| Pattern::parse(one).expect("a pattern")).collect());
        Tier { models, ..Tier::named("pro".parse().expect("a name"), 1) }
    }

    fn alias(name: &str, rank: usize) -> Alias {
        let candidates = vec!["openai/gpt".parse().expect("a name")];
        Alias { name: name.parse().expect("a name"), rank, candidates }
    }

    #[test]
    fn without_a_list_a_tier_has_all_but_the_aliases_of_higher_tiers() {
        let tier = tier(None);
        let openai = "openai".parse().expect("a name");
        assert_eq!(tier.allows(Named::Model { provider: &openai, model: "any" }), Ok(()));
        assert_eq!(tier.allows(Named::ProvidersChoice), Ok(()));
        assert_eq!(tier.allows(Named::Alias(&alias("fast", 0))), Ok(()));
        assert_eq!(tier.allows(Named::Alias(&alias("good", 1))), Ok(()));
        assert!(matches!(
            tier.allows(Named::Alias(&alias("best", 2))),
            Err(Denial::AliasOfHigherTier { .. })
        ));
    }

    #[test]
    fn a_list_is_exact_but_for_a_star_at_its_end() {
        let tier = tier(Some(&["fast", "openai/gpt-4*", "gemini/flash"]));
        let allowed = |provider: &str, model: &str| {
            let provider = provider.parse().expect("a name");
            tier.allows(Named::Model { provider: &provider, model }).is_ok()
        };
        assert!(
            allowed("openai", "gpt-4") && allowed("openai", "gpt-4.1-mini") && allowed("gemini", "flash")
        );
        assert!(!allowed("openai", "gpt-5") && !allowed("gemini", "flash-2") && !allowed("acme", "gpt-4"));
        assert_eq!(tier.allows(Named::Alias(&alias("fast", 0))), Ok(()));
        assert!(
            tier.allows(Named::Alias(&alias("faster", 0))).is_err(),
            "its candidate is listed, it is not"
        );
        assert!(tier.allows(Named::ProvidersChoice).is_err());
        assert_eq!(tier.allows(Named::Nothing), Ok(()));
        for bad in ["*a", "a*b", "**"] {
            assert_eq!(Pattern::parse(bad), None, "{bad}");
        }
    }
}
