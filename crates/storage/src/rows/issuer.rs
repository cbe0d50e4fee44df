//! Issuers of JWTs.

use keyferry_core::{
    issuer::{Algorithm, Issuer, Jwks},
    port::store::StoreError,
};

use super::{Columns, Reader};

pub(crate) const THERE_IS_ONE: &str = "This issuer is registered for this audience already.";

/// The statement that adds an issuer, with its values.
macro_rules! insert_issuer {
    ($issuer:expr) => {{
        let (jwks, jwks_url) = match &$issuer.keys {
            Jwks::Inline(text) => (Some(text), None),
            Jwks::Url(url) => (None, Some(url)),
        };
        sqlx::query(
            "INSERT INTO issuers (id, tenant_id, issuer, audience, algorithm, jwks, jwks_url,
             created_at, created_by) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        )
        .bind($issuer.id.as_str())
        .bind($issuer.tenant.as_str())
        .bind(&$issuer.issuer)
        .bind(&$issuer.audience)
        .bind($issuer.algorithm.as_str())
        .bind(jwks)
        .bind(jwks_url)
        .bind($issuer.created_at.millis())
        .bind(&$issuer.created_by)
    }};
}
pub(crate) use insert_issuer;

pub(crate) fn read<R: Columns>(row: &R) -> Result<Issuer, StoreError> {
    let row = Reader { table: "issuers", row };
    let keys = match (row.get::<Option<String>>("jwks")?, row.get::<Option<String>>("jwks_url")?) {
        (Some(text), None) => Jwks::Inline(text),
        (None, Some(url)) => Jwks::Url(url),
        _ => return Err(row.bad("jwks")),
    };
    Ok(Issuer {
        id: row.parse("id")?,
        tenant: row.parse("tenant_id")?,
        issuer: row.get("issuer")?,
        audience: row.get("audience")?,
        algorithm: match row.get::<String>("algorithm")?.as_str() {
            "ES256" => Algorithm::ES256,
            "EdDSA" => Algorithm::EdDSA,
            "RS256" => Algorithm::RS256,
            _ => return Err(row.bad("algorithm")),
        },
        keys,
        created_at: row.time("created_at")?,
        created_by: row.get("created_by")?,
    })
}
