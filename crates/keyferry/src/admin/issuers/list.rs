//! `GET /tenants/{tenant}/issuers`

use axum::{Json as Body, extract::Path, http::Uri};
use keyferry_core::{issuer::Issuer, port::store::Page};

use super::super::{context::Context, page, problem::Answer};

pub(in super::super) async fn list(
    context: Context,
    Path(tenant): Path<String>,
    uri: Uri,
) -> Answer<Body<Page<Issuer>>> {
    let tenant = context.tenant(&tenant).await?;
    // A tenant has few: they come on one page.
    page::read(&uri)?.page()?;
    let data = context.state.store.issuers(&tenant.id).await?;
    Ok(Body(Page { data, next_cursor: None }))
}
