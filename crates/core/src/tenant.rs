//! A tenant: the unit of isolation, and the switches its operator holds.

use serde::{Deserialize, Serialize};

use crate::{id::TenantId, time::Timestamp};

/// Requests a tenant may make on one UTC day unless its operator says otherwise.
pub const DEFAULT_DAILY_QUOTA: u64 = 10_000;

/// A tenant as the control plane shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Tenant {
    /// Chosen by the operator, never changes.
    pub id: TenantId,
    /// For people.
    pub name: String,
    /// Which entitlements apply.
    pub tier: String,
    /// The feature gate: off until the operator turns it on.
    pub byok_enabled: bool,
    /// Requests a UTC day.
    pub daily_quota: u64,
    /// In which cases the platform's own key may serve instead. All off by default.
    pub fallback: Fallback,
    /// Ceiling for requests paid by the platform; none set means none allowed.
    pub budget_micro_usd: Option<u64>,
    /// What the ceiling counts over.
    pub budget_period: BudgetPeriod,
    /// When it was made.
    pub created_at: Timestamp,
}

impl Tenant {
    /// What the platform may pay in a period, in micro-USD, if the tenant's tier allows so much at most. None set means none
    /// allowed.
    pub fn limit(&self, ceiling: Option<u64>) -> u64 {
        self.budget_micro_usd.unwrap_or(0).min(ceiling.unwrap_or(u64::MAX))
    }
}

/// What changes of a tenant; what is absent stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TenantChange {
    /// For people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Which entitlements apply.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tier: Option<String>,
    /// The feature gate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub byok_enabled: Option<bool>,
    /// Requests a UTC day.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub daily_quota: Option<u64>,
    /// In which cases the platform's own key may serve instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fallback: Option<FallbackChange>,
    /// A ceiling, or none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget_micro_usd: Option<Ceiling>,
    /// What the ceiling counts over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget_period: Option<BudgetPeriod>,
}

/// A ceiling in micro-USD, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Ceiling(pub Option<u64>);

/// What changes of the fallback switches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(missing_docs, reason = "as in Fallback")]
pub struct FallbackChange {
    pub missing: Option<bool>,
    pub unauthorized: Option<bool>,
    pub rate_limited: Option<bool>,
    pub no_credit: Option<bool>,
    pub server_error: Option<bool>,
}

impl TenantChange {
    /// Makes the change.
    pub fn apply(&self, tenant: &mut Tenant) {
        fn set<T: Clone>(field: &mut T, value: Option<&T>) {
            if let Some(value) = value {
                field.clone_from(value);
            }
        }
        set(&mut tenant.name, self.name.as_ref());
        set(&mut tenant.tier, self.tier.as_ref());
        set(&mut tenant.byok_enabled, self.byok_enabled.as_ref());
        set(&mut tenant.daily_quota, self.daily_quota.as_ref());
        set(&mut tenant.budget_period, self.budget_period.as_ref());
        if let Some(ceiling) = self.budget_micro_usd {
            tenant.budget_micro_usd = ceiling.0;
        }
        if let Some(change) = &self.fallback {
            let fallback = &mut tenant.fallback;
            set(&mut fallback.missing, change.missing.as_ref());
            set(&mut fallback.unauthorized, change.unauthorized.as_ref());
            set(&mut fallback.rate_limited, change.rate_limited.as_ref());
            set(&mut fallback.no_credit, change.no_credit.as_ref());
            set(&mut fallback.server_error, change.server_error.as_ref());
        }
    }
}

/// The failure classes in which a platform key may serve a tenant's request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Fallback {
    /// The tenant has no key for the provider.
    pub missing: bool,
    /// The provider refused the tenant's key (401, 403).
    pub unauthorized: bool,
    /// The provider limits the tenant's key (429).
    pub rate_limited: bool,
    /// The tenant's account has no credit (402).
    pub no_credit: bool,
    /// The provider failed (5xx).
    pub server_error: bool,
}

/// Over which time a budget counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BudgetPeriod {
    /// The UTC calendar month.
    #[default]
    Month,
    /// For ever.
    Total,
}

impl BudgetPeriod {
    /// The name on the wire and in the store.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Month => "month",
            Self::Total => "total",
        }
    }
}
