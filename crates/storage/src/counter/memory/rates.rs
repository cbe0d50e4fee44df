//! What is counted of one tenant with each of its requests: its rates and its day.

use std::{collections::HashMap, hash::BuildHasher};

use keyferry_core::{
    limits::Rate,
    map::Map,
    port::counter::{Bucket, Scope},
    time::Timestamp,
};

use super::left_in_bucket;

/// The counts of a tenant. What is looked up here is looked up by what the request has in hand: no name is put together,
/// and one is copied only when its bucket is new.
#[derive(Default)]
pub(super) struct Counted {
    pub(super) epoch: u64,
    pub(super) quota: Option<Quota>,
    /// The tenant's own bucket: there is one, and it needs no name.
    own: Option<Gcra>,
    /// By names that issuers give.
    callers: HashMap<Box<str>, Gcra>,
    providers: Map<Box<str>, Gcra>,
}

#[derive(Clone, Copy)]
pub(super) struct Quota {
    pub(super) day: i64,
    pub(super) used: u64,
}

/// The generic cell rate algorithm (ITU-T I.371): one number a bucket, the theoretical arrival
/// time of the next request, in microseconds.
#[derive(Clone, Copy)]
pub(super) struct Gcra {
    arrival: i64,
}

impl Counted {
    /// A bucket as it is, if it was drawn from before.
    pub(super) fn bucket(&self, bucket: &Bucket<'_>) -> Option<Gcra> {
        match bucket.scope {
            Scope::Tenant => self.own,
            Scope::Caller => self.callers.get(bucket.name).copied(),
            Scope::TenantProvider => self.providers.get(bucket.name).copied(),
        }
    }

    /// Takes over what a draw left; answers whether that is a bucket more.
    pub(super) fn put(&mut self, bucket: &Bucket<'_>, drawn: Gcra) -> bool {
        match bucket.scope {
            Scope::Tenant => {
                self.own = Some(drawn);
                false
            }
            Scope::Caller => put(&mut self.callers, bucket.name, drawn),
            Scope::TenantProvider => put(&mut self.providers, bucket.name, drawn),
        }
    }

    /// Drops buckets that are as good as new ones; answers how many are left.
    pub(super) fn drop_idle(&mut self, now: Timestamp) -> usize {
        drop_idle(&mut self.callers, now) + drop_idle(&mut self.providers, now)
    }
}

impl Gcra {
    /// What a bucket would hold after a draw (`None` for one without a limit), or how many
    /// milliseconds until a draw is possible.
    pub(super) fn draw(known: Option<Self>, rate: Rate, now: Timestamp) -> Result<Option<Self>, u64> {
        let Some(interval) = rate.interval_micros() else { return Ok(None) };
        let (interval, burst) = (interval as i64, i64::from(rate.burst().max(1)));
        let now = now.millis().saturating_mul(1000);
        // No bucket can be further ahead than full: a clock that was set back must not close it.
        let arrival = known.map_or(now, |bucket| {
            bucket.arrival.clamp(now, now.saturating_add(interval.saturating_mul(burst)))
        });
        let earliest = arrival - interval * (burst - 1);
        if now < earliest {
            return Err(((earliest - now) as u64).div_ceil(1000));
        }
        Ok(Some(Self { arrival: arrival + interval }))
    }

    /// How many requests would be let through now.
    pub(super) fn left(self, rate: Rate, now: Timestamp) -> u32 {
        let ahead = self.arrival.saturating_sub(now.millis().saturating_mul(1000)).max(0) as u64;
        left_in_bucket(rate, ahead)
    }
}

/// Takes over what a draw left; answers whether that is a bucket more.
fn put<S: BuildHasher>(buckets: &mut HashMap<Box<str>, Gcra, S>, name: &str, drawn: Gcra) -> bool {
    if let Some(known) = buckets.get_mut(name) {
        *known = drawn;
        return false;
    }
    buckets.insert(name.into(), drawn).is_none()
}

/// Drops buckets whose arrival time has passed: they are as good as new ones. Answers how many are left.
pub(super) fn drop_idle<S: BuildHasher>(buckets: &mut HashMap<Box<str>, Gcra, S>, now: Timestamp) -> usize {
    let now = now.millis().saturating_mul(1000);
    buckets.retain(|_, bucket| bucket.arrival > now);
    buckets.len()
}
