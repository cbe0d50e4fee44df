//! Tenants.

use keyferry_core::{
    audit::AuditDraft,
    id::TenantId,
    port::store::{Page, PageRequest, StoreError},
    tenant::{BudgetPeriod, Tenant, TenantChange},
};
use sqlx::{Sqlite, Transaction, sqlite::SqliteRow};

use super::{SqliteStore, away, conflict, rows::Reader};

impl SqliteStore {
    pub(super) async fn tenant_create(&self, tenant: &Tenant, audit: AuditDraft) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        sqlx::query(
            "INSERT INTO tenants (id, name, tier, byok_enabled, daily_quota, fallback,
             budget_micro_usd, budget_period, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(tenant.id.as_str())
        .bind(&tenant.name)
        .bind(&tenant.tier)
        .bind(tenant.byok_enabled)
        .bind(tenant.daily_quota as i64)
        .bind(fallback_text(tenant))
        .bind(tenant.budget_micro_usd.map(|usd| usd as i64))
        .bind(tenant.budget_period.as_str())
        .bind(tenant.created_at.millis())
        .execute(&mut *tx)
        .await
        .map_err(conflict("There is a tenant of this id already."))?;
        self.commit(tx, audit).await
    }

    pub(super) async fn tenant_get(&self, id: &TenantId) -> Result<Option<Tenant>, StoreError> {
        let row = sqlx::query("SELECT * FROM tenants WHERE id = ?")
            .bind(id.as_str())
            .fetch_optional(&self.readers)
            .await
            .map_err(away)?;
        row.as_ref().map(read).transpose()
    }

    pub(super) async fn tenant_list(&self, page: &PageRequest) -> Result<Page<Tenant>, StoreError> {
        let after = page.cursor.as_deref().unwrap_or_default();
        let rows = sqlx::query("SELECT * FROM tenants WHERE id > ? ORDER BY id LIMIT ?")
            .bind(after)
            .bind(i64::from(page.limit) + 1)
            .fetch_all(&self.readers)
            .await
            .map_err(away)?;
        let mut data = rows.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        let more = data.len() > page.limit as usize;
        data.truncate(page.limit as usize);
        let next_cursor = data.last().filter(|_| more).map(|tenant| tenant.id.to_string());
        Ok(Page { data, next_cursor })
    }

    pub(super) async fn tenant_update(
        &self,
        id: &TenantId,
        change: &TenantChange,
        audit: AuditDraft,
    ) -> Result<Tenant, StoreError> {
        let mut tx = self.write().await?;
        let row = sqlx::query("SELECT * FROM tenants WHERE id = ?")
            .bind(id.as_str())
            .fetch_optional(&mut *tx)
            .await
            .map_err(away)?;
        let mut tenant = read(&row.ok_or(StoreError::NotFound("tenant"))?)?;
        change.apply(&mut tenant);
        sqlx::query(
            "UPDATE tenants SET name = ?, tier = ?, byok_enabled = ?, daily_quota = ?, fallback = ?,
             budget_micro_usd = ?, budget_period = ? WHERE id = ?",
        )
        .bind(&tenant.name)
        .bind(&tenant.tier)
        .bind(tenant.byok_enabled)
        .bind(tenant.daily_quota as i64)
        .bind(fallback_text(&tenant))
        .bind(tenant.budget_micro_usd.map(|usd| usd as i64))
        .bind(tenant.budget_period.as_str())
        .bind(tenant.id.as_str())
        .execute(&mut *tx)
        .await
        .map_err(away)?;
        self.commit(tx, audit).await?;
        Ok(tenant)
    }

    pub(super) async fn tenant_delete(&self, id: &TenantId, audit: AuditDraft) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        let done = sqlx::query("DELETE FROM tenants WHERE id = ?")
            .bind(id.as_str())
            .execute(&mut *tx)
            .await
            .map_err(away)?;
        if done.rows_affected() == 0 {
            return Err(StoreError::NotFound("tenant"));
        }
        for statement in [
            "DELETE FROM credential_versions WHERE credential_id IN
             (SELECT id FROM credentials WHERE tenant_id = ?)",
            "DELETE FROM credentials WHERE tenant_id = ?",
            "DELETE FROM tokens WHERE tenant_id = ?",
            "DELETE FROM issuers WHERE tenant_id = ?",
            "DELETE FROM wrapped_keys WHERE owner = ?",
        ] {
            sqlx::query(statement).bind(id.as_str()).execute(&mut *tx).await.map_err(away)?;
        }
        self.commit(tx, audit).await
    }
}

fn fallback_text(tenant: &Tenant) -> String {
    serde_json::to_string(&tenant.fallback).unwrap_or_default()
}

fn read(row: &SqliteRow) -> Result<Tenant, StoreError> {
    let row = Reader { table: "tenants", row };
    Ok(Tenant {
        id: row.parse("id")?,
        name: row.get("name")?,
        tier: row.get("tier")?,
        byok_enabled: row.get("byok_enabled")?,
        daily_quota: row.count("daily_quota")?,
        fallback: serde_json::from_str(row.get("fallback")?).map_err(|_| row.bad("fallback"))?,
        budget_micro_usd: row
            .get::<Option<i64>>("budget_micro_usd")?
            .map(u64::try_from)
            .transpose()
            .map_err(|_| row.bad("budget_micro_usd"))?,
        budget_period: match row.get("budget_period")? {
            "month" => BudgetPeriod::Month,
            "total" => BudgetPeriod::Total,
            _ => return Err(row.bad("budget_period")),
        },
        created_at: row.time("created_at")?,
    })
}

/// A tenant that something is added to must be there: it may have been deleted since its id was
/// looked up, and what is added to nobody would belong to whoever gets the id next.
pub(super) async fn must_exist(tx: &mut Transaction<'_, Sqlite>, id: &TenantId) -> Result<(), StoreError> {
    let row = sqlx::query("SELECT 1 FROM tenants WHERE id = ?")
        .bind(id.as_str())
        .fetch_optional(&mut **tx)
        .await
        .map_err(away)?;
    row.map(drop).ok_or(StoreError::NotFound("tenant"))
}
