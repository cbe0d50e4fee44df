//! `DELETE …/credentials/{credential}`: destroys the wrapped keys; nobody can open them again.

use axum::{extract::Path, http::StatusCode};
use keyferry_core::id::CredentialId;
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
    let id: CredentialId = parse_id(&id, "credential")?;
    let audit = context.audit("credential.revoked", Some(&tenant.id), id.as_str(), json!({}));
    let owner = tenant.id.clone();
    context.change(&tenant.id, async move |store| store.revoke_credential(&owner, &id, audit).await).await?;
    Ok(StatusCode::NO_CONTENT)
}
