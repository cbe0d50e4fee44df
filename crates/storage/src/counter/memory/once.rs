//! One tenant's requests that are paid once, by their keys.

use std::collections::{BTreeSet, HashMap};

use keyferry_core::{
    budget::{Once, Repeat},
    id::RequestId,
    port::counter::CountersAway,
    time::Timestamp,
};

/// Live keys of one tenant: beyond that no new one is accepted rather than an old one forgotten.
const MAX_KEYS: usize = 100_000;

#[derive(Default)]
pub(super) struct Repeats {
    known: HashMap<[u8; 32], First>,
    ends: BTreeSet<(i64, [u8; 32])>,
}

/// Who came first under a key.
struct First {
    asks: [u8; 32],
    id: RequestId,
    until: i64,
}

impl Repeats {
    /// Nothing, or the answer to who asks for the same again; `running` says whether a request is under way.
    pub(super) fn find(
        &mut self,
        once: &Once,
        id: &RequestId,
        running: impl FnOnce(&RequestId) -> bool,
        now: Timestamp,
    ) -> Result<Option<Repeat>, CountersAway> {
        self.forget_what_is_over(now);
        match self.known.get(&once.key) {
            Some(first) if first.id == *id => Ok(None),
            Some(first) if first.asks != once.asks => Ok(Some(Repeat::OfAnother)),
            Some(First { id, .. }) if running(id) => Ok(Some(Repeat::Running(id.clone()))),
            Some(First { id, .. }) => Ok(Some(Repeat::Answered(id.clone()))),
            None if self.known.len() >= MAX_KEYS => {
                Err(CountersAway("too many live idempotency keys".to_owned()))
            }
            None => Ok(None),
        }
    }

    /// From now on it is known for so long.
    pub(super) fn remember(&mut self, once: &Once, id: &RequestId, millis: u64, now: Timestamp) {
        self.remove(&once.key);
        let until = now.millis().saturating_add_unsigned(millis);
        self.ends.insert((until, once.key));
        self.known.insert(once.key, First { asks: once.asks, id: id.clone(), until });
    }

    /// A request has ended: it is known for so long, or it may come again. What is another's stays.
    pub(super) fn ended(&mut self, once: &Once, id: &RequestId, known_for: Option<u64>, now: Timestamp) {
        self.forget_what_is_over(now);
        let first = self.known.get(&once.key);
        if first.is_some_and(|first| first.id != *id) {
            return;
        }
        match known_for {
            Some(millis) => self.remember(once, id, millis, now),
            None => self.remove(&once.key),
        }
    }

    fn remove(&mut self, key: &[u8; 32]) {
        if let Some(first) = self.known.remove(key) {
            self.ends.remove(&(first.until, *key));
        }
    }

    fn forget_what_is_over(&mut self, now: Timestamp) {
        while let Some(&(until, key)) = self.ends.first()
            && until <= now.millis()
        {
            self.remove(&key);
        }
    }
}
