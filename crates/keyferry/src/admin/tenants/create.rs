//! `POST /tenants`

use axum::{Json as Body, http::StatusCode};
use keyferry_core::{
    id::TenantId,
    tenant::{BudgetPeriod, Fallback, Tenant},
};
use serde::Deserialize;
use serde_json::json;

use super::super::{
    context::Context,
    json::Json,
    problem::{Answer, Failure},
    text,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct New {
    id: TenantId,
    name: Option<String>,
    tier: Option<String>,
    #[serde(default)]
    byok_enabled: bool,
    daily_quota: Option<u64>,
    #[serde(default)]
    fallback: Fallback,
    budget_micro_usd: Option<u64>,
    #[serde(default)]
    budget_period: BudgetPeriod,
}

const SHAPE: &str =
    "{id, name?, tier?, byok_enabled?, daily_quota?, fallback?, budget_micro_usd?, budget_period?}";

/// Numbers that the store can keep.
pub(super) fn in_range(number: Option<u64>) -> bool {
    number.is_none_or(|number| i64::try_from(number).is_ok())
}

pub(in super::super) async fn create(context: Context, body: Json) -> Answer<(StatusCode, Body<Tenant>)> {
    context.operator()?;
    let new: New = body.read(SHAPE)?;
    if !in_range(new.daily_quota) || !in_range(new.budget_micro_usd) {
        return Err(Failure::invalid("A number is too large."));
    }
    text::check("id", Some(new.id.as_str()))?;
    text::check("name", new.name.as_deref())?;
    text::check("tier", new.tier.as_deref())?;
    let tenant = Tenant {
        name: new.name.unwrap_or_else(|| new.id.to_string()),
        id: new.id,
        tier: new.tier.unwrap_or_else(|| "default".to_owned()),
        byok_enabled: new.byok_enabled,
        daily_quota: new.daily_quota.unwrap_or(context.state.policy.daily_quota),
        fallback: new.fallback,
        budget_micro_usd: new.budget_micro_usd,
        budget_period: new.budget_period,
        created_at: context.now,
    };
    let detail = json!({"byok_enabled": tenant.byok_enabled, "daily_quota": tenant.daily_quota});
    let audit = context.audit("tenant.created", Some(&tenant.id), tenant.id.as_str(), detail);
    let new = tenant.clone();
    context.change(&tenant.id, async move |store| store.create_tenant(&new, audit).await).await?;
    Ok((StatusCode::CREATED, Body(tenant)))
}
