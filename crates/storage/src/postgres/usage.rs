//! Usage rows.

use std::collections::HashSet;

use keyferry_core::{
    id::TenantId,
    port::store::{GroupBy, Page, PageRequest, StoreError, TenantSums, UsageGroup, UsageRow},
    record::UsageRecord,
    time::Timestamp,
};
use sqlx::{AssertSqlSafe, PgExecutor, Row};

use super::{PostgresStore, budget};
use crate::{
    errors::away,
    rows::{
        cursor, one_more, paged,
        paid::Paid,
        usage::{last_used, read, read_group, sums},
        without_nul,
    },
};

impl PostgresStore {
    pub(crate) async fn usage_record(&self, records: &[UsageRecord]) -> Result<Vec<TenantSums>, StoreError> {
        // One statement is a transaction of its own, without BEGIN and COMMIT on the way.
        if records.iter().all(|record| record.cost_micro_usd == 0) {
            return insert(&self.pool, records).await.map(|_| Vec::new());
        }
        let mut tx = self.begin().await?;
        let written = insert(&mut *tx, records).await?;
        let sums = budget::add(&mut tx, Paid::of(records, written)).await?;
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
        let sql = AssertSqlSafe(sums(
            group_by,
            "to_char(to_timestamp(at / 1000) AT TIME ZONE 'UTC', 'YYYY-MM-DD')",
        ));
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
            "SELECT * FROM usage WHERE tenant_id = $1 AND at >= $2 AND at < $3 AND n < $4
             ORDER BY n DESC LIMIT $5",
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

/// All rows, and when their credentials were used last.
///
/// Credentials are locked in the order of their ids, so that two replicas never wait for each other.
const INSERT: &str = "WITH written AS (
        INSERT INTO usage (request_id, at, tenant_id, caller, provider, model, operation,
        credential, credential_id, accounting, status, outcome, error, input_tokens,
        cached_input_tokens, output_tokens, cost_micro_usd, usage_source, latency_ms, overhead_us)
        SELECT r.request_id, r.at, r.tenant_id, r.caller, r.provider, r.model, r.operation,
        r.credential, r.credential_id, r.accounting, r.status, r.outcome, r.error, r.input_tokens,
        r.cached_input_tokens, r.output_tokens, r.cost_micro_usd, r.usage_source, r.latency_ms, r.overhead_us
        FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[],
        $7::text[], $8::text[], $9::text[], $10::text[], $11::bigint[], $12::text[], $13::boolean[],
        $14::bigint[], $15::bigint[], $16::bigint[], $17::bigint[], $18::text[], $19::bigint[],
        $20::bigint[])
        AS r (request_id, at, tenant_id, caller, provider, model, operation, credential, credential_id,
        accounting, status, outcome, error, input_tokens, cached_input_tokens, output_tokens,
        cost_micro_usd, usage_source, latency_ms, overhead_us)
        ON CONFLICT (request_id) DO NOTHING RETURNING request_id
    ), locked AS (
        SELECT id FROM credentials WHERE id = ANY($21::text[]) ORDER BY id FOR NO KEY UPDATE
    ), used AS (
        UPDATE credentials SET last_used_at = GREATEST(last_used_at, used.at)
        FROM locked JOIN unnest($21::text[], $22::bigint[]) AS used (id, at) ON used.id = locked.id
        WHERE credentials.id = locked.id
    )
    SELECT request_id FROM written";

/// One statement for all: the way to the database is long. Answers the requests whose rows are new.
async fn insert(on: impl PgExecutor<'_>, records: &[UsageRecord]) -> Result<HashSet<String>, StoreError> {
    fn column<'r, T>(records: &'r [UsageRecord], of: impl Fn(&'r UsageRecord) -> T) -> Vec<T> {
        records.iter().map(of).collect()
    }
    let used = last_used(records);
    sqlx::query(INSERT)
        .bind(column(records, |record| record.request_id.as_str()))
        .bind(column(records, |record| record.at.millis()))
        .bind(column(records, |record| record.tenant.as_str()))
        .bind(column(records, |record| without_nul(&record.caller)))
        .bind(column(records, |record| record.provider.as_str()))
        .bind(column(records, |record| record.model.as_deref().map(without_nul)))
        .bind(column(records, |record| record.operation))
        .bind(column(records, |record| record.credential.as_str()))
        .bind(column(records, |record| record.credential_id.as_ref().map(|id| id.as_str())))
        .bind(column(records, |record| record.accounting.as_str()))
        .bind(column(records, |record| i64::from(record.status)))
        .bind(column(records, |record| record.outcome.as_str()))
        .bind(column(records, |record| record.outcome.is_error()))
        .bind(column(records, |record| record.usage.input as i64))
        .bind(column(records, |record| record.usage.cached_input as i64))
        .bind(column(records, |record| record.usage.output as i64))
        .bind(column(records, |record| i64::try_from(record.cost_micro_usd).unwrap_or(i64::MAX)))
        .bind(column(records, |record| record.usage_source.as_str()))
        .bind(column(records, |record| record.latency_ms as i64))
        .bind(column(records, |record| record.overhead_us as i64))
        .bind(used.keys().copied().collect::<Vec<_>>())
        .bind(used.values().map(|at| at.millis()).collect::<Vec<_>>())
        .fetch_all(on)
        .await
        .map_err(away)?
        .iter()
        .map(|row| row.try_get(0).map_err(away))
        .collect()
}
