//! Usage rows.

use std::collections::HashMap;

use keyferry_core::{
    id::{CredentialId, TenantId},
    port::store::{GroupBy, Page, PageRequest, StoreError, TenantSums, UsageGroup, UsageRow, UsageSum},
    record::UsageRecord,
    time::Timestamp,
};
use sqlx::{AssertSqlSafe, sqlite::SqliteRow};

use super::{
    SqliteStore, away,
    budget::Paid,
    rows::{Reader, cursor, paged},
};

impl SqliteStore {
    pub(super) async fn usage_record(&self, records: &[UsageRecord]) -> Result<Vec<TenantSums>, StoreError> {
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
        let sums = paid.write(&mut tx).await?;
        tx.commit().await.map_err(away)?;
        Ok(sums)
    }

    pub(super) async fn usage_sums(
        &self,
        tenant: &TenantId,
        from: Option<Timestamp>,
        to: Option<Timestamp>,
        group_by: &[GroupBy],
    ) -> Result<Vec<UsageGroup>, StoreError> {
        let columns: Vec<_> = group_by.iter().map(|group| column(*group)).collect();
        let keys: String =
            columns.iter().enumerate().map(|(i, column)| format!("{column} AS key{i}, ")).collect();
        let grouped = match columns.len() {
            0 => String::new(),
            n => {
                let names: Vec<_> = (1..=n).map(|i| i.to_string()).collect();
                format!("GROUP BY {0} ORDER BY {0}", names.join(", "))
            }
        };
        // Only the fixed texts of `column` are put together here.
        let sql = AssertSqlSafe(format!(
            "SELECT {keys} count(*) AS requests, coalesce(sum(error), 0) AS errors,
             coalesce(sum(input_tokens), 0) AS input_tokens,
             coalesce(sum(cached_input_tokens), 0) AS cached_input_tokens,
             coalesce(sum(output_tokens), 0) AS output_tokens,
             coalesce(sum(cost_micro_usd), 0) AS cost_micro_usd,
             coalesce(sum(usage_source = 'estimated'), 0) AS estimated
             FROM usage WHERE tenant_id = ? AND at >= ? AND at < ? {grouped}"
        ));
        let rows = sqlx::query(sql)
            .bind(tenant.as_str())
            .bind(from.map_or(i64::MIN, Timestamp::millis))
            .bind(to.map_or(i64::MAX, Timestamp::millis))
            .fetch_all(&self.reports)
            .await
            .map_err(away)?;
        rows.iter().map(|row| read_group(row, columns.len())).collect()
    }

    pub(super) async fn usage_list(
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
        .bind(cursor(page, i64::MAX)?)
        .bind(i64::from(page.limit) + 1)
        .fetch_all(&self.reports)
        .await
        .map_err(away)?;
        let numbered = |row: &SqliteRow| Ok((Reader { table: "usage", row }.get("n")?, read(row)?));
        Ok(paged(rows.iter().map(numbered).collect::<Result<_, StoreError>>()?, page.limit))
    }
}

fn column(group: GroupBy) -> &'static str {
    match group {
        GroupBy::Provider => "provider",
        GroupBy::Model => "model",
        GroupBy::Credential => "credential_id",
        GroupBy::Token => "caller",
        GroupBy::Accounting => "accounting",
        GroupBy::Day => "date(at / 1000, 'unixepoch')",
    }
}

const KEYS: [&str; 6] = ["key0", "key1", "key2", "key3", "key4", "key5"];

fn read_group(row: &SqliteRow, keys: usize) -> Result<UsageGroup, StoreError> {
    let row = Reader { table: "usage", row };
    Ok(UsageGroup {
        keys: KEYS.iter().take(keys).map(|key| row.get(key)).collect::<Result<_, _>>()?,
        sum: UsageSum {
            requests: row.count("requests")?,
            errors: row.count("errors")?,
            input_tokens: row.count("input_tokens")?,
            cached_input_tokens: row.count("cached_input_tokens")?,
            output_tokens: row.count("output_tokens")?,
            cost_micro_usd: row.count("cost_micro_usd")?,
            estimated: row.count("estimated")?,
        },
    })
}

fn read(row: &SqliteRow) -> Result<UsageRow, StoreError> {
    let row = Reader { table: "usage", row };
    Ok(UsageRow {
        request_id: row.get("request_id")?,
        at: row.time("at")?,
        caller: row.get("caller")?,
        provider: row.get("provider")?,
        model: row.get("model")?,
        operation: row.get("operation")?,
        credential: row.get("credential")?,
        credential_id: row.get("credential_id")?,
        accounting: row.get("accounting")?,
        status: row.get("status")?,
        outcome: row.get("outcome")?,
        input_tokens: row.count("input_tokens")?,
        cached_input_tokens: row.count("cached_input_tokens")?,
        output_tokens: row.count("output_tokens")?,
        cost_micro_usd: row.count("cost_micro_usd")?,
        usage_source: row.get("usage_source")?,
        latency_ms: row.count("latency_ms")?,
        overhead_us: row.count("overhead_us")?,
    })
}
