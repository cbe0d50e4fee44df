//! `GET /tenants/{tenant}/budget`: what may still be spent, and the day's quota.

use axum::{Json as Body, extract::Path};
use serde_json::{Value, json};

use super::super::{context::Context, problem::Answer};

pub(in super::super) async fn budget(context: Context, Path(tenant): Path<String>) -> Answer<Body<Value>> {
    let tenant = context.tenant(&tenant).await?;
    let used = context.state.counters.quota_used(&tenant.id, context.now.day()).await?;
    Ok(Body(json!({
        "limit_micro_usd": tenant.budget_micro_usd,
        // Every request is on a key of the tenant's own: the platform pays nothing.
        "spent_micro_usd": 0,
        "held_micro_usd": 0,
        "quota": {"limit": tenant.daily_quota, "used": used, "resets_at": context.now.next_day()},
    })))
}
