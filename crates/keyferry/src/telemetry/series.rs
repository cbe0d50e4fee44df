//! The series that every request counts in, found once. To look one up by its labels costs more than to count: labels are
//! copied, hashed and compared each time. There are as many handles as there are series, which the configuration bounds.

use std::{
    hash::Hash,
    sync::{Arc, OnceLock, PoisonError, RwLock},
};

use keyferry_core::{
    map::Map,
    record::{KeyMode, Outcome, UsageRecord},
};
use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

use super::metrics::{
    ACTIVE, CONNECTIONS, DURATION, OVERHEAD, REQUESTS, TOKENS, UPSTREAM_CONNECTIONS, USAGE_WAITING,
};

/// Set when the recorder runs: a handle that is made before would count for nobody, for ever.
static SERIES: OnceLock<Series> = OnceLock::new();

/// Those of all providers together, and of each.
pub(super) struct Series {
    pub(super) active: Gauge,
    pub(super) connections: Gauge,
    pub(super) usage_waiting: Gauge,
    pub(super) overhead: Histogram,
    of_provider: Table<Arc<str>, Arc<OfProvider>>,
}

/// Those of one provider.
pub(super) struct OfProvider {
    name: Arc<str>,
    pub(super) duration: Histogram,
    requests: Table<(&'static str, KeyMode, Outcome), Counter>,
    tokens: Table<&'static str, Counter>,
    connections: Table<&'static str, Counter>,
}

/// What was made for a key, or is made now. Seldom written.
struct Table<K, V>(RwLock<Map<K, V>>);

impl<K: Eq + Hash, V: Clone> Table<K, V> {
    fn new() -> Self {
        Self(RwLock::default())
    }

    fn get<Q: Eq + Hash + ?Sized>(&self, key: &Q, owned: impl FnOnce() -> K, make: impl FnOnce() -> V) -> V
    where
        K: std::borrow::Borrow<Q>,
    {
        if let Some(found) = self.0.read().unwrap_or_else(PoisonError::into_inner).get(key) {
            return found.clone();
        }
        self.0.write().unwrap_or_else(PoisonError::into_inner).entry(owned()).or_insert_with(make).clone()
    }
}

/// The recorder runs from here on.
pub(super) fn start() {
    let _ = SERIES.set(Series {
        active: gauge!(ACTIVE),
        connections: gauge!(CONNECTIONS),
        usage_waiting: gauge!(USAGE_WAITING),
        overhead: histogram!(OVERHEAD),
        of_provider: Table::new(),
    });
}

/// All of them; `None` where nothing is recorded.
pub(super) fn series() -> Option<&'static Series> {
    SERIES.get()
}

impl Series {
    /// Those of a provider.
    pub(super) fn of(&self, provider: &str) -> Arc<OfProvider> {
        self.of_provider.get(
            provider,
            || provider.into(),
            || {
                Arc::new(OfProvider {
                    name: provider.into(),
                    duration: histogram!(DURATION, "provider" => provider.to_owned()),
                    requests: Table::new(),
                    tokens: Table::new(),
                    connections: Table::new(),
                })
            },
        )
    }
}

impl OfProvider {
    /// Requests that ended like this one.
    pub(super) fn requests(&self, record: &UsageRecord) -> Counter {
        let key = (record.operation, record.credential, record.outcome);
        self.requests.get(
            &key,
            || key,
            || {
                counter!(
                    REQUESTS,
                    "provider" => self.name.to_string(),
                    "operation" => record.operation,
                    "credential" => record.credential.as_str(),
                    "outcome" => record.outcome.as_str()
                )
            },
        )
    }

    /// Tokens in a direction.
    pub(super) fn tokens(&self, direction: &'static str) -> Counter {
        let make = || counter!(TOKENS, "provider" => self.name.to_string(), "direction" => direction);
        self.tokens.get(direction, || direction, make)
    }

    /// Connections that were opened, or taken from the pool.
    pub(super) fn connections(&self, how: &'static str) -> Counter {
        let make = || counter!(UPSTREAM_CONNECTIONS, "provider" => self.name.to_string(), "how" => how);
        self.connections.get(how, || how, make)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_made_for_a_key_is_found_and_not_made_again() {
        let table = Table::<Arc<str>, u32>::new();
        let get = |key: &str, value| table.get(key, || key.into(), || value);
        assert_eq!([get("openai", 1), get("gemini", 2), get("openai", 3), get("gemini", 4)], [1, 2, 1, 2]);
    }
}
