//! Budgets: what the platform may pay for a tenant, over which time, and what is known to be spent.
//!
//! The store has the truth: a row that is written once for each request, and with it, in the same transaction, the sum
//! of its tenant with a version. The counter store has what must be decided in one round trip: that sum, and the holds
//! of requests under way. It is told the sum and its version, never an amount to add, so it can be told twice, late, in
//! the wrong order or not at all, and is right again after the next time.

use serde::Serialize;
use time::OffsetDateTime;

use crate::{id::RequestId, tenant::BudgetPeriod, time::Timestamp};

/// Over which time a sum is: one month of UTC, or all time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Span(i64);

impl Span {
    /// All time.
    pub const TOTAL: Self = Self(0);

    /// The month of UTC that an instant falls in.
    pub fn month(at: Timestamp) -> Self {
        let Ok(date) = OffsetDateTime::from_unix_timestamp(at.secs()) else { return Self::TOTAL };
        Self(i64::from(date.year()) * 12 + i64::from(u8::from(date.month())))
    }

    /// The one that a period means at an instant.
    pub fn of(period: BudgetPeriod, at: Timestamp) -> Self {
        match period {
            BudgetPeriod::Month => Self::month(at),
            BudgetPeriod::Total => Self::TOTAL,
        }
    }

    /// As the stores keep it: months since the year 0, or 0 for all time.
    pub const fn number(self) -> i64 {
        self.0
    }

    /// As it was kept.
    pub const fn from_number(number: i64) -> Self {
        Self(number)
    }
}

/// What is spent, and how often that has changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// In micro-USD.
    pub micro_usd: u64,
    /// Grows with each change.
    pub version: u64,
}

/// Money that is set aside for a request while it runs. It is gone when it ends, or at its expiry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold<'a> {
    /// Whose request.
    pub id: &'a RequestId,
    /// So much, in micro-USD.
    pub micro_usd: u64,
    /// For so many milliseconds, unless it is renewed.
    pub ttl_ms: u64,
    /// Where the client said that it may ask again.
    pub once: Option<&'a Once>,
}

/// A request that its client may send again under the same `Idempotency-Key`
/// ([draft-ietf-httpapi-idempotency-key-header](https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/)),
/// and that is paid once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Once {
    /// SHA-256 over the caller and its key.
    pub key: [u8; 32],
    /// SHA-256 over what is asked for: another request under the same key is told from the same one.
    pub asks: [u8; 32],
}

/// For so many milliseconds after its answer a request that cost something is known by its key.
pub const KNOWN_FOR_MS: u64 = 24 * 60 * 60 * 1000;

/// Why nothing is paid under an `Idempotency-Key` that was seen before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// It came with another request.
    OfAnother,
    /// The same request is under way.
    Running(RequestId),
    /// The same request was answered, and paid.
    Answered(RequestId),
}

/// A hold that must fit under a ceiling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reserve<'a> {
    /// What is set aside.
    pub hold: Hold<'a>,
    /// The sum that the ceiling is for.
    pub span: Span,
    /// The ceiling for what is spent and held, in micro-USD.
    pub limit: u64,
    /// What the store says is spent; the counters ask for it when they do not know.
    pub spent: Option<Spent>,
}

/// How a tenant stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Spent in the span; `None` if the counters do not know.
    pub spent: Option<Spent>,
    /// Held by requests under way, in micro-USD.
    pub held: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_ends_at_midnight_utc() {
        let at = |text| Timestamp::parse(text).expect("valid");
        let last = Span::month(at("2026-11-30T23:59:59.999Z"));
        assert_eq!(last, Span::month(at("2026-11-01T00:00:00Z")));
        assert_eq!(last.number() + 1, Span::month(at("2026-12-01T00:00:00Z")).number());
        assert_eq!(
            Span::month(at("2026-12-31T00:00:00Z")).number() + 1,
            Span::month(at("2027-01-01T00:00:00Z")).number()
        );
        assert_eq!(Span::of(BudgetPeriod::Total, at("2026-12-01T00:00:00Z")), Span::TOTAL);
        assert!(Span::TOTAL < last);
    }
}
