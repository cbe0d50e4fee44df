//! Settlement: what a request consumed, written exactly once however it ends.
//!
//! Whoever holds the settlement ends it with an outcome. If it is dropped instead, the client went
//! away, and that is the outcome.

use std::{
    borrow::Cow,
    mem,
    time::{Duration, Instant},
};

use keyferry_core::{
    admission::KeyChoice,
    mask,
    meter::Metered,
    record::{Accounting, KeyMode, Outcome, UsageRecord},
    time::Timestamp,
    usage::{TokenUsage, UsageSource, estimate_tokens},
};

use super::{
    Passage,
    admit::Admitted,
    body::ReadBody,
    limits::Left,
    payment::Paid,
    record::{Permit, Written},
};

/// The open account of one request. In a box: it goes from hand to hand, and each that waits with it in hand would have
/// room for it twice.
pub(super) struct Settlement(Box<Account>);

struct Account {
    record: UsageRecord,
    permit: Option<Permit>,
    /// Of a request that the platform pays.
    paid: Option<Paid>,
    admitted: Instant,
    request_bytes: usize,
    overhead: Duration,
    left: Left,
}

impl Settlement {
    pub(super) fn new(
        passage: &Passage<'_>,
        admitted: Admitted,
        model: Option<String>,
        body: &ReadBody,
        now: Timestamp,
        permit: Permit,
    ) -> Self {
        let credential_id = match &admitted.admission.key {
            KeyChoice::Held(credential) => Some(credential.summary.id.clone()),
            KeyChoice::Brought(_) | KeyChoice::Platform => None,
        };
        let overhead = passage.started.elapsed().saturating_sub(body.waited);
        Self(Box::new(Account {
            record: UsageRecord {
                request_id: passage.id.clone(),
                at: now,
                tenant: admitted.caller.tenant().clone(),
                caller: admitted.caller.name().to_string(),
                provider: passage.provider.id.clone(),
                model: model.map(recordable),
                operation: passage.operation.name,
                credential: admitted.admission.key.mode(),
                credential_id,
                accounting: admitted.admission.reservation.accounting,
                status: 499,
                outcome: Outcome::Cancelled,
                usage: TokenUsage::default(),
                usage_source: UsageSource::None,
                cost_micro_usd: 0,
                latency_ms: 0,
                overhead_us: u64::try_from(overhead.as_micros()).unwrap_or(u64::MAX),
            },
            permit: Some(permit),
            paid: admitted.paid,
            admitted: Instant::now(),
            request_bytes: body.whole().map_or(0, <[u8]>::len),
            overhead,
            left: admitted.left,
        }))
    }

    /// How long the gateway worked before the provider was called.
    pub(super) fn overhead(&self) -> Duration {
        self.0.overhead
    }

    /// What the request left of its limits.
    pub(super) fn left(&self) -> Left {
        self.0.left
    }

    /// What is known of the request so far.
    pub(super) fn record(&self) -> &UsageRecord {
        &self.0.record
    }

    /// From here on the platform pays.
    pub(super) fn paid_by_platform(&mut self, paid: Paid) {
        self.0.record.credential = KeyMode::Platform;
        self.0.record.credential_id = None;
        self.0.record.accounting = Accounting::PlatformBudget;
        self.0.paid = Some(paid);
    }

    /// The status that goes to the client.
    pub(super) fn answered(&mut self, status: u16) {
        self.0.record.status = status;
    }

    /// Takes over what a meter found.
    pub(super) fn metered(&mut self, metered: Metered) {
        self.0.record.usage = metered.usage;
        self.0.record.usage_source = metered.source;
        if metered.source == UsageSource::Estimated && metered.usage.input == 0 {
            self.0.record.usage.input = estimate_tokens(self.0.request_bytes);
        }
        // Mostly it is the one that was asked for, which was looked at already.
        if let Some(model) = metered.model
            && self.0.record.model.as_deref() != Some(&model)
        {
            self.0.record.model = Some(recordable(model));
        }
    }

    /// Ends the account.
    pub(super) fn end(mut self, outcome: Outcome) -> Option<Written> {
        self.0.record.outcome = outcome;
        self.0.write()
    }
}

impl Account {
    fn write(&mut self) -> Option<Written> {
        let permit = self.permit.take()?;
        let once = self.paid.take().and_then(|Paid { price, held }| {
            self.record.cost_micro_usd = price.map_or(0, |price| price.cost(self.record.usage));
            held.hand_over()
        });
        self.record.latency_ms = u64::try_from(self.admitted.elapsed().as_millis()).unwrap_or(u64::MAX);
        let record = &self.record;
        tracing::info!(
            event = "request_served",
            request_id = record.request_id.as_str(),
            tenant = record.tenant.as_str(),
            provider = record.provider.as_str(),
            operation = record.operation,
            credential = record.credential.as_str(),
            status = record.status,
            outcome = record.outcome.as_str(),
            latency_ms = record.latency_ms,
            overhead_us = record.overhead_us
        );
        // It is written once, so its texts go along; its names are shared.
        let (caller, model) = (mem::take(&mut self.record.caller), self.record.model.take());
        let record = UsageRecord { caller, model, ..self.record.clone() };
        Some(permit.write(record, once))
    }
}

/// A model's name as it may be kept: a key that was pasted in its place must not stand in usage rows.
pub(super) fn recordable(model: String) -> String {
    let masked = match mask::scrub(model.as_bytes(), None) {
        Cow::Borrowed(_) => None,
        Cow::Owned(masked) => Some(String::from_utf8_lossy(&masked).into_owned()),
    };
    masked.unwrap_or(model)
}

impl Drop for Account {
    fn drop(&mut self) {
        self.write();
    }
}
