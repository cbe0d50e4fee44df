//! The counter port: replay, rate and quota decided in one round trip.

use async_trait::async_trait;

use crate::{id::TenantId, limits::Rate, time::Timestamp};

/// The counter store did not answer, or not in time.
#[derive(Debug, thiserror::Error)]
#[error("the counter store is away: {0}")]
pub struct CountersAway(pub String);

/// The version of a tenant's things. It moves with every change to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epoch(pub u64);

/// A one-time use of a token id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// SHA-256 over issuer, tenant and token id: names of any length become keys of one.
    pub key: [u8; 32],
    /// The token's end and the skew allowed for it: kept at least that long.
    pub until: Timestamp,
}

/// Which bucket a rate counts in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// One caller.
    Caller,
    /// A tenant.
    Tenant,
    /// A tenant at one provider.
    TenantProvider,
}

/// A bucket and its rate.
#[derive(Clone, Debug)]
pub struct Bucket<'a> {
    /// Which kind.
    pub scope: Scope,
    /// Whose, within the tenant.
    pub name: &'a str,
    /// How fast it may be drawn from.
    pub rate: Rate,
}

/// What is taken when the request is let through: all of it or nothing.
#[derive(Clone, Debug)]
pub struct Take<'a> {
    /// Each must have room.
    pub buckets: [Bucket<'a>; 3],
    /// Requests the tenant may make on this UTC day.
    pub daily_quota: u64,
}

/// One admission, as the counter store sees it.
#[derive(Clone, Debug)]
pub struct Plan<'a> {
    /// Whose request it is.
    pub tenant: &'a TenantId,
    /// The time of the decision.
    pub now: Timestamp,
    /// The epoch of the view that was decided on.
    pub epoch: Epoch,
    /// The token id to use up, if the caller has one.
    pub claim: Option<Claim>,
    /// What to take; nothing when the request is refused already and only the claim is made.
    pub take: Option<Take<'a>>,
}

/// What the counter store decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Everything was taken.
    Taken,
    /// The view is of another epoch: nothing was claimed or taken. Read again and repeat.
    Stale(Epoch),
    /// The token id was used before: nothing was taken.
    Replayed,
    /// A bucket was empty: nothing was taken.
    RateLimited {
        /// Which.
        scope: Scope,
        /// Milliseconds until there is room.
        retry_after_ms: u64,
    },
    /// The day's requests are used up: nothing was taken.
    QuotaExceeded,
}

/// A counter store.
#[async_trait]
pub trait Counters: Send + Sync {
    /// Decides an admission: epoch, then claim, then rates, then quota, atomically.
    async fn decide(&self, plan: &Plan<'_>) -> Result<Decision, CountersAway>;

    /// The epoch of a tenant's things.
    async fn epoch(&self, tenant: &TenantId) -> Result<Epoch, CountersAway>;

    /// Moves a tenant's epoch: every view read before is stale.
    async fn move_epoch(&self, tenant: &TenantId) -> Result<(), CountersAway>;

    /// How much of a day's quota is used.
    async fn quota_used(&self, tenant: &TenantId, day: i64) -> Result<u64, CountersAway>;

    /// Draws once from a bucket outside any tenant; `Some(milliseconds to wait)` when empty.
    async fn draw(&self, name: &str, rate: Rate, now: Timestamp) -> Result<Option<u64>, CountersAway>;

    /// Whether the store answers.
    async fn ping(&self) -> Result<(), CountersAway>;
}
