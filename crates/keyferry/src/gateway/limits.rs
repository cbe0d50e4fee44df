//! What is left of a caller's limits, told with each answer: `RateLimit` and `RateLimit-Policy`
//! (draft-ietf-httpapi-ratelimit-headers-10).
//!
//! A bucket's quota is its burst, and its window the time in which an empty one fills. The day is one of UTC.

use http::{HeaderMap, HeaderValue};
use keyferry_core::{
    admission::{Caller, Policy},
    limits::Rate,
    port::counter::Room,
    tenant::Tenant,
    time::Timestamp,
};

/// The names of the buckets, in the order of their scopes.
const BUCKETS: [&str; 3] = ["caller", "tenant", "provider"];
const DAY_SECS: u64 = 86_400;

/// The limits that a request was admitted under, and what it left of them.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    pub(super) rates: [Rate; 3],
    pub(super) daily_quota: u64,
    pub(super) room: Room,
    pub(super) at: Timestamp,
}

impl Limits {
    pub(super) fn of(policy: &Policy, caller: &Caller, tenant: &Tenant, room: Room, at: Timestamp) -> Self {
        let own = caller.rate().unwrap_or(policy.rates.caller);
        let rates = [own, policy.rates.tenant, policy.rates.tenant_provider];
        Self { rates, daily_quota: tenant.daily_quota, room, at }
    }

    /// Adds both headers.
    pub(super) fn put(&self, headers: &mut HeaderMap) {
        let (mut policy, mut left) = (String::with_capacity(128), String::with_capacity(128));
        for ((name, rate), room) in BUCKETS.iter().zip(self.rates).zip(self.room.buckets) {
            let (Some(interval), Some(room)) = (rate.interval_micros(), room) else { continue };
            let (burst, room) = (u64::from(rate.burst()), u64::from(room));
            let seconds = |requests: u64| (requests * interval).div_ceil(1_000_000);
            put(&mut policy, name, ["q", "w"], [burst, seconds(burst)]);
            put(&mut left, name, ["r", "t"], [room, seconds(burst.saturating_sub(room))]);
        }
        let midnight = (self.at.next_day().millis() - self.at.millis()).max(0) as u64;
        put(&mut policy, "day", ["q", "w"], [self.daily_quota, DAY_SECS]);
        put(&mut left, "day", ["r", "t"], [self.room.quota, midnight.div_ceil(1000)]);
        for (name, value) in [("ratelimit-policy", policy), ("ratelimit", left)] {
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.insert(name, value);
            }
        }
    }
}

/// One item of a list: `"caller";q=200;w=2`.
fn put(list: &mut String, name: &str, names: [&str; 2], values: [u64; 2]) {
    use std::fmt::Write as _;
    let comma = if list.is_empty() { "" } else { ", " };
    // Writing to a text does not fail.
    let _ = write!(list, "{comma}\"{name}\";{}={};{}={}", names[0], values[0], names[1], values[1]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_told_for_each_limit_that_there_is() {
        let rate = |text: &str| text.parse::<Rate>().expect("a rate");
        let limits = Limits {
            rates: [rate("100/s"), rate("unlimited"), rate("30/min")],
            daily_quota: 10_000,
            room: Room { buckets: [Some(150), None, Some(59)], quota: 9_990 },
            at: Timestamp::parse("2026-11-26T23:59:00Z").expect("valid"),
        };
        let mut headers = HeaderMap::new();
        limits.put(&mut headers);
        assert_eq!(
            headers["ratelimit-policy"],
            "\"caller\";q=200;w=2, \"provider\";q=60;w=120, \"day\";q=10000;w=86400"
        );
        assert_eq!(headers["ratelimit"], "\"caller\";r=150;t=1, \"provider\";r=59;t=2, \"day\";r=9990;t=60");
    }
}
