//! `GET /tenants/{tenant}/audit`: who did what with the tenant's keys, newest first.

use axum::{extract::Path, http::Uri, response::Response};
use keyferry_core::port::store::AuditFilter;

use super::{context::Context, page, problem::Answer, rows};

const COLUMNS: [&str; 11] =
    ["seq", "at", "actor", "action", "tenant", "target", "source", "detail", "prev_hash", "hash", "mac"];

pub(super) async fn list(context: Context, Path(tenant): Path<String>, uri: Uri) -> Answer<Response> {
    let tenant = context.tenant(&tenant).await?;
    let query = page::read(&uri)?;
    let (from, to) = query.range()?;
    let filter = AuditFilter {
        tenant: Some(tenant.id),
        from,
        to,
        action: query.action.clone(),
        actor: query.actor.clone(),
    };
    let page = context.state.store.audit(&filter, &query.page()?).await?;
    Ok(rows::answer(page, query.format, &COLUMNS))
}
