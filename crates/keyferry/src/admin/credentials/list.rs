//! `GET /tenants/{tenant}/credentials`: active and revoked ones, never a key.

use axum::{Json as Body, extract::Path, http::Uri};
use keyferry_core::{credential::CredentialSummary, port::store::Page};

use super::super::{context::Context, page, problem::Answer};

pub(in super::super) async fn list(
    context: Context,
    Path(tenant): Path<String>,
    uri: Uri,
) -> Answer<Body<Page<CredentialSummary>>> {
    let tenant = context.tenant(&tenant).await?;
    let page = page::read(&uri)?.page()?;
    context.state.recorder.flush().await;
    Ok(Body(context.state.store.credentials(&tenant.id, &page).await?))
}
