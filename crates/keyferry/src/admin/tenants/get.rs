//! `GET /tenants/{tenant}`

use axum::{Json as Body, extract::Path};
use keyferry_core::tenant::Tenant;

use super::super::{context::Context, problem::Answer};

pub(in super::super) async fn get(context: Context, Path(tenant): Path<String>) -> Answer<Body<Tenant>> {
    Ok(Body(context.tenant(&tenant).await?))
}
