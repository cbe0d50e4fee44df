//! `GET /tenants/{tenant}/credentials/{credential}`

use axum::{Json as Body, extract::Path};
use keyferry_core::credential::CredentialSummary;

use super::super::{
    context::{Context, parse_id},
    problem::{Answer, Failure},
};

pub(in super::super) async fn get(
    context: Context,
    Path((tenant, id)): Path<(String, String)>,
) -> Answer<Body<CredentialSummary>> {
    let tenant = context.tenant(&tenant).await?;
    let id = parse_id(&id, "credential")?;
    context.state.recorder.flush().await;
    let found = context.state.store.credential(&tenant.id, &id).await?;
    found.map(Body).ok_or_else(|| Failure::not_found("credential"))
}
