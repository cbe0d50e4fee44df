//! `GET /tenants`

use axum::{Json as Body, http::Uri};
use keyferry_core::{port::store::Page, tenant::Tenant};

use super::super::{context::Context, page, problem::Answer};

pub(in super::super) async fn list(context: Context, uri: Uri) -> Answer<Body<Page<Tenant>>> {
    context.operator()?;
    let page = page::read(&uri)?.page()?;
    Ok(Body(context.state.store.tenants(&page).await?))
}
