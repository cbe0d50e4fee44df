//! A row of the journal, as text.

use std::borrow::Cow;

use keyferry_core::{
    operation,
    record::{Accounting, KeyMode, Outcome, UsageRecord},
    time::Timestamp,
    usage::{TokenUsage, UsageSource},
};
use serde::{Deserialize, Serialize};

/// What is kept of a usage row that is not in the store yet. A later version may have to read it: what is added gets a
/// default.
#[derive(Serialize, Deserialize)]
pub(super) struct Row<'a> {
    request_id: Cow<'a, str>,
    at: i64,
    tenant: Cow<'a, str>,
    caller: Cow<'a, str>,
    provider: Cow<'a, str>,
    model: Option<Cow<'a, str>>,
    operation: Cow<'a, str>,
    credential: KeyMode,
    credential_id: Option<Cow<'a, str>>,
    accounting: Accounting,
    status: u16,
    outcome: Outcome,
    input_tokens: u64,
    cached_input_tokens: u64,
    output_tokens: u64,
    cost_micro_usd: u64,
    usage_source: UsageSource,
    latency_ms: u64,
    overhead_us: u64,
}

impl<'a> From<&'a UsageRecord> for Row<'a> {
    fn from(record: &'a UsageRecord) -> Self {
        Self {
            request_id: record.request_id.as_str().into(),
            at: record.at.millis(),
            tenant: record.tenant.as_str().into(),
            caller: record.caller.as_str().into(),
            provider: record.provider.as_str().into(),
            model: record.model.as_deref().map(Cow::from),
            operation: record.operation.into(),
            credential: record.credential,
            credential_id: record.credential_id.as_ref().map(|id| id.as_str().into()),
            accounting: record.accounting,
            status: record.status,
            outcome: record.outcome,
            input_tokens: record.usage.input,
            cached_input_tokens: record.usage.cached_input,
            output_tokens: record.usage.output,
            cost_micro_usd: record.cost_micro_usd,
            usage_source: record.usage_source,
            latency_ms: record.latency_ms,
            overhead_us: record.overhead_us,
        }
    }
}

impl Row<'_> {
    /// The usage row of a line; `None` if it is none.
    pub(super) fn read(line: &[u8]) -> Option<UsageRecord> {
        serde_json::from_slice::<Row<'_>>(line).ok()?.into_record()
    }

    fn into_record(self) -> Option<UsageRecord> {
        Some(UsageRecord {
            request_id: self.request_id.parse().ok()?,
            at: Timestamp::from_millis(self.at),
            tenant: self.tenant.parse().ok()?,
            caller: self.caller.into_owned(),
            provider: self.provider.parse().ok()?,
            model: self.model.map(Cow::into_owned),
            operation: operation::name(&self.operation)?,
            credential: self.credential,
            credential_id: self.credential_id.map(|id| id.parse()).transpose().ok()?,
            accounting: self.accounting,
            status: self.status,
            outcome: self.outcome,
            usage: TokenUsage {
                input: self.input_tokens,
                cached_input: self.cached_input_tokens,
                output: self.output_tokens,
            },
            usage_source: self.usage_source,
            cost_micro_usd: self.cost_micro_usd,
            latency_ms: self.latency_ms,
            overhead_us: self.overhead_us,
        })
    }
}
