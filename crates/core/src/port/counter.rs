//! The counter port: replay, rate, quota and budget decided in one round trip.

use async_trait::async_trait;

use crate::{
    budget::{Hold, Once, Repeat, Reserve, Span, Spent, Standing},
    id::{RequestId, TenantId},
    limits::Rate,
    time::Timestamp,
};

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
    /// The platform's money for it, if the platform pays.
    pub reserve: Option<Reserve<'a>>,
}

/// One admission, as the counter store sees it.
#[derive(Clone, Debug)]
pub struct Plan<'a> {
    /// Whose request it is.
    pub tenant: &'a TenantId,
    /// The time of the decision. Counters that several gateways share go by their own clock.
    pub now: Timestamp,
    /// The epoch of the view that was decided on.
    pub epoch: Epoch,
    /// The token id to use up, if the caller has one.
    pub claim: Option<Claim>,
    /// What to take; nothing when the request is refused already and only the claim is made.
    pub take: Option<Take<'a>>,
}

/// What the counter store decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Everything was taken.
    Taken(Room),
    /// The view is of another epoch: nothing was claimed or taken. Read again and repeat.
    Stale(Epoch),
    /// The token id was used before: nothing was taken.
    Replayed,
    /// Its `Idempotency-Key` was seen before: nothing was taken.
    Repeated(Repeat),
    /// A bucket was empty: nothing was taken.
    RateLimited {
        /// Which.
        scope: Scope,
        /// Milliseconds until there is room.
        retry_after_ms: u64,
    },
    /// The day's requests are used up: nothing was taken.
    QuotaExceeded,
    /// What is spent is not known here: nothing was claimed or taken. Read it from the store and repeat.
    SpentUnknown,
    /// It does not fit under the ceiling: nothing was taken.
    BudgetExceeded,
}

/// What is left after a decision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// Requests that each bucket would let through now; `None` for one without a limit.
    pub buckets: [Option<u32>; 3],
    /// Requests of the day.
    pub quota: u64,
}

/// Why a hold that is asked for by itself was not made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reserved {
    /// It was made.
    Held,
    /// What is spent is not known here. Read it from the store and repeat.
    SpentUnknown,
    /// Its `Idempotency-Key` was seen before.
    Repeated(Repeat),
    /// It does not fit under the ceiling.
    BudgetExceeded,
}

/// What a settled request leaves: its hold is gone, and so much is spent.
#[derive(Clone, Debug)]
pub struct Settled<'a> {
    /// Whose money it was.
    pub tenant: &'a TenantId,
    /// The request.
    pub id: &'a RequestId,
    /// What the store says is spent since: each span with its sum. None when nothing was spent.
    pub spent: &'a [(Span, Spent)],
    /// Whom its client may send again, and whether it cost something. What did is known by its key for
    /// [`KNOWN_FOR_MS`](crate::budget::KNOWN_FOR_MS); what did not may be sent again.
    pub once: Option<(&'a Once, bool)>,
}

/// A counter store.
#[async_trait]
pub trait Counters: Send + Sync {
    /// Decides an admission: epoch, then claim, then repetition, then rates, then quota, then budget, atomically. Only a
    /// claim is used up by a request that is then refused.
    async fn decide(&self, plan: &Plan<'_>) -> Result<Decision, CountersAway>;

    /// The epoch of a tenant's things.
    async fn epoch(&self, tenant: &TenantId) -> Result<Epoch, CountersAway>;

    /// Moves a tenant's epoch: every view read before is stale.
    async fn move_epoch(&self, tenant: &TenantId) -> Result<(), CountersAway>;

    /// Sets money aside for a request that was let through without.
    async fn reserve(
        &self,
        tenant: &TenantId,
        reserve: &Reserve<'_>,
        now: Timestamp,
    ) -> Result<Reserved, CountersAway>;

    /// Ends holds and takes over what is spent. The newest version of a sum stays, in whatever order they come.
    async fn settle(&self, settled: &[Settled<'_>], now: Timestamp) -> Result<(), CountersAway>;

    /// Holds for longer, and again what was lost.
    async fn renew(&self, holds: &[(&TenantId, Hold<'_>)], now: Timestamp) -> Result<(), CountersAway>;

    /// What is spent in a span, as far as it is known here, and what is held.
    async fn standing(&self, tenant: &TenantId, span: Span, now: Timestamp)
    -> Result<Standing, CountersAway>;

    /// How much of a day's quota is used.
    async fn quota_used(&self, tenant: &TenantId, day: i64) -> Result<u64, CountersAway>;

    /// Draws once from a bucket outside any tenant; `Some(milliseconds to wait)` when empty.
    async fn draw(&self, name: &str, rate: Rate, now: Timestamp) -> Result<Option<u64>, CountersAway>;

    /// Whether the store answers.
    async fn ping(&self) -> Result<(), CountersAway>;

    /// When the store last lost what it knew, by its own clock: which token ids were used before is forgotten. It can
    /// happen at any time; from then on every epoch read before is stale. `None` if nothing was lost.
    fn lost_at(&self) -> Option<Timestamp>;

    /// Names this life of what the store knows: another name means that what was known under the one before is lost.
    /// Whoever remembers it can tell a loss from a first start the next time.
    fn generation(&self) -> String;
}
