//! What the platform has paid for tenants.

use std::collections::BTreeMap;

use keyferry_core::{
    budget::{Span, Spent},
    id::TenantId,
    port::store::{StoreError, TenantSums},
    record::UsageRecord,
};
use sqlx::{Row, Sqlite, Transaction};

use super::{SqliteStore, away};

/// Amounts to add, by tenant and span.
#[derive(Default)]
pub(super) struct Paid(BTreeMap<(TenantId, Span), u64>);

impl Paid {
    /// Adds what a row costs that was written just now.
    pub(super) fn add(&mut self, record: &UsageRecord) {
        if record.cost_micro_usd == 0 {
            return;
        }
        for span in [Span::month(record.at), Span::TOTAL] {
            let sum = self.0.entry((record.tenant.clone(), span)).or_default();
            *sum = sum.saturating_add(record.cost_micro_usd);
        }
    }

    /// Writes the new sums, in the transaction of the rows that they are made of.
    pub(super) async fn write(self, tx: &mut Transaction<'_, Sqlite>) -> Result<Vec<TenantSums>, StoreError> {
        let mut sums: Vec<TenantSums> = Vec::new();
        for ((tenant, span), paid) in self.0 {
            // A sum that no number can hold stays at the highest: it is over every ceiling.
            let row = sqlx::query(
                "INSERT INTO budgets (tenant_id, span, spent_micro_usd, version) VALUES (?1, ?2, ?3, 1)
                 ON CONFLICT (tenant_id, span) DO UPDATE SET
                 spent_micro_usd = spent_micro_usd + min(?3, 9223372036854775807 - spent_micro_usd),
                 version = version + 1 RETURNING spent_micro_usd, version",
            )
            .bind(tenant.as_str())
            .bind(span.number())
            .bind(i64::try_from(paid).unwrap_or(i64::MAX))
            .fetch_one(&mut **tx)
            .await
            .map_err(away)?;
            let spent = (span, read(&row)?);
            match sums.last_mut().filter(|last| last.tenant == tenant) {
                Some(last) => last.spent.push(spent),
                None => sums.push(TenantSums { tenant, spent: vec![spent] }),
            }
        }
        Ok(sums)
    }
}

impl SqliteStore {
    pub(super) async fn budget_spent(&self, tenant: &TenantId, span: Span) -> Result<Spent, StoreError> {
        sqlx::query("SELECT spent_micro_usd, version FROM budgets WHERE tenant_id = ? AND span = ?")
            .bind(tenant.as_str())
            .bind(span.number())
            .fetch_optional(&self.readers)
            .await
            .map_err(away)?
            .map_or(Ok(Spent::default()), |row| read(&row))
    }
}

fn read(row: &sqlx::sqlite::SqliteRow) -> Result<Spent, StoreError> {
    let number = |at| row.try_get::<i64, _>(at).map(|number| number.max(0) as u64).map_err(away);
    Ok(Spent { micro_usd: number(0)?, version: number(1)? })
}
