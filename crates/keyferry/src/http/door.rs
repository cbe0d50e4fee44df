//! How many requests may be on their way to being proven. A request of whom nobody knows who sent it takes memory, locked
//! memory too, and work; a connection of HTTP/2 brings dozens at once.
//!
//! Each connection may have a few, whatever others do, so that one that sends a request at a time is always heard. All
//! connections together may have more. What is beyond is refused before anything is done for it.

use std::sync::{Arc, atomic::Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::ingress::Shared;

/// Of one connection, whatever others do.
const OF_ONE: usize = 2;
/// Of all connections, besides those.
const OF_ALL: usize = 1024;

/// The places for requests that are not proven.
#[derive(Clone)]
pub struct Door(Arc<Semaphore>);

/// A place; given back on drop.
pub struct Unproven {
    connection: Arc<Shared>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Default for Door {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(OF_ALL)))
    }
}

impl Door {
    /// A place for a request of this connection, if there is one.
    pub(super) fn enter(&self, connection: &Arc<Shared>) -> Option<Unproven> {
        // One connection's are counted by one task.
        let permit = if connection.unproven.load(Ordering::Relaxed) < OF_ONE {
            None
        } else {
            Some(Arc::clone(&self.0).try_acquire_owned().ok()?)
        };
        connection.unproven.fetch_add(1, Ordering::Relaxed);
        Some(Unproven { connection: Arc::clone(connection), _permit: permit })
    }
}

impl Drop for Unproven {
    fn drop(&mut self) {
        self.connection.unproven.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_has_a_few_places_of_its_own_and_all_have_the_rest_together() {
        let (door, greedy, other) = (Door::default(), Arc::<Shared>::default(), Arc::<Shared>::default());
        let mut held: Vec<_> = (0..OF_ONE + OF_ALL).map(|_| door.enter(&greedy).expect("a place")).collect();
        assert!(door.enter(&greedy).is_none());
        let own: Vec<_> = (0..OF_ONE).map(|_| door.enter(&other).expect("its own")).collect();
        assert!(door.enter(&other).is_none());
        drop(own);
        assert!(door.enter(&other).is_some());
        held.pop();
        assert!(door.enter(&greedy).is_some());
        drop(held);
        assert_eq!((greedy.unproven.load(Ordering::Relaxed), door.0.available_permits()), (0, OF_ALL));
    }
}
