//! What tenants are entitled to: their tiers, aliases and the models that are known by name.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

use keyferry_core::{admission::Policy, id::TenantId, model::Catalogue, tenant::Tenant, tier::Tier};

/// Tenants that a warning is remembered for.
const MAX_TOLD: usize = 10_000;

/// The configured entitlements.
pub(super) struct Entitlements {
    pub(super) catalogue: Arc<Catalogue>,
    /// Tenants whose tier was warned about.
    told: Mutex<HashSet<TenantId>>,
}

impl Entitlements {
    pub(super) fn new(catalogue: Arc<Catalogue>) -> Self {
        Self { catalogue, told: Mutex::default() }
    }

    /// The tier of a tenant. One that is in no list is warned about, once while this process runs.
    pub(super) fn tier(&self, tenant: &Tenant) -> &Tier {
        let (tier, known) = self.catalogue.tier_of(tenant);
        if !known {
            let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            if told.len() < MAX_TOLD && told.insert(tenant.id.clone()) {
                tracing::warn!(event = "tier_unknown", tenant = %tenant.id, served_as = %tier.name,
                    "the tenant's tier is not in `tiers`: it has what the least one has");
            }
        }
        tier
    }

    /// The operator's policy with the rates of a tier.
    pub(super) fn policy(policy: &Policy, tier: &Tier) -> Policy {
        Policy { rates: tier.rates.over(policy.rates), ..*policy }
    }
}
