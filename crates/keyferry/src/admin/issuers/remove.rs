//! `DELETE /tenants/{tenant}/issuers/{issuer}`: its tokens are refused from the next request on.

use axum::{extract::Path, http::StatusCode};
use keyferry_core::id::IssuerId;
use serde_json::json;

use super::super::{
    context::{Context, parse_id},
    problem::Answer,
};

pub(in super::super) async fn remove(
    context: Context,
    Path((tenant, id)): Path<(String, String)>,
) -> Answer<StatusCode> {
    let tenant = context.tenant(&tenant).await?;
    let id: IssuerId = parse_id(&id, "issuer")?;
    let audit = context.audit("issuer.removed", Some(&tenant.id), id.as_str(), json!({}));
    let owner = tenant.id.clone();
    context.change(&tenant.id, async move |store| store.delete_issuer(&owner, &id, audit).await).await?;
    Ok(StatusCode::NO_CONTENT)
}
