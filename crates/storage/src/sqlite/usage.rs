//! Usage rows.

use std::collections::HashMap;

use keyferry_core::{
    id::{CredentialId, TenantId},
    port::store::{GroupBy, Page, PageRequest, StoreError, TenantSums, UsageGroup, UsageRow},
    record::UsageRecord,
    time::Timestamp,
};
use sqlx::AssertSqlSafe;

use super::{SqliteStore, budget};
use crate::{
    errors::away,
    rows::{
        cursor, one_more, paged,
        paid::Paid,
        usage::{read, read_group, sums},
    },
};

impl SqliteStore {
    pub(crate) async fn usage_record(&self, records: &[UsageRecord]) -> Result<Vec<TenantSums>, StoreError> {
        let mut tx = self.write().await?;
        let (mut last_used, mut paid) = (HashMap::new(), Paid::default());
        for record in records {
            let written = sqlx::query(
                "INSERT INTO usage (request_id, at, tenant_id, caller, provider, model, operation,
                 credential, credential_id, accounting, status, outcome, error, input_tokens,
                 cached_input_tokens, output_tokens, cost_micro_usd, usage_source, latency_ms,
                 overhead_us) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)
                 ON CONFLICT (request_id) DO NOTHING",
            )
            .bind(record.request_id.as_str())
            .bind(record.at.millis())
            .bind(record.tenant.as_str())
            .bind(&record.caller)
            .bind(record.provider.as_str())
            .bind(&record.model)
            .bind(record.operation)
            .bind(record.credential.as_str())
            .bind(record.credential_id.as_ref().map(CredentialId::as_str))
            .bind(record.accounting.as_str())
            .bind(record.status)
            .bind(record.outcome.as_str())
            .bind(record.outcome.is_error())
            .bind(record.usage.input as i64)
            .bind(record.usage.cached_input as i64)
            .bind(record.usage.output as i64)
            .bind(i64::try_from(record.cost_micro_usd).unwrap_or(i64::MAX))
            .bind(record.usage_source.as_str())
            .bind(record.latency_ms as i64)
            .bind(record.overhead_us as i64)
            .execute(&mut *tx)
            .await
            .map_err(away)?;
            if written.rows_affected() == 1 {
                paid.add(record);
            }
            if let Some(id) = &record.credential_id {
                last_used.insert(id, record.at);
            }
        }
        for (id, at) in last_used {
            sqlx::query("UPDATE credentials SET last_used_at = ? WHERE id = ?")
                .bind(at.millis())
                .bind(id.as_str())
                .execute(&mut *tx)
                .await
                .map_err(away)?;
        }
        let sums = budget::add(&mut tx, paid).await?;
        tx.commit().await.map_err(away)?;
        Ok(sums)
    }

    pub(crate) async fn usage_sums(
        &self,
        tenant: &TenantId,
        from: Option<Timestamp>,
        to: Option<Timestamp>,
        group_by: &[GroupBy],
    ) -> Result<Vec<UsageGroup>, StoreError> {
        // Only fixed texts are put together there.
        let sql = AssertSqlSafe(sums(group_by, "date(at / 1000, 'unixepoch')"));
        let rows = sqlx::query(sql)
            .bind(tenant.as_str())
            .bind(from.map_or(i64::MIN, Timestamp::millis))
            .bind(to.map_or(i64::MAX, Timestamp::millis))
            .fetch_all(&self.reports)
            .await
            .map_err(away)?;
        rows.iter().map(|row| read_group(row, group_by.len())).collect()
    }

    pub(crate) async fn usage_list(
        &self,
        tenant: &TenantId,
        from: Option<Timestamp>,
        to: Option<Timestamp>,
        page: &PageRequest,
    ) -> Result<Page<UsageRow>, StoreError> {
        let rows = sqlx::query(
            "SELECT * FROM usage WHERE tenant_id = ? AND at >= ? AND at < ? AND n < ?
             ORDER BY n DESC LIMIT ?",
        )
        .bind(tenant.as_str())
        .bind(from.map_or(i64::MIN, Timestamp::millis))
        .bind(to.map_or(i64::MAX, Timestamp::millis))
        .bind(cursor(page)?)
        .bind(one_more(page))
        .fetch_all(&self.reports)
        .await
        .map_err(away)?;
        paged(&rows, page, "n", read)
    }
}
