//! Gateway tokens.

use keyferry_core::{
    audit::AuditDraft,
    id::{TenantId, TokenId},
    port::store::{Page, PageRequest, StoreError, StoredToken},
    time::Timestamp,
    token::{Role, Token, TokenHash},
};
use sqlx::sqlite::SqliteRow;

use super::{
    SqliteStore, away, conflict,
    rows::{Reader, cursor, paged},
    tenant::must_exist,
};

impl SqliteStore {
    pub(super) async fn token_create(
        &self,
        stored: &StoredToken,
        audit: AuditDraft,
    ) -> Result<(), StoreError> {
        let token = &stored.token;
        let models = token.models.as_ref().map(|models| serde_json::json!(models).to_string());
        let mut tx = self.write().await?;
        must_exist(&mut tx, &token.tenant).await?;
        sqlx::query(
            "INSERT INTO tokens (id, tenant_id, hash, role, name, models, rate, expires_at,
             created_at, created_by) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(token.id.as_str())
        .bind(token.tenant.as_str())
        .bind(stored.hash.as_bytes())
        .bind(token.role.as_str())
        .bind(&token.name)
        .bind(models)
        .bind(token.rate.map(|rate| rate.to_string()))
        .bind(token.expires_at.map(Timestamp::millis))
        .bind(token.created_at.millis())
        .bind(&token.created_by)
        .execute(&mut *tx)
        .await
        .map_err(conflict("There is a token of this id already. Try again."))?;
        self.commit(tx, audit).await
    }

    pub(super) async fn token_get(&self, id: &TokenId) -> Result<Option<StoredToken>, StoreError> {
        let row = sqlx::query("SELECT * FROM tokens WHERE id = ?")
            .bind(id.as_str())
            .fetch_optional(&self.readers)
            .await
            .map_err(away)?;
        let Some(row) = row else { return Ok(None) };
        let reader = Reader { table: "tokens", row: &row };
        let hash = TokenHash::from_stored(reader.get("hash")?).ok_or_else(|| reader.bad("hash"))?;
        Ok(Some(StoredToken { token: read(&row)?, hash }))
    }

    pub(super) async fn token_list(
        &self,
        tenant: &TenantId,
        page: &PageRequest,
    ) -> Result<Page<Token>, StoreError> {
        let rows = sqlx::query("SELECT * FROM tokens WHERE tenant_id = ? AND n < ? ORDER BY n DESC LIMIT ?")
            .bind(tenant.as_str())
            .bind(cursor(page, i64::MAX)?)
            .bind(i64::from(page.limit) + 1)
            .fetch_all(&self.readers)
            .await
            .map_err(away)?;
        let numbered = |row: &SqliteRow| Ok((Reader { table: "tokens", row }.get("n")?, read(row)?));
        Ok(paged(rows.iter().map(numbered).collect::<Result<_, StoreError>>()?, page.limit))
    }

    pub(super) async fn token_revoke(
        &self,
        tenant: &TenantId,
        id: &TokenId,
        audit: AuditDraft,
    ) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        let done = sqlx::query(
            "UPDATE tokens SET revoked_at = ? WHERE tenant_id = ? AND id = ? AND revoked_at IS NULL",
        )
        .bind(audit.at.millis())
        .bind(tenant.as_str())
        .bind(id.as_str())
        .execute(&mut *tx)
        .await
        .map_err(away)?;
        if done.rows_affected() == 0 {
            return Err(StoreError::NotFound("token"));
        }
        self.commit(tx, audit).await
    }
}

fn read(row: &SqliteRow) -> Result<Token, StoreError> {
    let row = Reader { table: "tokens", row };
    Ok(Token {
        id: row.parse("id")?,
        tenant: row.parse("tenant_id")?,
        name: row.get("name")?,
        role: match row.get("role")? {
            "caller" => Role::Caller,
            "tenant_admin" => Role::TenantAdmin,
            _ => return Err(row.bad("role")),
        },
        models: row
            .get::<Option<&str>>("models")?
            .map(serde_json::from_str)
            .transpose()
            .map_err(|_| row.bad("models"))?,
        rate: row.get::<Option<&str>>("rate")?.map(str::parse).transpose().map_err(|_| row.bad("rate"))?,
        expires_at: row.maybe_time("expires_at")?,
        created_at: row.time("created_at")?,
        created_by: row.get("created_by")?,
        revoked_at: row.maybe_time("revoked_at")?,
    })
}
