//! `DELETE /tenants/{tenant}/tokens/{token}`: refused from the next request on.

use axum::{extract::Path, http::StatusCode};
use keyferry_core::id::TokenId;
use serde_json::json;

use super::super::{
    context::{Context, parse_id},
    problem::Answer,
};

pub(in super::super) async fn revoke(
    context: Context,
    Path((tenant, id)): Path<(String, String)>,
) -> Answer<StatusCode> {
    let tenant = context.tenant(&tenant).await?;
    let id: TokenId = parse_id(&id, "token")?;
    let audit = context.audit("token.revoked", Some(&tenant.id), id.as_str(), json!({}));
    let owner = tenant.id.clone();
    context.change(&tenant.id, async move |store| store.revoke_token(&owner, &id, audit).await).await?;
    Ok(StatusCode::NO_CONTENT)
}
