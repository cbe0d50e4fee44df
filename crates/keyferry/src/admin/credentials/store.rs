//! `POST /tenants/{tenant}/credentials`: seals a key and keeps it.

use axum::{Json as Body, extract::Path, http::StatusCode};
use keyferry_core::{
    code::Code,
    credential::{CredentialSummary, DEFAULT_LABEL, SealedCredential, State, TestResult},
    id::CredentialId,
    verdict::KeyStatus,
};
use serde::Deserialize;
use serde_json::json;

use super::{
    super::{
        context::Context,
        json::Json,
        problem::{Answer, Failure},
        text,
    },
    key_of, not_sealed,
};
use crate::telemetry::metrics;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct New<'a> {
    provider: &'a str,
    api_key: Option<&'a str>,
    sealed_key: Option<&'a str>,
    label: Option<String>,
}

const SHAPE: &str = "{provider, api_key | sealed_key, label?}, the key without JSON escapes";
const FIRST: u32 = 1;

pub(in super::super) async fn store(
    context: Context,
    Path(tenant): Path<String>,
    body: Json,
) -> Answer<(StatusCode, Body<CredentialSummary>)> {
    let tenant = context.open_tenant(&tenant).await?;
    let new: New<'_> = body.read(SHAPE)?;
    let provider = context
        .state
        .providers
        .get(new.provider)
        .ok_or_else(|| Failure::new(Code::UnknownProvider, "No provider of this name is configured."))?;
    let label = new.label.unwrap_or_else(|| DEFAULT_LABEL.to_owned());
    text::check("label", Some(&label))?;
    if label.len() > 64 {
        return Err(Failure::invalid("'label' is at most 64 bytes."));
    }
    let key = key_of(&context, &tenant.id, provider, new.api_key, new.sealed_key).await?;
    // A key pasted into the wrong field must not be kept, shown in lists and written to the log.
    if label.as_bytes().windows(12).any(|part| key.expose().windows(12).any(|window| window == part)) {
        return Err(Failure::invalid("The label has a part of the key in it."));
    }
    let id = CredentialId::make(context.now, &*context.state.entropy);
    let sealed = context.state.vault.seal(&tenant.id, provider, id.as_str(), FIRST, &key).await;
    let sealed =
        sealed.map_err(|error| not_sealed(&error, "The key could not be sealed, and was not stored."))?;
    drop(key);
    let summary = CredentialSummary {
        id,
        tenant: tenant.id.clone(),
        provider: provider.id.clone(),
        label,
        version: FIRST,
        state: State::Active,
        last4: sealed.last4,
        fingerprint: sealed.fingerprint,
        kek_id: sealed.sealed.kek_id.to_string(),
        created_at: context.now,
        created_by: context.actor_name(),
        last_used_at: None,
        test: TestResult { status: KeyStatus::Untested, at: None },
    };
    let detail = json!({"provider": provider.id, "label": summary.label, "version": FIRST});
    let audit = context.audit("credential.stored", Some(&tenant.id), summary.id.as_str(), detail);
    let credential =
        SealedCredential { summary, origin: sealed.origin, sealed: sealed.sealed, kek: Some(sealed.kek) };
    let shown = credential.summary.clone();
    context.change(&tenant.id, async move |store| store.create_credential(&credential, audit).await).await?;
    metrics::key_stored(provider.id.as_str());
    Ok((StatusCode::CREATED, Body(shown)))
}
