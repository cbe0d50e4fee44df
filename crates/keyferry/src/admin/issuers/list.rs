//! `GET /tenants/{tenant}/issuers`

use axum::{Json as Body, extract::Path};
use keyferry_core::{issuer::Issuer, port::store::Page};

use super::super::{context::Context, problem::Answer};

pub(in super::super) async fn list(
    context: Context,
    Path(tenant): Path<String>,
) -> Answer<Body<Page<Issuer>>> {
    let tenant = context.tenant(&tenant).await?;
    let data = context.state.store.issuers(&tenant.id).await?;
    Ok(Body(Page { data, next_cursor: None }))
}
