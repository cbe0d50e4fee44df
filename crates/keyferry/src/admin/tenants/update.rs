//! `PATCH /tenants/{tenant}`: only what is given changes.

use axum::{Json as Body, extract::Path};
use keyferry_core::tenant::{BudgetPeriod, Tenant};
use serde::{Deserialize, Deserializer};
use serde_json::json;

use super::{
    super::{
        context::Context,
        json::Json,
        problem::{Answer, Failure},
    },
    create::in_range,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    name: Option<String>,
    tier: Option<String>,
    byok_enabled: Option<bool>,
    daily_quota: Option<u64>,
    fallback: Option<FallbackChange>,
    /// Absent leaves it, `null` takes it away.
    #[serde(default, deserialize_with = "given")]
    budget_micro_usd: Option<Ceiling>,
    budget_period: Option<BudgetPeriod>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FallbackChange {
    missing: Option<bool>,
    unauthorized: Option<bool>,
    rate_limited: Option<bool>,
    no_credit: Option<bool>,
    server_error: Option<bool>,
}

const SHAPE: &str =
    "{name?, tier?, byok_enabled?, daily_quota?, fallback?, budget_micro_usd?, budget_period?}";

/// A number, or none.
struct Ceiling(Option<u64>);

fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Ceiling>, D::Error> {
    Option::deserialize(deserializer).map(|number| Some(Ceiling(number)))
}

pub(in super::super) async fn update(
    context: Context,
    Path(tenant): Path<String>,
    body: Json,
) -> Answer<Body<Tenant>> {
    context.operator()?;
    let mut tenant = context.tenant(&tenant).await?;
    let change: Change = body.read(SHAPE)?;
    if !in_range(change.daily_quota)
        || !in_range(change.budget_micro_usd.as_ref().and_then(|ceiling| ceiling.0))
    {
        return Err(Failure::invalid("A number is too large."));
    }
    fn set<T>(field: &mut T, value: Option<T>) {
        if let Some(value) = value {
            *field = value;
        }
    }
    set(&mut tenant.name, change.name);
    set(&mut tenant.tier, change.tier);
    set(&mut tenant.byok_enabled, change.byok_enabled);
    set(&mut tenant.daily_quota, change.daily_quota);
    set(&mut tenant.budget_micro_usd, change.budget_micro_usd.map(|ceiling| ceiling.0));
    set(&mut tenant.budget_period, change.budget_period);
    if let Some(change) = change.fallback {
        let fallback = &mut tenant.fallback;
        set(&mut fallback.missing, change.missing);
        set(&mut fallback.unauthorized, change.unauthorized);
        set(&mut fallback.rate_limited, change.rate_limited);
        set(&mut fallback.no_credit, change.no_credit);
        set(&mut fallback.server_error, change.server_error);
    }
    let detail = json!({"byok_enabled": tenant.byok_enabled, "daily_quota": tenant.daily_quota,
        "tier": tenant.tier, "fallback": tenant.fallback});
    let audit = context.audit("tenant.updated", Some(&tenant.id), tenant.id.as_str(), detail);
    context.state.store.update_tenant(&tenant, audit).await?;
    context.changed(&tenant.id).await?;
    Ok(Body(tenant))
}
