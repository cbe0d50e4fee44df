//! `GET /tenants/{tenant}/usage/requests`: a row per request, newest first.

use axum::{extract::Path, http::Uri, response::Response};

use super::super::{context::Context, page, problem::Answer, rows};

pub(in super::super) async fn requests(
    context: Context,
    Path(tenant): Path<String>,
    uri: Uri,
) -> Answer<Response> {
    let tenant = context.tenant(&tenant).await?;
    let query = page::read(&uri)?;
    let (from, to) = query.range()?;
    let page = context.state.store.usage_rows(&tenant.id, from, to, &query.page()?).await?;
    Ok(rows::answer(page, query.format))
}
