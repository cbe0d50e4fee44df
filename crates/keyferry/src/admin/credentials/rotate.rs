//! `POST …/credentials/{credential}/rotate`: a new key in the place of the old one.
//!
//! One transaction brings the new version in and destroys the old one, or, with an overlap, sets
//! the time at which it is destroyed.

use std::sync::Arc;

use axum::{Json as Body, extract::Path};
use keyferry_core::{
    credential::{CredentialSummary, State},
    id::CredentialId,
    port::store::{NewVersion, Store},
};
use serde::Deserialize;
use serde_json::json;

use super::{
    super::{
        context::{Context, parse_id},
        json::Json,
        problem::{Answer, Failure},
    },
    key_of, not_sealed,
};
use crate::telemetry::metrics;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rotation<'a> {
    api_key: Option<&'a str>,
    sealed_key: Option<&'a str>,
    overlap_seconds: Option<u32>,
}

const SHAPE: &str = "{api_key | sealed_key, overlap_seconds?}, the key without JSON escapes";
const MAX_OVERLAP: u32 = 30 * 24 * 3600;

pub(in super::super) async fn rotate(
    context: Context,
    Path((tenant, id)): Path<(String, String)>,
    body: Json,
) -> Answer<Body<CredentialSummary>> {
    let tenant = context.open_tenant(&tenant).await?;
    let id: CredentialId = parse_id(&id, "credential")?;
    let missing = || Failure::not_found("credential");
    let old = context.state.store.credential(&tenant.id, &id).await?.ok_or_else(missing)?;
    if old.state != State::Active {
        return Err(missing());
    }
    let rotation: Rotation<'_> = body.read(SHAPE)?;
    let overlap = rotation.overlap_seconds.unwrap_or(0);
    if overlap > MAX_OVERLAP {
        return Err(Failure::invalid(format!("'overlap_seconds' is at most {MAX_OVERLAP}.")));
    }
    let provider = context.state.providers.get(old.provider.as_str()).ok_or_else(missing)?;
    let key = key_of(&context, &tenant.id, provider, rotation.api_key, rotation.sealed_key).await?;
    let version = old.version + 1;
    let sealed = context.state.vault.seal(&tenant.id, provider, id.as_str(), version, &key).await;
    let sealed =
        sealed.map_err(|error| not_sealed(&error, "The key could not be sealed; the old one stays."))?;
    drop(key);
    let keep_old_until = (overlap > 0).then(|| context.now.plus_secs(i64::from(overlap)));
    let detail = json!({"provider": provider.id, "version": version, "overlap_seconds": overlap});
    let audit = context.audit("credential.rotated", Some(&tenant.id), id.as_str(), detail);
    let owner = tenant.id.clone();
    let rotation = async move |store: Arc<dyn Store>| {
        let new = NewVersion {
            version,
            sealed: &sealed.sealed,
            origin: &sealed.origin,
            last4: &sealed.last4,
            fingerprint: &sealed.fingerprint,
            keep_old_until,
        };
        store.rotate_credential(&owner, &id, new, audit).await
    };
    let summary = context.change(&tenant.id, rotation).await?;
    metrics::key_stored(provider.id.as_str());
    Ok(Body(summary))
}
