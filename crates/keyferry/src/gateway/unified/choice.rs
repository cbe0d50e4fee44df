//! From the name of a model to what may serve it, and with which of the keys that the request brought.

use keyferry_core::{
    admission::Brought, code::Code, model::Alias, operation::Operation, provider::Provider, unified::has,
};

use super::{
    super::{
        Gateway,
        candidates::{Candidate, Candidates},
        slots::{PlacedKey, from_map},
    },
    keys::Keys,
};
use crate::{custody::SealRefused, http::Problem};

/// What may serve, and the keys for it.
pub(super) struct Choice<'a> {
    pub(super) candidates: Candidates<'a>,
    keys: ForProviders<'a>,
}

/// Keys, each with the provider that it goes to.
type ForProviders<'a> = Vec<(&'a Provider, Brought, PlacedKey)>;

impl Choice<'_> {
    /// The key that the request brought for a provider.
    pub(super) fn into_key(self, provider: &Provider) -> Option<(Brought, PlacedKey)> {
        let found = self.keys.into_iter().find(|(of, ..)| of.id == provider.id);
        found.map(|(_, brought, key)| (brought, key))
    }
}

impl Gateway {
    /// Finds what a name stands for. Nothing is guessed: what is no alias has its provider before the first slash.
    pub(super) fn choice<'a>(
        &'a self,
        operation: &Operation,
        asked: &'a str,
        keys: Keys,
    ) -> Result<Choice<'a>, Problem> {
        let alias = self.entitlements.catalogue.alias(asked);
        let mut named: Vec<(&'a Provider, &'a str)> = match alias {
            Some(alias) => self.of_alias(alias),
            None => vec![self.of_name(asked).ok_or_else(no_such_model)?],
        };
        named.retain(|(provider, _)| {
            self.providers.get(provider.id.as_str()).is_some_and(|native| has(native, operation))
        });
        let keys = for_providers(keys, &named)?;
        let brings = |provider: &Provider| {
            keys.iter().find(|(of, ..)| of.id == provider.id).map(|(_, brought, _)| *brought)
        };
        let mut all = named.into_iter().map(|(provider, model)| Candidate {
            provider,
            model: Some(model),
            brings: brings(provider),
        });
        let first = all.next().ok_or_else(|| not_there(alias.is_some()))?;
        let candidates = Candidates { asked: Some(asked), alias, first, others: all.collect() };
        Ok(Choice { candidates, keys })
    }

    fn of_alias<'a>(&'a self, alias: &'a Alias) -> Vec<(&'a Provider, &'a str)> {
        let of = |name: &'a keyferry_core::model::ModelName| {
            Some((self.endpoints.get(name.provider.as_str())?, name.model.as_str()))
        };
        alias.candidates.iter().filter_map(of).collect()
    }

    fn of_name<'a>(&'a self, asked: &'a str) -> Option<(&'a Provider, &'a str)> {
        let (provider, model) = asked.split_once('/').filter(|(_, model)| !model.is_empty())?;
        Some((self.endpoints.get(provider)?, model))
    }
}

/// Which key is for which of them. A key is never sent to a provider that it may not be for.
fn for_providers<'a>(keys: Keys, named: &[(&'a Provider, &'a str)]) -> Result<ForProviders<'a>, Problem> {
    let mut providers: Vec<&'a Provider> = Vec::new();
    for (provider, _) in named {
        if !providers.iter().any(|known| known.id == provider.id) {
            providers.push(provider);
        }
    }
    match keys {
        Keys::None => Ok(Vec::new()),
        Keys::Unnamed(brought, key) => match providers.as_slice() {
            [] => Ok(Vec::new()),
            [provider] => Ok(vec![(provider, brought, key)]),
            _ => Err(Problem::new(
                Code::InvalidRequest,
                "Several providers may serve this model, and the request does not say for which of them its key is. \
                 Send it in X-BYOK-Keys, or name the model as provider/model.",
            )),
        },
        Keys::ByName(map) => {
            let mut found = Vec::new();
            for provider in providers {
                if let Some(key) = from_map(provider, map.expose())? {
                    found.push((provider, Brought::Carried, key));
                }
            }
            Ok(found)
        }
        Keys::Sealed(name, key) => match providers.into_iter().find(|provider| provider.id == name) {
            Some(provider) => Ok(vec![(provider, Brought::Sealed, key)]),
            None => Err(SealRefused::DoesNotOpen.into()),
        },
    }
}

/// As OpenAI tells it, with the status that its SDKs raise `NotFoundError` for. The name is not repeated: it may be
/// anything, a key in the wrong place too.
fn no_such_model() -> Problem {
    Problem::new(
        Code::NotFound,
        "The model does not exist here: `model` is neither an alias of this gateway nor provider/model with a \
         provider that is configured. GET /v1/models lists some.",
    )
}

fn not_there(alias: bool) -> Problem {
    Problem::new(
        Code::UnknownOperation,
        if alias {
            "None of the providers behind this alias has this operation in the dialect of OpenAI."
        } else {
            "The provider has no such operation in the dialect of OpenAI. Its own surface may have one like it."
        },
    )
}
