//! Tenants.

use keyferry_core::{
    port::store::{Page, PageRequest, StoreError},
    tenant::{BudgetPeriod, Tenant},
};

use super::{Columns, Reader};

pub(crate) const THERE_IS_ONE: &str = "There is a tenant of this id already.";

pub(crate) fn fallback_text(tenant: &Tenant) -> String {
    serde_json::to_string(&tenant.fallback).unwrap_or_default()
}

/// The statement that adds a tenant, with its values.
macro_rules! insert_tenant {
    ($tenant:expr) => {
        sqlx::query(
            "INSERT INTO tenants (id, name, tier, byok_enabled, daily_quota, fallback,
             budget_micro_usd, budget_period, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        )
        .bind($tenant.id.as_str())
        .bind(&$tenant.name)
        .bind(&$tenant.tier)
        .bind($tenant.byok_enabled)
        .bind($tenant.daily_quota as i64)
        .bind($crate::rows::tenant::fallback_text($tenant))
        .bind($tenant.budget_micro_usd.map(|usd| usd as i64))
        .bind($tenant.budget_period.as_str())
        .bind($tenant.created_at.millis())
    };
}
pub(crate) use insert_tenant;

/// The statement that writes a changed tenant, with its values.
macro_rules! update_tenant {
    ($tenant:expr) => {
        sqlx::query(
            "UPDATE tenants SET name = $2, tier = $3, byok_enabled = $4, daily_quota = $5, fallback = $6,
             budget_micro_usd = $7, budget_period = $8 WHERE id = $1",
        )
        .bind($tenant.id.as_str())
        .bind(&$tenant.name)
        .bind(&$tenant.tier)
        .bind($tenant.byok_enabled)
        .bind($tenant.daily_quota as i64)
        .bind($crate::rows::tenant::fallback_text($tenant))
        .bind($tenant.budget_micro_usd.map(|usd| usd as i64))
        .bind($tenant.budget_period.as_str())
    };
}
pub(crate) use update_tenant;

/// A page by id, of rows that were read one more than asked for.
pub(crate) fn page_of<R: Columns>(rows: &[R], page: &PageRequest) -> Result<Page<Tenant>, StoreError> {
    let mut data = rows.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    let more = data.len() > page.limit as usize;
    data.truncate(page.limit as usize);
    let next_cursor = data.last().filter(|_| more).map(|tenant| tenant.id.to_string());
    Ok(Page { data, next_cursor })
}

pub(crate) fn read<R: Columns>(row: &R) -> Result<Tenant, StoreError> {
    let row = Reader { table: "tenants", row };
    Ok(Tenant {
        id: row.parse("id")?,
        name: row.get("name")?,
        tier: row.get("tier")?,
        byok_enabled: row.get("byok_enabled")?,
        daily_quota: row.get("daily_quota")?,
        fallback: serde_json::from_str(&row.get::<String>("fallback")?).map_err(|_| row.bad("fallback"))?,
        budget_micro_usd: row
            .get::<Option<i64>>("budget_micro_usd")?
            .map(u64::try_from)
            .transpose()
            .map_err(|_| row.bad("budget_micro_usd"))?,
        budget_period: match row.get::<String>("budget_period")?.as_str() {
            "month" => BudgetPeriod::Month,
            "total" => BudgetPeriod::Total,
            _ => return Err(row.bad("budget_period")),
        },
        created_at: row.time("created_at")?,
    })
}
