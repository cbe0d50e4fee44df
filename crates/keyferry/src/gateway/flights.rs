//! What several requests want to know at once is asked once.
//!
//! Whoever joins gets what was found by asking that began after it joined, so what was written before is seen: a token
//! that was made just now, a tenant that was changed.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

/// The questions that are being asked.
pub(super) struct Flights<K, V> {
    open: Mutex<HashMap<K, Arc<Flight<V>>>>,
    /// Counts arrivals and beginnings, to tell which came first.
    moments: AtomicU64,
}

/// One question: when it was last asked, and what was found. Whoever holds the lock asks.
struct Flight<V>(tokio::sync::Mutex<Option<(u64, V)>>);

/// Forgets a question that nobody waits for any more.
struct Joined<'f, K: Eq + Hash, V> {
    flights: &'f Flights<K, V>,
    key: &'f K,
    flight: Arc<Flight<V>>,
}

impl<K, V> Default for Flights<K, V> {
    fn default() -> Self {
        Self { open: Mutex::default(), moments: AtomicU64::new(0) }
    }
}

impl<K: Eq + Hash + Clone, V: Clone> Flights<K, V> {
    /// Asks, or waits for the answer of another who begins to ask after now.
    pub(super) async fn join<F: Future<Output = V>>(&self, key: &K, ask: impl FnOnce() -> F) -> V {
        let arrived = self.moment();
        let joined = self.enter(key);
        let mut last = joined.flight.0.lock().await;
        if let Some((begun, found)) = &*last
            && *begun > arrived
        {
            return found.clone();
        }
        let begun = self.moment();
        let found = ask().await;
        *last = Some((begun, found.clone()));
        found
    }

    fn moment(&self) -> u64 {
        self.moments.fetch_add(1, Ordering::SeqCst)
    }

    fn enter<'f>(&'f self, key: &'f K) -> Joined<'f, K, V> {
        let mut open = self.open();
        let flight = if let Some(flight) = open.get(key) {
            Arc::clone(flight)
        } else {
            let flight = Arc::new(Flight(tokio::sync::Mutex::new(None)));
            open.insert(key.clone(), Arc::clone(&flight));
            flight
        };
        Joined { flights: self, key, flight }
    }
}

impl<K, V> Flights<K, V> {
    fn open(&self) -> MutexGuard<'_, HashMap<K, Arc<Flight<V>>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Eq + Hash, V> Drop for Joined<'_, K, V> {
    fn drop(&mut self) {
        let mut open = self.flights.open();
        // The map's and this one: others join under the lock only.
        if Arc::strong_count(&self.flight) == 2 {
            open.remove(self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn many_who_ask_the_same_at_once_ask_twice_at_most() {
        let (flights, asked) = (Flights::<u8, u64>::default(), AtomicU64::new(0));
        let ask = || async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            asked.fetch_add(1, Ordering::SeqCst)
        };
        let all = futures_util::future::join_all((0..100).map(|_| flights.join(&1, ask))).await;
        // The first was already asking when the others came.
        assert_eq!((asked.load(Ordering::SeqCst), all[0]), (2, 0));
        assert!(all[1..].iter().all(|&found| found == 1));
        assert!(flights.open().is_empty());
    }

    #[tokio::test]
    async fn what_was_written_before_is_seen_though_another_was_asking_already() {
        let (flights, stored) = (Flights::<u8, u64>::default(), AtomicU64::new(0));
        let ask = || async {
            let found = stored.load(Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(20)).await;
            found
        };
        let mut early = std::pin::pin!(flights.join(&1, ask));
        assert!(futures_util::poll!(&mut early).is_pending());
        stored.store(7, Ordering::SeqCst);
        let (early, late) = tokio::join!(early, flights.join(&1, ask));
        assert_eq!((early, late), (0, 7));
    }

    #[tokio::test]
    async fn who_gives_up_leaves_the_question_to_the_next() {
        let flights = Flights::<u8, u64>::default();
        let mut gone = Box::pin(flights.join(&1, std::future::pending));
        assert!(futures_util::poll!(&mut gone).is_pending());
        let next = flights.join(&1, || std::future::ready(3));
        let ((), found) = tokio::join!(async { drop(gone) }, next);
        assert_eq!((found, flights.open().len()), (3, 0));
    }
}
