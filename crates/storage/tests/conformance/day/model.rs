//! One tenant's counters in the plainest words: what each decision must be.

use std::collections::{BTreeMap, HashMap};

use keyferry_core::{
    budget::{Spent, Standing},
    limits::Rate,
    port::counter::{Decision, Room, Scope},
};

pub(super) const DAY: i64 = 86_400_000;

/// Of a caller, of the tenant, and of the tenant at a provider: so slow that no bucket of a real server fills up by its
/// own clock while the test runs.
pub(super) const RATES: [Rate; 3] = [
    Rate::Per { count: 1, per_millis: 60_000 },
    Rate::Per { count: 2, per_millis: 60_000 },
    Rate::Per { count: 1, per_millis: 45_000 },
];
/// Microseconds between two requests, and what a full bucket is worth: twice the requests of the rate.
const EVERY: [i64; 3] = [60_000_000, 30_000_000, 45_000_000];
const FULL: [i64; 3] = [120_000_000, 120_000_000, 90_000_000];
const SCOPES: [Scope; 3] = [Scope::Caller, Scope::Tenant, Scope::TenantProvider];

/// Money that is asked for.
#[derive(Clone, Debug)]
pub(super) struct Money {
    pub id: usize,
    pub micro_usd: u64,
    pub ttl_ms: i64,
    pub span: i64,
    pub limit: u64,
    pub told: Option<Spent>,
}

/// A request.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    pub at: i64,
    /// The view that was decided on is of another epoch than this.
    pub stale: bool,
    pub claim: Option<(u64, i64)>,
    /// The name of each bucket.
    pub names: [usize; 3],
    pub quota: u64,
    pub money: Option<Money>,
}

#[derive(Default)]
pub(super) struct Model {
    /// Ends of the token ids that were used.
    claims: HashMap<u64, i64>,
    /// What a bucket was worth, and when.
    buckets: HashMap<(usize, usize), (i64, i64)>,
    day: i64,
    used: u64,
    spent: HashMap<i64, Spent>,
    holds: BTreeMap<usize, (u64, i64)>,
}

impl Model {
    /// Epoch, claim, rates, quota, budget, in this order; what is refused takes nothing but its claim. `None` stands for
    /// a view of another epoch.
    pub(super) fn decide(&mut self, ask: &Ask) -> Option<Decision> {
        if ask.stale {
            return None;
        }
        let room = match &ask.money {
            None => true,
            Some(money) => match self.has_room(money, ask.at) {
                None => return Some(Decision::SpentUnknown),
                Some(room) => room,
            },
        };
        if let Some((key, until)) = ask.claim {
            if self.claims.get(&key).is_some_and(|&until| until >= ask.at) {
                return Some(Decision::Replayed);
            }
            self.claims.insert(key, until);
        }
        let worth: [i64; 3] = std::array::from_fn(|scope| self.worth(scope, ask));
        for scope in 0..3 {
            let missing = EVERY[scope] - worth[scope];
            if missing > 0 {
                let retry_after_ms = missing.unsigned_abs().div_ceil(1000);
                return Some(Decision::RateLimited { scope: SCOPES[scope], retry_after_ms });
            }
        }
        let used = self.quota_used(ask.at.div_euclid(DAY).max(self.day));
        if used >= ask.quota {
            return Some(Decision::QuotaExceeded);
        }
        if !room {
            return Some(Decision::BudgetExceeded);
        }
        let mut left = Room { quota: ask.quota - used - 1, ..Room::default() };
        for scope in 0..3 {
            let rest = worth[scope] - EVERY[scope];
            self.buckets.insert((scope, ask.names[scope]), (rest, ask.at));
            left.buckets[scope] = u32::try_from(rest / EVERY[scope]).ok();
        }
        (self.day, self.used) = (ask.at.div_euclid(DAY).max(self.day), used + 1);
        if let Some(money) = &ask.money {
            self.hold(money.id, money.micro_usd, ask.at + money.ttl_ms);
        }
        Some(Decision::Taken(left))
    }

    /// A bucket gains a microsecond in each, until it is full.
    fn worth(&self, scope: usize, ask: &Ask) -> i64 {
        match self.buckets.get(&(scope, ask.names[scope])) {
            None => FULL[scope],
            Some((worth, at)) => (worth + (ask.at - at) * 1000).clamp(0, FULL[scope]),
        }
    }

    pub(super) fn quota_used(&self, day: i64) -> u64 {
        if day == self.day { self.used } else { 0 }
    }

    /// Nothing, if what is spent is not known.
    fn has_room(&mut self, money: &Money, at: i64) -> Option<bool> {
        self.expire(at);
        if let Some(told) = money.told {
            self.learn(money.span, told);
        }
        let spent = self.spent.get(&money.span)?.micro_usd;
        Some(spent + self.held() + money.micro_usd <= money.limit)
    }

    fn held(&self) -> u64 {
        self.holds.values().map(|(micro_usd, _)| micro_usd).sum()
    }

    /// Whoever let a hold run out may have spent money without saying so.
    fn expire(&mut self, at: i64) {
        let before = self.holds.len();
        self.holds.retain(|_, &mut (_, until)| until > at);
        if self.holds.len() < before {
            self.spent.clear();
        }
    }

    fn learn(&mut self, span: i64, told: Spent) {
        if self.spent.get(&span).is_none_or(|known| known.version < told.version) {
            self.spent.insert(span, told);
        }
    }

    pub(super) fn hold(&mut self, id: usize, micro_usd: u64, until: i64) {
        self.holds.insert(id, (micro_usd, until));
    }

    pub(super) fn settle(&mut self, id: usize, told: &[(i64, Spent)]) {
        self.holds.remove(&id);
        for &(span, spent) in told {
            self.learn(span, spent);
        }
    }

    pub(super) fn standing(&mut self, span: i64, at: i64) -> Standing {
        self.expire(at);
        Standing { spent: self.spent.get(&span).copied(), held: self.held() }
    }
}
