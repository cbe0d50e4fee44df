//! Counters in this process: right for one gateway, and the reference for the others.
//!
//! A decision holds the lock of its tenant's shard and nothing else: epoch, claim, rates, quota and
//! budget are checked first and taken afterwards, so a refusal takes nothing. Expired claims are swept
//! while claims are made, a few at a time, so memory is bounded by what is alive.

mod account;
mod once;

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
    port::counter::{
        Bucket, Claim, Counters, CountersAway, Decision, Epoch, Plan, Reserved, Room, Scope, Settled, Take,
    },
    time::Timestamp,
};

use self::account::{Account, Fit};
use super::left_in_bucket;

const SHARDS: usize = 64;
/// Live token ids of one tenant, and of all together: beyond that no new one is accepted rather
/// than an old one forgotten. A tenant that reaches its own limit is in nobody else's way.
const MAX_CLAIMS_OF_TENANT: usize = 500_000;
const MAX_CLAIMS: usize = 5_000_000;
/// Idle buckets are dropped when a shard holds more than this many.
const MAX_BUCKETS: usize = 50_000;

/// A counter store in memory.
pub struct MemoryCounters {
    shards: Vec<Mutex<Shard>>,
    hasher: RandomState,
    lost_at: Option<Timestamp>,
}

struct Shard {
    epochs: HashMap<TenantId, u64>,
    quotas: HashMap<TenantId, Quota>,
    buckets: HashMap<String, Gcra>,
    claims: HashMap<TenantId, Claims>,
    accounts: HashMap<TenantId, Account>,
    /// All live claims of all shards.
    all_claims: Arc<AtomicUsize>,
}

/// The token ids that a tenant's callers have used, and which of them can be forgotten first.
#[derive(Default)]
struct Claims {
    live: HashSet<[u8; 32]>,
    ends: BinaryHeap<Reverse<(Timestamp, [u8; 32])>>,
}

#[derive(Clone, Copy)]
struct Quota {
    day: i64,
    used: u64,
}

/// The generic cell rate algorithm (ITU-T I.371): one number a bucket, the theoretical arrival
/// time of the next request, in microseconds.
#[derive(Clone, Copy)]
struct Gcra {
    arrival: i64,
}

impl Gcra {
    /// How many requests would be let through now.
    fn left(self, rate: Rate, now: Timestamp) -> u32 {
        let ahead = self.arrival.saturating_sub(now.millis().saturating_mul(1000)).max(0) as u64;
        left_in_bucket(rate, ahead)
    }
}

impl Default for MemoryCounters {
    fn default() -> Self {
        let claims = Arc::<AtomicUsize>::default();
        let shard = || Shard {
            epochs: HashMap::new(),
            quotas: HashMap::new(),
            buckets: HashMap::new(),
            claims: HashMap::new(),
            accounts: HashMap::new(),
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
        *self.shard(tenant.as_str()).epochs.entry(tenant.clone()).or_default() += 1;
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
        Ok(shard.quotas.get(tenant).filter(|quota| quota.day == day).map_or(0, |quota| quota.used))
    }

    async fn draw(&self, name: &str, rate: Rate, now: Timestamp) -> Result<Option<u64>, CountersAway> {
        let mut shard = self.shard(name);
        shard.drop_idle_buckets(now);
        match shard.peek(name, rate, now) {
            Err(wait) => Ok(Some(wait)),
            Ok(None) => Ok(None),
            Ok(Some(next)) => {
                shard.buckets.insert(name.to_owned(), next);
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
        self.epochs.get(tenant).copied().unwrap_or(0)
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
        let mut drawn = [const { None }; 3];
        let mut room = Room::default();
        for ((slot, left), bucket) in drawn.iter_mut().zip(&mut room.buckets).zip(&take.buckets) {
            let name = bucket_name(plan.tenant, bucket);
            match self.peek(&name, bucket.rate, plan.now) {
                Ok(next) => {
                    *left = next.map(|next| next.left(bucket.rate, plan.now));
                    *slot = next.map(|next| (name, next));
                }
                Err(retry_after_ms) => {
                    return Decision::RateLimited { scope: bucket.scope, retry_after_ms };
                }
            }
        }
        // A day that has begun does not end again: a request that was under way over midnight, or
        // a clock that steps back, counts on the newer day.
        let known = self.quotas.get(plan.tenant).copied();
        let day = known.map_or(plan.now.day(), |quota| quota.day.max(plan.now.day()));
        let used = known.filter(|quota| quota.day == day).map_or(0, |quota| quota.used);
        if used >= take.daily_quota {
            return Decision::QuotaExceeded;
        }
        if fit == Fit::TooMuch {
            return Decision::BudgetExceeded;
        }
        if let Some(reserve) = &take.reserve {
            self.account(plan.tenant).hold(&reserve.hold, plan.now);
        }
        self.drop_idle_buckets(plan.now);
        self.quotas.insert(plan.tenant.clone(), Quota { day, used: used + 1 });
        self.buckets.extend(drawn.into_iter().flatten());
        room.quota = take.daily_quota - used - 1;
        Decision::Taken(room)
    }

    /// What the bucket would hold after a draw (`None` for one without a limit), or how many
    /// milliseconds until a draw is possible.
    fn peek(&self, name: &str, rate: Rate, now: Timestamp) -> Result<Option<Gcra>, u64> {
        let Some(interval) = rate.interval_micros() else { return Ok(None) };
        let (interval, burst) = (interval as i64, i64::from(rate.burst().max(1)));
        let now = now.millis().saturating_mul(1000);
        // No bucket can be further ahead than full: a clock that was set back must not close it.
        let arrival = self.buckets.get(name).map_or(now, |bucket| {
            bucket.arrival.clamp(now, now.saturating_add(interval.saturating_mul(burst)))
        });
        let earliest = arrival - interval * (burst - 1);
        if now < earliest {
            return Err(((earliest - now) as u64).div_ceil(1000));
        }
        Ok(Some(Gcra { arrival: arrival + interval }))
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

    /// A bucket whose arrival time has passed is as good as a new one.
    fn drop_idle_buckets(&mut self, now: Timestamp) {
        if self.buckets.len() > MAX_BUCKETS {
            let now = now.millis().saturating_mul(1000);
            self.buckets.retain(|_, bucket| bucket.arrival > now);
        }
    }
}

fn bucket_name(tenant: &TenantId, bucket: &Bucket<'_>) -> String {
    let kind = match bucket.scope {
        Scope::Caller => "caller",
        Scope::Tenant => "tenant",
        Scope::TenantProvider => "provider",
    };
    format!("{tenant}/{kind}/{}", bucket.name)
}
