//! `DELETE /tenants/{tenant}`: its keys are destroyed, its tokens stop, its usage and audit rows stay.

use axum::{extract::Path, http::StatusCode};
use serde_json::json;

use super::super::{context::Context, problem::Answer};

pub(in super::super) async fn delete(context: Context, Path(tenant): Path<String>) -> Answer<StatusCode> {
    context.operator()?;
    let tenant = context.tenant(&tenant).await?;
    let audit = context.audit("tenant.deleted", Some(&tenant.id), tenant.id.as_str(), json!({}));
    let id = tenant.id.clone();
    context.change(&tenant.id, async move |store| store.delete_tenant(&id, audit).await).await?;
    Ok(StatusCode::NO_CONTENT)
}
