//! What the platform pays: its keys, what a request may cost, and what it did cost.

use std::sync::Arc;

use keyferry_core::{
    admission::Platform,
    body::output_ceiling,
    budget::{Once, Span},
    id::ProviderId,
    model::ModelName,
    money::Price,
    operation::{Operation, RequestBody},
    tenant::{Fallback, Tenant},
    time::Timestamp,
    usage::{TokenUsage, estimate_tokens},
};
use keyferry_envelope::ApiKey;

use super::{body::ReadBody, holds::Held};
use crate::config;

/// The platform's side, as it is configured.
pub struct Payments(config::Platform);

/// What a request that the platform could pay would cost.
pub(super) struct Quote {
    pub(super) platform: Platform,
    /// The price it will be settled at.
    pub(super) price: Option<Price>,
}

/// A request that the platform pays: what it is settled at, and the money that is held for it.
pub(super) struct Paid {
    pub(super) price: Option<Price>,
    pub(super) held: Held,
}

/// What the platform could still do for a request that was admitted on the tenant's own key.
pub(super) struct Spare {
    /// After which failures.
    pub(super) failures: Fallback,
    /// What it may cost, and at which price it is settled.
    pub(super) micro_usd: u64,
    pub(super) price: Option<Price>,
    /// The sum that the ceiling is for, and the ceiling.
    pub(super) span: Span,
    pub(super) limit: u64,
    /// If it is paid once.
    pub(super) once: Option<Once>,
}

impl Spare {
    /// What there is, if the platform has a key and a price.
    pub(super) fn of(
        tenant: &Tenant,
        ceiling: Option<u64>,
        platform: Platform,
        price: Option<Price>,
        once: Option<Once>,
        now: Timestamp,
    ) -> Option<Self> {
        let Platform::Priced(micro_usd) = platform else { return None };
        Some(Self {
            failures: tenant.fallback,
            micro_usd,
            price,
            span: Span::of(tenant.budget_period, now),
            limit: tenant.limit(ceiling),
            once,
        })
    }
}

impl Quote {
    /// The platform pays nothing.
    pub(super) const ABSENT: Self = Self { platform: Platform::Absent, price: None };
}

impl Payments {
    /// With these keys and prices.
    pub fn new(platform: config::Platform) -> Self {
        Self(platform)
    }

    /// How long a hold lives, in milliseconds.
    pub(super) fn ttl_ms(&self) -> u64 {
        u64::try_from(self.0.hold_ttl.as_millis()).unwrap_or(u64::MAX)
    }

    /// The platform's key for a provider.
    pub(super) fn key(&self, provider: &ProviderId) -> Option<&Arc<ApiKey>> {
        self.0.keys.of(provider)
    }

    /// Whether the platform could pay for a model: it has a key, and the model a price.
    pub(super) fn covers(&self, model: &ModelName) -> bool {
        let priced = self.0.prices.of(model.provider.as_str(), &model.model).is_some();
        priced && self.key(&model.provider).is_some()
    }

    /// What a request may cost at most, as far as that can be told before it is answered.
    pub(super) fn quote(
        &self,
        provider: &ProviderId,
        operation: &Operation,
        model: Option<&str>,
        body: &ReadBody,
    ) -> Quote {
        let none = |platform| Quote { platform, price: None };
        if self.key(provider).is_none() {
            return none(Platform::Absent);
        }
        // Makes the provider read and not work.
        if operation.body == RequestBody::None && operation.method == "GET" {
            return none(Platform::Priced(0));
        }
        let price = model.and_then(|model| self.0.prices.of(provider.as_str(), model));
        let (true, Some(bytes), Some(price)) = (operation.counts_tokens(), body.whole(), price) else {
            return none(Platform::Unpriced);
        };
        let output = if operation.answers_in_tokens() { output_ceiling(bytes) } else { 0 };
        let most = TokenUsage { input: estimate_tokens(bytes.len()), cached_input: 0, output };
        Quote { platform: Platform::Priced(price.cost(most)), price: Some(*price) }
    }
}
