//! `POST /tenants/{tenant}/tokens`: the one answer that shows a token.

use axum::{Json as Body, extract::Path, http::StatusCode};
use keyferry_core::{
    limits::Rate,
    port::store::StoredToken,
    tenant::Tenant,
    time::Timestamp,
    token::{self, Role, Token},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::{
    context::{Actor, Context},
    json::Json,
    problem::{Answer, Failure},
    text,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct New {
    role: Role,
    name: Option<String>,
    expires_at: Option<Timestamp>,
    models: Option<Vec<String>>,
    rate: Option<Rate>,
}

const SHAPE: &str = "{role: caller|tenant_admin, name?, expires_at?, models?, rate?}";

pub(in super::super) async fn issue(
    context: Context,
    Path(tenant): Path<String>,
    body: Json,
) -> Answer<(StatusCode, Body<Value>)> {
    let tenant = context.tenant(&tenant).await?;
    let new: New = body.read(SHAPE)?;
    if new.expires_at.is_some_and(|end| end <= context.now) {
        return Err(Failure::invalid("'expires_at' is in the past."));
    }
    text::check("name", new.name.as_deref())?;
    for model in new.models.iter().flatten() {
        text::check("models", Some(model))?;
    }
    check_rate(&context, &tenant, new.rate)?;
    let minted = token::mint(&*context.state.entropy);
    let token = Token {
        id: minted.id,
        tenant: tenant.id.clone(),
        name: new.name,
        role: new.role,
        models: new.models,
        rate: new.rate,
        expires_at: new.expires_at,
        created_at: context.now,
        created_by: context.actor_name(),
        revoked_at: None,
    };
    let detail = json!({"role": token.role, "name": token.name});
    let audit = context.audit("token.issued", Some(&tenant.id), token.id.as_str(), detail);
    let stored = StoredToken { token, hash: minted.hash };
    let mut shown = json!(stored.token);
    context.change(&tenant.id, async move |store| store.create_token(&stored, audit).await).await?;
    shown["token"] = json!(String::from_utf8_lossy(minted.text.expose()));
    Ok((StatusCode::CREATED, Body(shown)))
}

/// How fast a caller may be is the operator's to say: a tenant's admin may slow a token down, and
/// not lift it above the limit of all.
fn check_rate(context: &Context, tenant: &Tenant, rate: Option<Rate>) -> Result<(), Failure> {
    let (tier, _) = context.state.catalogue.tier_of(tenant);
    let limit = tier.rates.over(context.state.policy.rates).caller;
    let lifts = matches!(context.actor, Actor::OfTenant(_)) && rate.is_some_and(|rate| rate.exceeds(limit));
    if !lifts {
        return Ok(());
    }
    Err(Failure::invalid(format!(
        "'rate' lets more pass than rate_limits.caller of the tenant's tier, which is {limit} and at most {} at once. Only the \
         operator may issue such a token.",
        limit.burst()
    )))
}
