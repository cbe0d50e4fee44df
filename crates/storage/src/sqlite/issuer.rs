//! Issuers of JWTs.

use keyferry_core::{
    audit::AuditDraft,
    id::{IssuerId, TenantId},
    issuer::{Algorithm, Issuer, Jwks},
    port::store::StoreError,
};
use sqlx::sqlite::SqliteRow;

use super::{SqliteStore, away, conflict, rows::Reader, tenant::must_exist};

impl SqliteStore {
    pub(super) async fn issuer_create(&self, issuer: &Issuer, audit: AuditDraft) -> Result<(), StoreError> {
        let (jwks, jwks_url) = match &issuer.keys {
            Jwks::Inline(text) => (Some(text), None),
            Jwks::Url(url) => (None, Some(url)),
        };
        let mut tx = self.write().await?;
        must_exist(&mut tx, &issuer.tenant).await?;
        sqlx::query(
            "INSERT INTO issuers (id, tenant_id, issuer, audience, algorithm, jwks, jwks_url,
             created_at, created_by) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(issuer.id.as_str())
        .bind(issuer.tenant.as_str())
        .bind(&issuer.issuer)
        .bind(&issuer.audience)
        .bind(issuer.algorithm.as_str())
        .bind(jwks)
        .bind(jwks_url)
        .bind(issuer.created_at.millis())
        .bind(&issuer.created_by)
        .execute(&mut *tx)
        .await
        .map_err(conflict("This issuer is registered for this audience already."))?;
        self.commit(tx, audit).await
    }

    pub(super) async fn issuer_list(&self, tenant: &TenantId) -> Result<Vec<Issuer>, StoreError> {
        let rows = sqlx::query("SELECT * FROM issuers WHERE tenant_id = ? ORDER BY id")
            .bind(tenant.as_str())
            .fetch_all(&self.readers)
            .await
            .map_err(away)?;
        rows.iter().map(read).collect()
    }

    pub(super) async fn issuer_any(&self) -> Result<bool, StoreError> {
        let row =
            sqlx::query("SELECT 1 FROM issuers LIMIT 1").fetch_optional(&self.readers).await.map_err(away)?;
        Ok(row.is_some())
    }

    pub(super) async fn issuer_delete(
        &self,
        tenant: &TenantId,
        id: &IssuerId,
        audit: AuditDraft,
    ) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        let done = sqlx::query("DELETE FROM issuers WHERE tenant_id = ? AND id = ?")
            .bind(tenant.as_str())
            .bind(id.as_str())
            .execute(&mut *tx)
            .await
            .map_err(away)?;
        if done.rows_affected() == 0 {
            return Err(StoreError::NotFound("issuer"));
        }
        self.commit(tx, audit).await
    }
}

fn read(row: &SqliteRow) -> Result<Issuer, StoreError> {
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
        algorithm: match row.get("algorithm")? {
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
