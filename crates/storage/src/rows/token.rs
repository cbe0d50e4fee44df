//! Gateway tokens.

use keyferry_core::{
    port::store::{StoreError, StoredToken},
    token::{Role, Token, TokenHash},
};

use super::{Columns, Reader};

pub(crate) const THERE_IS_ONE: &str = "There is a token of this id already. Try again.";

pub(crate) fn models_text(token: &Token) -> Option<String> {
    token.models.as_ref().map(|models| serde_json::json!(models).to_string())
}

/// The statement that adds a token, with its values.
macro_rules! insert_token {
    ($stored:expr) => {
        sqlx::query(
            "INSERT INTO tokens (id, tenant_id, hash, role, name, models, rate, expires_at,
             created_at, created_by) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        )
        .bind($stored.token.id.as_str())
        .bind($stored.token.tenant.as_str())
        .bind($stored.hash.as_bytes().to_vec())
        .bind($stored.token.role.as_str())
        .bind(&$stored.token.name)
        .bind($crate::rows::token::models_text(&$stored.token))
        .bind($stored.token.rate.map(|rate| rate.to_string()))
        .bind($stored.token.expires_at.map(Timestamp::millis))
        .bind($stored.token.created_at.millis())
        .bind(&$stored.token.created_by)
    };
}
pub(crate) use insert_token;

pub(crate) fn read_stored<R: Columns>(row: &R) -> Result<StoredToken, StoreError> {
    let reader = Reader { table: "tokens", row };
    let hash = TokenHash::from_stored(&reader.get::<Vec<u8>>("hash")?).ok_or_else(|| reader.bad("hash"))?;
    Ok(StoredToken { token: read(row)?, hash })
}

pub(crate) fn read<R: Columns>(row: &R) -> Result<Token, StoreError> {
    let row = Reader { table: "tokens", row };
    Ok(Token {
        id: row.parse("id")?,
        tenant: row.parse("tenant_id")?,
        name: row.get("name")?,
        role: match row.get::<String>("role")?.as_str() {
            "caller" => Role::Caller,
            "tenant_admin" => Role::TenantAdmin,
            _ => return Err(row.bad("role")),
        },
        models: row
            .get::<Option<String>>("models")?
            .map(|models| serde_json::from_str(&models))
            .transpose()
            .map_err(|_| row.bad("models"))?,
        rate: row
            .get::<Option<String>>("rate")?
            .map(|rate| rate.parse())
            .transpose()
            .map_err(|_| row.bad("rate"))?,
        expires_at: row.maybe_time("expires_at")?,
        created_at: row.time("created_at")?,
        created_by: row.get("created_by")?,
        revoked_at: row.maybe_time("revoked_at")?,
    })
}
