//! Counters in this process: right for one gateway, and the reference for the others.
//!
//! A decision holds the lock of its tenant's shard and nothing else: epoch, claim, rates, quota and
//! budget are checked first and taken afterwards, so a refusal takes nothing. Expired claims are swept
//! while claims are made, a few at a time, so memory is bounded by what is alive.

mod account;
mod once;
mod rates;

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, HashSet, hash_map::RandomState},
    hash::BuildHasher,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use keyferry_core::{
    budget::{Hold, Reserve, Span, Standing},
    id::TenantId,
    limits::Rate,
    map::Map,
    port::counter::{Claim, Counters, CountersAway, Decision, Epoch, Plan, Reserved, Room, Settled, Take},
    time::Timestamp,
};

use self::{
    account::{Account, Fit},
    rates::{Counted, Gcra, Quota, drop_idle},
};
use super::left_in_bucket;

const SHARDS: usize = 64;
/// Live token ids of one tenant, and of all together: beyond that no new one is accepted rather
/// than an old one forgotten. A tenant that reaches its own limit is in nobody else's way.
const MAX_CLAIMS_OF_TENANT: usize = 500_000;
const MAX_CLAIMS: usize = 5_000_000;
/// Idle buckets are dropped when a shard holds more than this many, of tenants or of others.
const MAX_BUCKETS: usize = 50_000;

/// A counter store in memory.
pub struct MemoryCounters {
    shards: Vec<Mutex<Shard>>,
    hasher: RandomState,
    lost_at: Option<Timestamp>,
}

struct Shard {
    counted: Map<TenantId, Counted>,
    /// Buckets of callers and providers, of all tenants.
    buckets: usize,
    /// Buckets of no tenant, by name.
    others: HashMap<Box<str>, Gcra>,
    claims: HashMap<TenantId, Claims>,
    accounts: Map<TenantId, Account>,
    /// All live claims of all shards.
    all_claims: Arc<AtomicUsize>,
}

/// The token ids that a tenant's callers have used, and which of them can be forgotten first.
#[derive(Default)]
struct Claims {
    live: HashSet<[u8; 32]>,
    ends: BinaryHeap<Reverse<(Timestamp, [u8; 32])>>,
}

impl Default for MemoryCounters {
    fn default() -> Self {
        let claims = Arc::<AtomicUsize>::default();
        let shard = || Shard {
            counted: Map::default(),
            buckets: 0,
            others: HashMap::new(),
            claims: HashMap::new(),
            accounts: Map::default(),
            all_claims: Arc::clone(&claims),
        };
        let shards = (0..SHARDS).map(|_| Mutex::new(shard())).collect();
        Self { shards, hasher: RandomState::new(), lost_at: None }
    }
}

impl MemoryCounters {
    /// Counters that begin anew after others that knew something, at this moment.
    pub fn after_a_loss(at: Timestamp) -> Self {
        Self { lost_at: Some(at), ..Self::default() }
    }

