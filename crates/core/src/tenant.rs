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
