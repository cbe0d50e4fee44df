//! What is left of a caller's limits, told with each answer to a request that was admitted; and with one that a limit
//! refused, what that limit was. The day is one of UTC.

use http::HeaderMap;
use keyferry_core::{
    admission::{Caller, Denial, Policy},
    limits::Rate,
    port::counter::{Room, Scope},
    tenant::Tenant,
    time::Timestamp,
};

use crate::http::{Allowance, LimitName, limit_name, policy_of};

/// The names of the buckets, in the order of their scopes.
const BUCKETS: [LimitName; 3] = [limit_name!("caller"), limit_name!("tenant"), limit_name!("provider")];
const DAY: LimitName = limit_name!("day");
const DAY_SECS: u64 = 86_400;

/// The limits that a request was decided under.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    pub(super) rates: [Rate; 3],
    pub(super) daily_quota: u64,
    pub(super) at: Timestamp,
}

/// What a request that was admitted left of them.
#[derive(Clone, Copy)]
pub(super) struct Left {
    pub(super) limits: Limits,
    pub(super) room: Room,
}

impl Limits {
    pub(super) fn of(policy: &Policy, caller: &Caller, tenant: &Tenant, at: Timestamp) -> Self {
        let own = caller.rate().unwrap_or(policy.rates.caller);
        let rates = [own, policy.rates.tenant, policy.rates.tenant_provider];
        Self { rates, daily_quota: tenant.daily_quota, at }
    }

    /// The one that refused, if it was a limit that did: there is more of it when the request may be tried again.
    pub(super) fn refused(&self, denial: &Denial) -> Option<Box<Allowance>> {
        let seconds = denial.retry_after(self.at)?;
        match denial {
            Denial::RateLimited { scope, .. } => {
                let at = match scope {
                    Scope::Caller => 0,
                    Scope::Tenant => 1,
                    Scope::TenantProvider => 2,
                };
                Allowance::used_up(BUCKETS[at], self.rates[at], seconds)
            }
            Denial::QuotaExceeded { .. } => {
                let mut alone = Allowance::default();
                alone.add(DAY, [self.daily_quota, DAY_SECS], [0, seconds]);
                Some(Box::new(alone))
            }
            _ => None,
        }
    }
}

impl Left {
    /// Adds both headers.
    pub(super) fn put(&self, headers: &mut HeaderMap) {
        let mut told = Allowance::default();
        let Limits { rates, daily_quota, at } = self.limits;
        for ((name, rate), room) in BUCKETS.into_iter().zip(rates).zip(self.room.buckets) {
            let (Some(policy), Some(interval), Some(room)) = (policy_of(rate), rate.interval_micros(), room)
            else {
                continue;
            };
            let room = u64::from(room);
            let until_full = (policy[0].saturating_sub(room) * interval).div_ceil(1_000_000);
            told.add(name, policy, [room, until_full]);
        }
        let midnight = (at.next_day().millis() - at.millis()).max(0) as u64;
        told.add(DAY, [daily_quota, DAY_SECS], [self.room.quota, midnight.div_ceil(1000)]);
        told.put(headers);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        let rate = |text: &str| text.parse::<Rate>().expect("a rate");
        Limits {
            rates: [rate("100/s"), rate("unlimited"), rate("30/min")],
            daily_quota: 10_000,
            at: Timestamp::parse("2026-11-26T23:59:00Z").expect("valid"),
        }
    }

    #[test]
    fn what_is_left_is_told_for_each_limit_that_there_is() {
        let room = Room { buckets: [Some(150), None, Some(59)], quota: 9_990 };
        let mut headers = HeaderMap::new();
        Left { limits: limits(), room }.put(&mut headers);
        assert_eq!(
            headers["ratelimit-policy"],
            "\"caller\";q=200;w=2, \"provider\";q=60;w=120, \"day\";q=10000;w=86400"
        );
        assert_eq!(headers["ratelimit"], "\"caller\";r=150;t=1, \"provider\";r=59;t=2, \"day\";r=9990;t=60");
    }

    #[test]
    fn of_the_limit_that_refused_nothing_is_left_until_it_may_be_tried_again() {
        let told = |denial: &Denial| {
            let mut headers = HeaderMap::new();
            limits().refused(denial)?.put(&mut headers);
            let text = |name: &str| headers[name].to_str().expect("a text").to_owned();
            Some((text("ratelimit-policy"), text("ratelimit")))
        };
        let limited = |scope| Denial::RateLimited { scope, retry_after_ms: 1500 };
        let pair = |policy: &str, left: &str| Some((policy.to_owned(), left.to_owned()));
        assert_eq!(told(&limited(Scope::Caller)), pair("\"caller\";q=200;w=2", "\"caller\";r=0;t=2"));
        let of_provider = told(&limited(Scope::TenantProvider));
        assert_eq!(of_provider, pair("\"provider\";q=60;w=120", "\"provider\";r=0;t=2"));
        let day = Denial::QuotaExceeded { resets_at: limits().at.next_day() };
        assert_eq!(told(&day), pair("\"day\";q=10000;w=86400", "\"day\";r=0;t=60"));
        assert_eq!(told(&Denial::BudgetExceeded), None);
    }
}
