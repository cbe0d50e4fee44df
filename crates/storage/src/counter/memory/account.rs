//! One tenant's money: what is known to be spent, and what is held by requests under way.

use std::collections::{BTreeSet, HashMap};

use keyferry_core::{
    budget::{Hold, KNOWN_FOR_MS, Once, Repeat, Reserve, Span, Spent, Standing},
    id::RequestId,
    port::counter::CountersAway,
    time::Timestamp,
};

use super::once::Repeats;

/// Sums that are kept: all time, this month, and the one before, in which the last requests may still end.
const SPANS: usize = 3;

#[derive(Default)]
pub(super) struct Account {
    spent: HashMap<Span, Spent>,
    holds: HashMap<RequestId, Held>,
    ends: BTreeSet<(i64, RequestId)>,
    held: u64,
    repeats: Repeats,
}

struct Held {
    micro_usd: u64,
    until: i64,
}

/// Whether a reservation can be made.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Fit {
    Fits,
    Unknown,
    TooMuch,
}

impl Account {
    /// Takes over what the store says, and looks whether the reservation fits. Makes none.
    pub(super) fn fit(&mut self, reserve: &Reserve<'_>, now: Timestamp) -> Fit {
        self.expire(now);
        if let Some(spent) = reserve.spent {
            self.learn(reserve.span, spent);
        }
        let Some(spent) = self.spent.get(&reserve.span) else { return Fit::Unknown };
        let wanted = spent.micro_usd.saturating_add(self.held).saturating_add(reserve.hold.micro_usd);
        if wanted > reserve.limit { Fit::TooMuch } else { Fit::Fits }
    }

    /// Nothing, or the answer to who asks for the same again.
    pub(super) fn repeated(
        &mut self,
        hold: &Hold<'_>,
        now: Timestamp,
    ) -> Result<Option<Repeat>, CountersAway> {
        let Some(once) = hold.once else { return Ok(None) };
        self.repeats.find(once, hold.id, |id| self.holds.contains_key(id), now)
    }

    /// A request that is paid once has ended, and may have cost something.
    pub(super) fn ended(&mut self, id: &RequestId, once: &Once, cost: bool, now: Timestamp) {
        self.repeats.ended(once, id, cost.then_some(KNOWN_FOR_MS), now);
    }

    /// Sets money aside, or for longer what is set aside already.
    pub(super) fn hold(&mut self, hold: &Hold<'_>, now: Timestamp) {
        self.release(hold.id);
        let until = now.millis().saturating_add_unsigned(hold.ttl_ms);
        self.held = self.held.saturating_add(hold.micro_usd);
        if let Some(once) = hold.once {
            self.repeats.remember(once, hold.id, hold.ttl_ms, now);
        }
        self.ends.insert((until, hold.id.clone()));
        self.holds.insert(hold.id.clone(), Held { micro_usd: hold.micro_usd, until });
    }

    pub(super) fn release(&mut self, id: &RequestId) {
        if let Some(held) = self.holds.remove(id) {
            self.held = self.held.saturating_sub(held.micro_usd);
            self.ends.remove(&(held.until, id.clone()));
        }
    }

    pub(super) fn learn(&mut self, span: Span, spent: Spent) {
        let known = self.spent.entry(span).or_insert(spent);
        if spent.version > known.version {
            *known = spent;
        }
        while self.spent.len() > SPANS {
            let Some(oldest) = self.spent.keys().filter(|&&one| one != Span::TOTAL).min().copied() else {
                break;
            };
            self.spent.remove(&oldest);
        }
    }

    pub(super) fn standing(&mut self, span: Span, now: Timestamp) -> Standing {
        self.expire(now);
        Standing { spent: self.spent.get(&span).copied(), held: self.held }
    }

    /// Drops holds whose time is over. Whoever held them may have spent money without saying so: what is spent is not
    /// known any more.
    fn expire(&mut self, now: Timestamp) {
        while let Some((until, id)) = self.ends.first().cloned()
            && until <= now.millis()
        {
            self.release(&id);
            self.spent.clear();
        }
    }
}
