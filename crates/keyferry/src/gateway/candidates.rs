//! What may serve a request: one provider on its own surface, several behind an alias of the unified one.
//!
//! Which of them does is decided on the view that the request is admitted on, so a key that was just stored or
//! revoked counts from the next request on.

use std::iter;

use keyferry_core::{
    admission::{Brought, Denial, TenantView},
    model::{Alias, Named},
    operation::{Operation, RequestBody},
    provider::Provider,
};

/// One of them.
#[derive(Clone, Copy)]
pub(super) struct Candidate<'a> {
    /// The provider, as this surface reaches it.
    pub(super) provider: &'a Provider,
    /// The model by its name there, where the request names one.
    pub(super) model: Option<&'a str>,
    /// In which way the request brings a key for it, if it does.
    pub(super) brings: Option<Brought>,
}

/// All of them, at least one, the preferred one first.
pub(super) struct Candidates<'a> {
    /// The model as the request names it. What a token is bound to is compared with this and with nothing else: a token
    /// for an alias follows the alias wherever its operator points it, and a token for a model is no way to an alias
    /// that may stand for others tomorrow.
    pub(super) asked: Option<&'a str>,
    /// The alias that was asked for, if it was one.
    pub(super) alias: Option<&'a Alias>,
    pub(super) first: Candidate<'a>,
    pub(super) others: Vec<Candidate<'a>>,
}

impl<'a> Candidates<'a> {
    /// The one of a provider's own surface.
    pub(super) fn one(provider: &'a Provider, model: Option<&'a str>, brings: Option<Brought>) -> Self {
        let first = Candidate { provider, model, brings };
        Self { asked: model, alias: None, first, others: Vec::new() }
    }

    fn all(&self) -> impl Iterator<Item = &Candidate<'a>> {
        iter::once(&self.first).chain(&self.others)
    }

    /// The one that serves (U6, U7): the first that the request brings a key for, else the first that the tenant has
    /// stored a key for, else the first that the platform could pay. Where there is no key for any, the first is refused in
    /// the name of all.
    pub(super) fn choose(
        &self,
        view: &TenantView,
        payable: impl Fn(&Candidate<'a>) -> bool,
    ) -> Candidate<'a> {
        let brought = self.all().find(|one| one.brings.is_some());
        let held = || self.all().find(|one| view.credential_for(&one.provider.id).is_some());
        let paid = || self.all().find(|one| view.tenant.fallback.missing && payable(one));
        *brought.or_else(held).or_else(paid).unwrap_or(&self.first)
    }

    /// What entitlements see of a candidate.
    pub(super) fn named(&self, candidate: &Candidate<'a>, operation: &Operation) -> Named<'a> {
        match (self.alias, candidate.model) {
            (Some(alias), _) => Named::Alias(alias),
            (None, Some(model)) => Named::Model { provider: &candidate.provider.id, model },
            (None, None) if operation.body == RequestBody::None => Named::Nothing,
            (None, None) => Named::ProvidersChoice,
        }
    }

    /// A denial in words. That there is no key was found for every candidate, so all are named.
    pub(super) fn tell(&self, denial: &Denial) -> String {
        let keyless = matches!(denial, Denial::KeyNotFound(_) | Denial::NotEligible(_));
        if !keyless || self.others.is_empty() {
            return denial.to_string();
        }
        let mut tried: Vec<&str> = Vec::new();
        for candidate in self.all() {
            let name = candidate.provider.id.as_str();
            if !tried.contains(&name) {
                tried.push(name);
            }
        }
        format!(
            "This tenant has no key for any provider of this model: {}. Store one, or send one in the header \
             X-BYOK-Keys. No other key is used in its place.",
            tried.join(", ")
        )
    }
}
