//! `POST …/credentials/{credential}/test`: asks the provider, which costs nothing, and keeps the verdict.

use axum::{Json as Body, extract::Path};
use keyferry_core::{credential::TestResult, id::CredentialId};
use serde_json::{Value, json};

use super::super::{
    context::{Context, parse_id},
    problem::{Answer, Failure},
};

pub(in super::super) async fn test(
    context: Context,
    Path((tenant, id)): Path<(String, String)>,
) -> Answer<Body<Value>> {
    let tenant = context.open_tenant(&tenant).await?;
    context.draw_key_test().await?;
    let id: CredentialId = parse_id(&id, "credential")?;
    let tested = context.state.key_test.stored(&context.actor_name(), &tenant.id, id.as_str()).await?;
    let Some(tested) = tested else { return Err(Failure::not_found("credential")) };
    let detail = json!({"status": tested.status});
    let audit = context.audit("credential.tested", Some(&tenant.id), id.as_str(), detail);
    let result = TestResult { status: tested.status, at: Some(context.now) };
    context.state.store.record_test(&tenant.id, &id, result, audit).await?;
    Ok(Body(json!({"status": tested.status, "tested_at": context.now})))
}
