//! Counters in this process: right for one gateway, and the reference for the others.
//!
//! A decision holds the lock of its tenant's shard and nothing else: epoch, claim, rates and quota
//! are checked first and taken afterwards, so a refusal takes nothing. Expired claims are swept
//! while claims are made, a few at a time, so memory is bounded by what is alive.

use std::{
    collections::{HashMap, VecDeque, hash_map::RandomState},
    hash::BuildHasher,
    sync::{Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use keyferry_core::{
    id::TenantId,
    limits::Rate,
    port::counter::{Bucket, Counters, CountersAway, Decision, Epoch, Plan, Scope, Take},
    time::Timestamp,
};

const SHARDS: usize = 64;
/// Claims a shard keeps at most; beyond that it refuses to make new ones rather than forget one.
const MAX_CLAIMS: usize = 200_000;
/// Idle buckets are dropped when a shard holds more than this many.
const MAX_BUCKETS: usize = 50_000;

/// A counter store in memory.
pub struct MemoryCounters {
    shards: Vec<Mutex<Shard>>,
    hasher: RandomState,
}

#[derive(Default)]
struct Shard {
    epochs: HashMap<TenantId, u64>,
    quotas: HashMap<TenantId, Quota>,
    buckets: HashMap<String, Gcra>,
    claims: HashMap<[u8; 32], Timestamp>,
    /// In the order they were made; ends differ by an hour at most, so the sweep is nearly in order.
    claim_order: VecDeque<([u8; 32], Timestamp)>,
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

impl Default for MemoryCounters {
    fn default() -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::default()).collect(), hasher: RandomState::new() }
    }
}

impl MemoryCounters {
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
        if let Some(claim) = plan.claim {
            self.forget_expired_claims(plan.now);
            if self.claims.contains_key(&claim.key) {
                return Ok(Decision::Replayed);
            }
            if self.claims.len() >= MAX_CLAIMS {
                return Err(CountersAway("too many live token ids".to_owned()));
            }
            self.claims.insert(claim.key, claim.until);
            self.claim_order.push_back((claim.key, claim.until));
        }
        match &plan.take {
            None => Ok(Decision::Taken),
            Some(take) => Ok(self.take(plan, take)),
        }
    }

    fn take(&mut self, plan: &Plan<'_>, take: &Take<'_>) -> Decision {
        let mut drawn = [const { None }; 3];
        for (slot, bucket) in drawn.iter_mut().zip(&take.buckets) {
            let name = bucket_name(plan.tenant, bucket);
            match self.peek(&name, bucket.rate, plan.now) {
                Ok(next) => *slot = next.map(|next| (name, next)),
                Err(retry_after_ms) => {
                    return Decision::RateLimited { scope: bucket.scope, retry_after_ms };
                }
            }
        }
        let day = plan.now.day();
        let used = self.quotas.get(plan.tenant).filter(|q| q.day == day).map_or(0, |q| q.used);
        if used >= take.daily_quota {
            return Decision::QuotaExceeded;
        }
        self.drop_idle_buckets(plan.now);
        self.quotas.insert(plan.tenant.clone(), Quota { day, used: used + 1 });
        self.buckets.extend(drawn.into_iter().flatten());
        Decision::Taken
    }

    /// What the bucket would hold after a draw (`None` for one without a limit), or how many
    /// milliseconds until a draw is possible.
    fn peek(&self, name: &str, rate: Rate, now: Timestamp) -> Result<Option<Gcra>, u64> {
        let Some(interval) = rate.interval_micros() else { return Ok(None) };
        let (interval, burst) = (interval as i64, i64::from(rate.burst().max(1)));
        let now = now.millis().saturating_mul(1000);
        let arrival = self.buckets.get(name).map_or(now, |bucket| bucket.arrival.max(now));
        let earliest = arrival - interval * (burst - 1);
        if now < earliest {
            return Err(((earliest - now) as u64).div_ceil(1000));
        }
        Ok(Some(Gcra { arrival: arrival + interval }))
    }

    fn forget_expired_claims(&mut self, now: Timestamp) {
        for _ in 0..4 {
            match self.claim_order.front() {
                Some(&(key, until)) if until < now => {
                    self.claims.remove(&key);
                    self.claim_order.pop_front();
                }
                _ => break,
            }
        }
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
