//! `GET /tenants/{tenant}/tokens`: without their secrets, which nobody has.

use axum::{Json as Body, extract::Path, http::Uri};
use keyferry_core::{port::store::Page, token::Token};

use super::super::{context::Context, page, problem::Answer};

pub(in super::super) async fn list(
    context: Context,
    Path(tenant): Path<String>,
    uri: Uri,
) -> Answer<Body<Page<Token>>> {
    let tenant = context.tenant(&tenant).await?;
    let page = page::read(&uri)?.page()?;
    Ok(Body(context.state.store.tokens(&tenant.id, &page).await?))
}
