//! The sections `tiers` and `models`, checked against each other and against the providers.

use keyferry_core::{
    id::TierName,
    model::{Alias, Catalogue, ModelName},
    provider::Providers,
    tier::{Pattern, Tier, TierRates},
};

use super::{
    ConfigError,
    file::{self, File},
};

/// The tiers that there are when none are written.
const DEFAULT_TIERS: [&str; 3] = ["free", "pro", "enterprise"];

/// The longest name of a model, as it is read from requests.
const MAX_MODEL: usize = 256;

/// Checks both sections. Models with a price are known by name too.
pub(super) fn catalogue(file: &File, providers: &Providers) -> Result<Catalogue, ConfigError> {
    let mut tiers = tiers(file.tiers.as_deref())?;
    let mut aliases = Vec::with_capacity(file.models.len());
    for (name, written) in &file.models {
        aliases.push(alias(name, written, &tiers, providers)?);
    }
    for (rank, written) in file.tiers.iter().flatten().enumerate() {
        let Some(models) = &written.models else { continue };
        let mut patterns = Vec::with_capacity(models.len());
        for (index, text) in models.iter().enumerate() {
            let at = format!("tiers[{rank}].models[{index}]");
            patterns.push(pattern(text, rank, &aliases, providers).map_err(|why| ConfigError::at(at, why))?);
        }
        if let Some(tier) = tiers.get_mut(rank) {
            tier.models = Some(patterns);
        }
    }
    let priced = file.prices.keys().filter_map(|name| model(name, providers).ok());
    Catalogue::new(tiers, aliases, priced).ok_or_else(|| ConfigError::at("tiers", "at least one is needed"))
}

fn tiers(written: Option<&[file::Tier]>) -> Result<Vec<Tier>, ConfigError> {
    let Some(written) = written else {
        let names = DEFAULT_TIERS.iter().filter_map(|name| name.parse().ok());
        return Ok(names.enumerate().map(|(rank, name)| Tier::named(name, rank)).collect());
    };
    let mut tiers: Vec<Tier> = Vec::with_capacity(written.len());
    for (rank, one) in written.iter().enumerate() {
        let at = || format!("tiers[{rank}].name");
        let name: TierName = one.name.parse().map_err(|why| ConfigError::at(at(), why))?;
        if tiers.iter().any(|other| other.name == name) {
            return Err(ConfigError::at(at(), "stands here twice"));
        }
        let rates = &one.rate_limits;
        tiers.push(Tier {
            rates: TierRates {
                caller: rates.caller,
                tenant: rates.tenant,
                tenant_provider: rates.tenant_provider,
            },
            budget_micro_usd: one.budget_micro_usd,
            ..Tier::named(name, rank)
        });
    }
    Ok(tiers)
}

fn alias(
    name: &str,
    written: &file::Alias,
    tiers: &[Tier],
    providers: &Providers,
) -> Result<Alias, ConfigError> {
    let at = |rest: &str| format!("models.{name}{rest}");
    let rank = match &written.tier {
        None => 0,
        Some(tier) => tiers
            .iter()
            .position(|known| known.name.as_str() == tier)
            .ok_or_else(|| ConfigError::at(at(".tier"), "no tier of this name is in `tiers`"))?,
    };
    if written.candidates.is_empty() {
        return Err(ConfigError::at(at(".candidates"), "at least one is needed"));
    }
    let mut candidates: Vec<ModelName> = Vec::with_capacity(written.candidates.len());
    for (index, text) in written.candidates.iter().enumerate() {
        let at = at(&format!(".candidates[{index}]"));
        let candidate = model(text, providers).map_err(|why| ConfigError::at(&at, why))?;
        if candidates.contains(&candidate) {
            return Err(ConfigError::at(at, "stands here twice"));
        }
        candidates.push(candidate);
    }
    Ok(Alias { name: name.parse().map_err(|why| ConfigError::at(at(""), why))?, rank, candidates })
}

fn model(text: &str, providers: &Providers) -> Result<ModelName, String> {
    let name: ModelName = text.parse().map_err(|why| format!("{why}"))?;
    if providers.get(name.provider.as_str()).is_none() {
        return Err("no provider of this name is configured".to_owned());
    }
    if name.model.chars().count() > MAX_MODEL || name.model.contains(char::is_control) {
        return Err(format!("a model has at most {MAX_MODEL} characters, and no control characters"));
    }
    Ok(name)
}

fn pattern(text: &str, rank: usize, aliases: &[Alias], providers: &Providers) -> Result<Pattern, String> {
    let pattern = Pattern::parse(text).ok_or("a `*` may stand at the end only")?;
    match text.split_once('/') {
        Some((provider, _)) if providers.get(provider).is_none() => {
            Err("no provider of this name is configured".to_owned())
        }
        Some((_, "")) => Err("expected `provider/model`, or `provider/*`".to_owned()),
        Some(_) => Ok(pattern),
        None if text == "*" => Ok(pattern),
        None => match aliases.iter().find(|alias| alias.name.as_str() == text) {
            None => Err("expected an alias of `models`, `provider/model`, or `*`".to_owned()),
            Some(alias) if alias.rank > rank => Err("is an alias of a higher tier".to_owned()),
            Some(_) => Ok(pattern),
        },
    }
}
