//! `GET /tenants/{tenant}/usage/requests`: a row per request, newest first.

use axum::{extract::Path, http::Uri, response::Response};

use super::super::{context::Context, page, problem::Answer, rows};

const COLUMNS: [&str; 18] = [
    "request_id",
    "at",
    "caller",
    "provider",
    "model",
    "operation",
    "credential",
    "credential_id",
    "accounting",
    "status",
    "outcome",
    "input_tokens",
    "cached_input_tokens",
    "output_tokens",
    "cost_micro_usd",
    "usage_source",
    "latency_ms",
    "overhead_us",
];

pub(in super::super) async fn requests(
    context: Context,
    Path(tenant): Path<String>,
    uri: Uri,
) -> Answer<Response> {
    let tenant = context.tenant(&tenant).await?;
    let query = page::read(&uri)?;
    let (from, to) = query.range()?;
    context.state.recorder.flush().await;
    let page = context.state.store.usage_rows(&tenant.id, from, to, &query.page()?).await?;
    Ok(rows::answer(page, query.format, &COLUMNS))
}
