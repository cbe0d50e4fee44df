//! What the platform has paid for tenants.

use keyferry_core::{
    budget::{Span, Spent},
    id::TenantId,
    port::store::{StoreError, TenantSums},
};
use sqlx::{Postgres, Transaction};

use super::PostgresStore;
use crate::{
    errors::away,
    rows::paid::{Paid, put, read},
};

/// Writes the new sums, in the transaction of the rows that they are made of. A sum that no number can hold stays at the
/// highest: it is over every ceiling.
pub(super) async fn add(
    tx: &mut Transaction<'_, Postgres>,
    paid: Paid,
) -> Result<Vec<TenantSums>, StoreError> {
    let mut sums = Vec::new();
    for (tenant, span, amount) in paid.into_amounts() {
        let row = sqlx::query(
            "INSERT INTO budgets (tenant_id, span, spent_micro_usd, version) VALUES ($1, $2, $3, 1)
             ON CONFLICT (tenant_id, span) DO UPDATE SET
             spent_micro_usd = budgets.spent_micro_usd
                 + LEAST($3, 9223372036854775807 - budgets.spent_micro_usd),
             version = budgets.version + 1 RETURNING spent_micro_usd, version",
        )
        .bind(tenant.as_str())
        .bind(span.number())
        .bind(amount)
        .fetch_one(&mut **tx)
        .await
        .map_err(away)?;
        put(&mut sums, tenant, span, read(&row)?);
    }
    Ok(sums)
}

impl PostgresStore {
    pub(crate) async fn budget_spent(&self, tenant: &TenantId, span: Span) -> Result<Spent, StoreError> {
        let row =
            sqlx::query("SELECT spent_micro_usd, version FROM budgets WHERE tenant_id = $1 AND span = $2")
                .bind(tenant.as_str())
                .bind(span.number())
                .fetch_optional(&self.pool)
                .await
                .map_err(away)?;
        row.as_ref().map_or(Ok(Spent::default()), read)
    }
}
