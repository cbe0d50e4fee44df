//! `GET /tenants/{tenant}/budget`: what may still be spent, and the day's quota.

use axum::{Json as Body, extract::Path};
use keyferry_core::budget::Span;
use serde_json::{Value, json};

use super::super::{context::Context, problem::Answer};

pub(in super::super) async fn budget(context: Context, Path(tenant): Path<String>) -> Answer<Body<Value>> {
    let tenant = context.tenant(&tenant).await?;
    let (counters, now) = (&context.state.counters, context.now);
    let used = counters.quota_used(&tenant.id, now.day()).await?;
    let span = Span::of(tenant.budget_period, now);
    let held = counters.standing(&tenant.id, span, now).await?.held;
    // The store has the truth; the counters may not have heard of it yet.
    let spent = context.state.store.spent(&tenant.id, span).await?.micro_usd;
    Ok(Body(json!({
        "limit_micro_usd": tenant.budget_micro_usd,
        "spent_micro_usd": spent,
        "held_micro_usd": held,
        "quota": {"limit": tenant.daily_quota, "used": used, "resets_at": now.next_day()},
    })))
}
