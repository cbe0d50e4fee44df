//! Usage rows.

use std::collections::BTreeMap;

use keyferry_core::{
    port::store::{GroupBy, StoreError, UsageGroup, UsageRow, UsageSum},
    record::UsageRecord,
    time::Timestamp,
};

use super::{Columns, Reader};

const KEYS: [&str; 6] = ["key0", "key1", "key2", "key3", "key4", "key5"];

/// When which credential was used last, in the order of their ids.
pub(crate) fn last_used(records: &[UsageRecord]) -> BTreeMap<&str, Timestamp> {
    let mut used = BTreeMap::new();
    for record in records {
        if let Some(id) = &record.credential_id {
            let at = used.entry(id.as_str()).or_insert(record.at);
            *at = record.at.max(*at);
        }
    }
    used
}

/// The statement that sums a tenant's usage between two times; `day` is how the database takes the
/// day of the column `at`. Only fixed texts are put together.
pub(crate) fn sums(group_by: &[GroupBy], day: &'static str) -> String {
    let columns = group_by.iter().map(|group| match group {
        GroupBy::Provider => "provider",
        GroupBy::Model => "model",
        GroupBy::Credential => "credential_id",
        GroupBy::Token => "caller",
        GroupBy::Accounting => "accounting",
        GroupBy::Day => day,
    });
    let keys: String = columns.zip(KEYS).map(|(column, key)| format!("{column} AS {key}, ")).collect();
    let list = |after| {
        let places: Vec<_> = (1..=group_by.len()).map(|place| format!("{place}{after}")).collect();
        places.join(", ")
    };
    let grouped = match group_by {
        [] => String::new(),
        _ => format!("GROUP BY {} ORDER BY {}", list(""), list(" NULLS FIRST")),
    };
    format!(
        "SELECT {keys} count(*) AS requests, count(*) FILTER (WHERE error) AS errors,
         CAST(coalesce(sum(input_tokens), 0) AS BIGINT) AS input_tokens,
         CAST(coalesce(sum(cached_input_tokens), 0) AS BIGINT) AS cached_input_tokens,
         CAST(coalesce(sum(output_tokens), 0) AS BIGINT) AS output_tokens,
         CAST(coalesce(sum(cost_micro_usd), 0) AS BIGINT) AS cost_micro_usd,
         count(*) FILTER (WHERE usage_source = 'estimated') AS estimated
         FROM usage WHERE tenant_id = $1 AND at >= $2 AND at < $3 {grouped}"
    )
}

pub(crate) fn read_group<R: Columns>(row: &R, keys: usize) -> Result<UsageGroup, StoreError> {
    let row = Reader { table: "usage", row };
    Ok(UsageGroup {
        keys: KEYS.into_iter().take(keys).map(|key| row.get(key)).collect::<Result<_, _>>()?,
        sum: UsageSum {
            requests: row.get("requests")?,
            errors: row.get("errors")?,
            input_tokens: row.get("input_tokens")?,
            cached_input_tokens: row.get("cached_input_tokens")?,
            output_tokens: row.get("output_tokens")?,
            cost_micro_usd: row.get("cost_micro_usd")?,
            estimated: row.get("estimated")?,
        },
    })
}

pub(crate) fn read<R: Columns>(row: &R) -> Result<UsageRow, StoreError> {
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
        input_tokens: row.get("input_tokens")?,
        cached_input_tokens: row.get("cached_input_tokens")?,
        output_tokens: row.get("output_tokens")?,
        cost_micro_usd: row.get("cost_micro_usd")?,
        usage_source: row.get("usage_source")?,
        latency_ms: row.get("latency_ms")?,
        overhead_us: row.get("overhead_us")?,
    })
}
