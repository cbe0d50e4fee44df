//! `PATCH /tenants/{tenant}`: only what is given changes.

use axum::{Json as Body, extract::Path};
use keyferry_core::tenant::{BudgetPeriod, Ceiling, FallbackChange, Tenant, TenantChange};
use serde::{Deserialize, Deserializer};
use serde_json::json;

use super::{
    super::{
        context::Context,
        json::Json,
        problem::{Answer, Failure},
        text,
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

const SHAPE: &str =
    "{name?, tier?, byok_enabled?, daily_quota?, fallback?, budget_micro_usd?, budget_period?}";

fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Ceiling>, D::Error> {
    Ceiling::deserialize(deserializer).map(Some)
}

pub(in super::super) async fn update(
    context: Context,
    Path(tenant): Path<String>,
    body: Json,
) -> Answer<Body<Tenant>> {
    context.operator()?;
    let tenant = context.tenant(&tenant).await?;
    let asked: Change = body.read(SHAPE)?;
    if !in_range(asked.daily_quota) || !in_range(asked.budget_micro_usd.and_then(|ceiling| ceiling.0)) {
        return Err(Failure::invalid("A number is too large."));
    }
    text::check("name", asked.name.as_deref())?;
    text::check("tier", asked.tier.as_deref())?;
    let change = TenantChange {
        name: asked.name,
        tier: asked.tier,
        byok_enabled: asked.byok_enabled,
        daily_quota: asked.daily_quota,
        fallback: asked.fallback,
        budget_micro_usd: asked.budget_micro_usd,
        budget_period: asked.budget_period,
    };
    let audit = context.audit("tenant.updated", Some(&tenant.id), tenant.id.as_str(), json!(change));
    let id = tenant.id.clone();
    let changed =
        context.change(&tenant.id, async move |store| store.update_tenant(&id, &change, audit).await);
    Ok(Body(changed.await?))
}
