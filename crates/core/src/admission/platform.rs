//! The platform's side of a request: whether it could serve it with a key of its own, and what that may cost.

use crate::{
    budget::{Hold, Once, Reserve, Span, Spent},
    id::RequestId,
    tenant::Tenant,
    time::Timestamp,
};

/// What the platform could do for a request, were it allowed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Platform {
    /// It has no key of its own for the provider.
    Absent,
    /// It has one, but does not know what the request may cost.
    Unpriced,
    /// It has one, and the request may cost so much, in micro-USD.
    Priced(u64),
}

/// The hold for a request that the platform pays.
#[derive(Clone, Copy, Debug)]
pub struct Payment<'a> {
    /// The request.
    pub request: &'a RequestId,
    /// How long a hold lives, in milliseconds.
    pub ttl_ms: u64,
    /// The most that the tenant's tier allows in a period, in micro-USD.
    pub ceiling: Option<u64>,
    /// What the store says is spent, once the counters have asked for it.
    pub spent: Option<Spent>,
    /// The request as one that is paid once, if its client said so.
    pub once: Option<&'a Once>,
}

impl<'a> Payment<'a> {
    /// What to set aside for a tenant's request.
    pub fn reserve(&self, tenant: &Tenant, micro_usd: u64, now: Timestamp) -> Reserve<'a> {
        Reserve {
            hold: Hold { id: self.request, micro_usd, ttl_ms: self.ttl_ms, once: self.once },
            span: Span::of(tenant.budget_period, now),
            limit: tenant.limit(self.ceiling),
            spent: self.spent,
        }
    }
}