    fn shard(&self, name: &str) -> MutexGuard<'_, Shard> {
        let at = self.hasher.hash_one(name) as usize % SHARDS;
        // A panic while the lock is held can only come between two whole steps; the counts stand.
        self.shards[at].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Counters for MemoryCounters {
    async fn decide(&self, plan: &Plan<'_>) -> Result<Decision, CountersAway> {
        self.shard(plan.tenant.as_str()).decide(plan)
    }

    async fn epoch(&self, tenant: &TenantId) -> Result<Epoch, CountersAway> {
        Ok(Epoch(self.shard(tenant.as_str()).epoch(tenant)))
    }

    async fn move_epoch(&self, tenant: &TenantId) -> Result<(), CountersAway> {
        self.shard(tenant.as_str()).counted.entry(tenant.clone()).or_default().epoch += 1;
        Ok(())
    }

    async fn reserve(
        &self,
        tenant: &TenantId,
        reserve: &Reserve<'_>,
        now: Timestamp,
    ) -> Result<Reserved, CountersAway> {
        let mut shard = self.shard(tenant.as_str());
        let account = shard.account(tenant);
        let fit = account.fit(reserve, now);
        if fit != Fit::Unknown
            && let Some(repeat) = account.repeated(&reserve.hold, now)?
        {
            return Ok(Reserved::Repeated(repeat));
        }
        Ok(match fit {
            Fit::Unknown => Reserved::SpentUnknown,
            Fit::TooMuch => Reserved::BudgetExceeded,
            Fit::Fits => {
                account.hold(&reserve.hold, now);
                Reserved::Held
            }
        })
    }

    async fn settle(&self, settled: &[Settled<'_>], now: Timestamp) -> Result<(), CountersAway> {
        for one in settled {
            let mut shard = self.shard(one.tenant.as_str());
            let account = shard.account(one.tenant);
            account.release(one.id);
            one.spent.iter().for_each(|&(span, spent)| account.learn(span, spent));
            if let Some((once, cost)) = one.once {
                account.ended(one.id, once, cost, now);
            }
        }
        Ok(())
    }

    async fn renew(&self, holds: &[(&TenantId, Hold<'_>)], now: Timestamp) -> Result<(), CountersAway> {
        for (tenant, hold) in holds {
            self.shard(tenant.as_str()).account(tenant).hold(hold, now);
        }
        Ok(())
    }

    async fn standing(
        &self,
        tenant: &TenantId,
        span: Span,
        now: Timestamp,
    ) -> Result<Standing, CountersAway> {
        Ok(self.shard(tenant.as_str()).account(tenant).standing(span, now))
    }

    async fn quota_used(&self, tenant: &TenantId, day: i64) -> Result<u64, CountersAway> {
        let shard = self.shard(tenant.as_str());
        let quota = shard.counted.get(tenant).and_then(|counted| counted.quota);
        Ok(quota.filter(|quota| quota.day == day).map_or(0, |quota| quota.used))
    }

    async fn draw(&self, name: &str, rate: Rate, now: Timestamp) -> Result<Option<u64>, CountersAway> {
        let mut shard = self.shard(name);
        if shard.others.len() > MAX_BUCKETS {
            drop_idle(&mut shard.others, now);
        }
        match Gcra::draw(shard.others.get(name).copied(), rate, now) {
            Err(wait) => Ok(Some(wait)),
            Ok(None) => Ok(None),
            Ok(Some(next)) => {
                shard.others.insert(name.into(), next);
                Ok(None)
            }
        }
    }

    async fn ping(&self) -> Result<(), CountersAway> {
        Ok(())
    }

    fn lost_at(&self) -> Option<Timestamp> {
        self.lost_at
    }

    /// What is in memory has no name that means anything to another process.
    fn generation(&self) -> String {
        "memory".to_owned()
    }
}

impl Shard {
    fn epoch(&self, tenant: &TenantId) -> u64 {
        self.counted.get(tenant).map_or(0, |counted| counted.epoch)
    }

    fn decide(&mut self, plan: &Plan<'_>) -> Result<Decision, CountersAway> {
        let epoch = self.epoch(plan.tenant);
        if epoch != plan.epoch.0 {
            return Ok(Decision::Stale(Epoch(epoch)));
        }
        let fit = match plan.take.as_ref().and_then(|take| take.reserve.as_ref()) {
            Some(reserve) => self.account(plan.tenant).fit(reserve, plan.now),
            None => Fit::Fits,
        };
        if fit == Fit::Unknown {
            return Ok(Decision::SpentUnknown);
        }
        if let Some(claim) = plan.claim
            && !self.claim(plan.tenant, claim, plan.now)?
        {
            return Ok(Decision::Replayed);
        }
        if let Some(reserve) = plan.take.as_ref().and_then(|take| take.reserve.as_ref())
            && let Some(repeat) = self.account(plan.tenant).repeated(&reserve.hold, plan.now)?
        {
            return Ok(Decision::Repeated(repeat));
        }
        match &plan.take {
            None => Ok(Decision::Taken(Room::default())),
            Some(take) => Ok(self.take(plan, take, fit)),
        }
    }

    fn account(&mut self, tenant: &TenantId) -> &mut Account {
        self.accounts.entry(tenant.clone()).or_default()
    }

    fn take(&mut self, plan: &Plan<'_>, take: &Take<'_>, fit: Fit) -> Decision {
        self.drop_idle_buckets(plan.now);
        if !self.counted.contains_key(plan.tenant) {
            self.counted.insert(plan.tenant.clone(), Counted::default());
        }
        let Some(counted) = self.counted.get_mut(plan.tenant) else { unreachable!("it was just made") };
        let mut drawn = [None; 3];
        let mut room = Room::default();
        for ((drawn, left), bucket) in drawn.iter_mut().zip(&mut room.buckets).zip(&take.buckets) {
            match Gcra::draw(counted.bucket(bucket), bucket.rate, plan.now) {
                Ok(next) => {
                    *left = next.map(|next| next.left(bucket.rate, plan.now));
                    *drawn = next;
                }
                Err(retry_after_ms) => {
                    return Decision::RateLimited { scope: bucket.scope, retry_after_ms };
                }
            }
        }
        // A day that has begun does not end again: a request that was under way over midnight, or
        // a clock that steps back, counts on the newer day.
        let day = counted.quota.map_or(plan.now.day(), |quota| quota.day.max(plan.now.day()));
        let used = counted.quota.filter(|quota| quota.day == day).map_or(0, |quota| quota.used);
        if used >= take.daily_quota {
            return Decision::QuotaExceeded;
        }
        if fit == Fit::TooMuch {
            return Decision::BudgetExceeded;
        }
        counted.quota = Some(Quota { day, used: used + 1 });
        for (bucket, drawn) in take.buckets.iter().zip(drawn) {
            self.buckets += usize::from(drawn.is_some_and(|drawn| counted.put(bucket, drawn)));
        }
        if let Some(reserve) = &take.reserve {
            self.account(plan.tenant).hold(&reserve.hold, plan.now);
        }
        room.quota = take.daily_quota - used - 1;
        Decision::Taken(room)
    }

    /// Whether a token id was free; it is used from here on.
    fn claim(&mut self, tenant: &TenantId, claim: Claim, now: Timestamp) -> Result<bool, CountersAway> {
        let claims = self.claims.entry(tenant.clone()).or_default();
        // A few at a time, so that no single request pays for many.
        for _ in 0..4 {
            match claims.ends.peek() {
                Some(Reverse((until, key))) if *until < now => {
                    claims.live.remove(key);
                    claims.ends.pop();
                    self.all_claims.fetch_sub(1, Ordering::Relaxed);
                }
                _ => break,
            }
        }
        if claims.live.contains(&claim.key) {
            return Ok(false);
        }
        let full = claims.live.len() >= MAX_CLAIMS_OF_TENANT
            || self.all_claims.load(Ordering::Relaxed) >= MAX_CLAIMS;
        if full {
            return Err(CountersAway("too many live token ids".to_owned()));
        }
        claims.live.insert(claim.key);
        claims.ends.push(Reverse((claim.until, claim.key)));
        self.all_claims.fetch_add(1, Ordering::Relaxed);
        Ok(true)
    }

    fn drop_idle_buckets(&mut self, now: Timestamp) {
        if self.buckets > MAX_BUCKETS {
            self.buckets = self.counted.values_mut().map(|counted| counted.drop_idle(now)).sum();
        }
    }
}

#[cfg(test)]
mod tests {
    use keyferry_core::port::counter::{Bucket, Scope};

    use super::*;

    /// Takes from a caller's bucket that is full again a second later.
    async fn ask(counters: &MemoryCounters, caller: u32, now: Timestamp) {
        let tenant: TenantId = "acme".parse().expect("valid");
        let (name, rate) = (format!("tok{caller}"), Rate::Per { count: 10, per_millis: 1000 });
        let bucket = |scope, name, rate| Bucket { scope, name, rate };
        let buckets = [
            bucket(Scope::Caller, name.as_str(), rate),
            bucket(Scope::Tenant, "", Rate::Unlimited),
            bucket(Scope::TenantProvider, "openai", Rate::Unlimited),
        ];
        let take = Some(Take { buckets, daily_quota: u64::MAX, reserve: None });
        let plan = Plan { tenant: &tenant, now, epoch: Epoch(0), claim: None, take };
        let decision = counters.decide(&plan).await.expect("decided");
        assert!(matches!(decision, Decision::Taken(_)), "{decision:?}");
    }

    #[tokio::test]
    async fn buckets_that_are_full_again_are_dropped_when_there_are_many() {
        let (counters, begun) = (MemoryCounters::default(), Timestamp::from_secs(1_000_000));
        for caller in 0..=MAX_BUCKETS as u32 {
            ask(&counters, caller, begun).await;
        }
        assert_eq!(counters.shard("acme").buckets, MAX_BUCKETS + 1);
        ask(&counters, u32::MAX, begun).await;
        assert_eq!(counters.shard("acme").buckets, MAX_BUCKETS + 2, "none was full");
        ask(&counters, 0, begun.plus_secs(1)).await;
        assert_eq!(counters.shard("acme").buckets, 1, "only that of who asks");
    }
}
