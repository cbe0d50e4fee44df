//! `POST /tenants/{tenant}/issuers`: whose JWTs the tenant accepts, under which one algorithm.

use axum::{Json as Body, extract::Path, http::StatusCode};
use keyferry_core::{
    id::IssuerId,
    issuer::{Algorithm, Issuer, Jwks},
    net::base_url::BaseUrl,
};
use serde::Deserialize;
use serde_json::{json, value::RawValue};

use super::super::{
    context::Context,
    json::Json,
    problem::{Answer, Failure},
    text,
};
use crate::gateway::KeySet;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct New<'a> {
    issuer: String,
    audience: String,
    algorithm: Algorithm,
    #[serde(borrow)]
    jwks: Option<&'a RawValue>,
    jwks_url: Option<String>,
}

const SHAPE: &str = "{issuer, audience, algorithm: ES256|EdDSA|RS256, jwks | jwks_url}";
const MAX_JWKS: usize = 64 * 1024;

pub(in super::super) async fn register(
    context: Context,
    Path(tenant): Path<String>,
    body: Json,
) -> Answer<(StatusCode, Body<Issuer>)> {
    let tenant = context.tenant(&tenant).await?;
    let new: New<'_> = body.read(SHAPE)?;
    text::check("issuer", Some(&new.issuer))?;
    text::check("audience", Some(&new.audience))?;
    text::check("jwks_url", new.jwks_url.as_deref())?;
    let issuer = Issuer {
        id: IssuerId::make(context.now, &*context.state.entropy),
        tenant: tenant.id.clone(),
        keys: keys(&new)?,
        issuer: new.issuer,
        audience: new.audience,
        algorithm: new.algorithm,
        created_at: context.now,
        created_by: context.actor_name(),
    };
    let detail = json!({"issuer": issuer.issuer, "algorithm": issuer.algorithm});
    let audit = context.audit("issuer.registered", Some(&tenant.id), issuer.id.as_str(), detail);
    let new = issuer.clone();
    context.change(&tenant.id, async move |store| store.create_issuer(&new, audit).await).await?;
    Ok((StatusCode::CREATED, Body(issuer)))
}

fn keys(new: &New<'_>) -> Result<Jwks, Failure> {
    match (new.jwks, &new.jwks_url) {
        (Some(set), None) => {
            let text = set.get();
            if text.len() > MAX_JWKS {
                return Err(Failure::invalid("'jwks' is too large."));
            }
            // The private half of a key would make everybody who can list issuers an issuer.
            if has_private_part(text) {
                return Err(Failure::invalid("'jwks' has private keys in it. Send only the public parts."));
            }
            let reduced = KeySet::reduced(text.as_bytes(), new.algorithm)
                .map_err(|error| Failure::invalid(format!("'jwks' {error}.")))?;
            text::check_all("jwks", &reduced)?;
            Ok(Jwks::Inline(reduced))
        }
        (None, Some(url)) => {
            BaseUrl::parse(url).map_err(|error| Failure::invalid(format!("'jwks_url': {error}.")))?;
            Ok(Jwks::Url(url.clone()))
        }
        _ => Err(Failure::invalid("Exactly one of jwks and jwks_url is needed.")),
    }
}

fn has_private_part(text: &str) -> bool {
    let value: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
    let keys = value["keys"].as_array().cloned().unwrap_or_default();
    keys.iter().any(|key| ["d", "p", "q", "k"].iter().any(|part| key.get(part).is_some()))
}
