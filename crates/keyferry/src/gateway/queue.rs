//! How many requests may wait at once: for the store before anybody knows who sent them, and for their bodies.
//!
//! A request that waits takes memory. Where all places are taken, the newest is refused at once.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use keyferry_core::{admission::Caller, id::TenantId, map::Map};
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::timeout,
};

use crate::http::Problem;

/// Requests with tokens that are not remembered: so many ask the store at once, and so many wait for that. Those of
/// remembered callers wait for nobody.
const ASKING: usize = 32;
const WAITING: usize = 1024;
/// How long one of them waits for its turn.
const PATIENCE: Duration = Duration::from_millis(900);

/// Requests whose bodies have not come: of all callers, and of one.
const BODIES: usize = 8192;
const BODIES_OF_ONE: usize = 1024;

/// The places for requests of which nothing is known.
pub(super) struct Strangers {
    asking: Semaphore,
    waiting: Semaphore,
}

/// A place; given back on drop.
pub(super) struct Place<'s> {
    _asking: SemaphorePermit<'s>,
    _waiting: SemaphorePermit<'s>,
}

impl Default for Strangers {
    fn default() -> Self {
        Self { asking: Semaphore::new(ASKING), waiting: Semaphore::new(WAITING) }
    }
}

impl Strangers {
    /// Waits for a turn to ask the store.
    pub(super) async fn turn(&self) -> Result<Place<'_>, Problem> {
        let full = || Problem::unavailable("Too many requests wait for their tokens to be looked up.");
        let waiting = self.waiting.try_acquire().map_err(|_| full())?;
        let asking = timeout(PATIENCE, self.asking.acquire()).await;
        let asking = asking.map_err(|_| full())?.map_err(|_| full())?;
        Ok(Place { _asking: asking, _waiting: waiting })
    }
}

/// Whose a request is: its tenant's name and its own.
type Name = (TenantId, Arc<str>);

/// The places for requests whose bodies have not come.
#[derive(Clone, Default)]
pub struct Bodies(Arc<Mutex<Counts>>);

#[derive(Default)]
struct Counts {
    all: usize,
    of_one: Map<Name, usize>,
}

/// A place; given back on drop.
pub struct AwaitedBody {
    bodies: Bodies,
    name: Name,
}

impl Bodies {
    /// Takes a place for a request of this caller.
    pub fn take(&self, caller: &Caller) -> Result<AwaitedBody, Problem> {
        let full = || Problem::unavailable("Too many requests wait for their bodies.");
        let name = (caller.tenant().clone(), Arc::clone(caller.name()));
        let mut counts = self.counts();
        if counts.all >= BODIES {
            return Err(full());
        }
        let of_one = counts.of_one.entry(name.clone()).or_default();
        if *of_one >= BODIES_OF_ONE {
            return Err(full());
        }
        *of_one += 1;
        counts.all += 1;
        drop(counts);
        Ok(AwaitedBody { bodies: self.clone(), name })
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for AwaitedBody {
    fn drop(&mut self) {
        let mut counts = self.bodies.counts();
        counts.all -= 1;
        if let Some(of_one) = counts.of_one.get_mut(&self.name) {
            *of_one -= 1;
            if *of_one == 0 {
                counts.of_one.remove(&self.name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use keyferry_core::{admission::Grant, token::Role};

    use super::*;

    fn caller(name: &str) -> Caller {
        let grant = Grant::Token { role: Role::Caller, models: None, rate: None };
        Caller::of_jwt("acme".parse().expect("an id"), name, grant)
    }

    #[test]
    fn one_caller_does_not_take_the_places_of_all() {
        let bodies = Bodies::default();
        let mut held: Vec<_> =
            (0..BODIES_OF_ONE).map(|_| bodies.take(&caller("one")).expect("a place")).collect();
        assert!(bodies.take(&caller("one")).is_err());
        held.push(bodies.take(&caller("other")).expect("a place"));
        held.remove(0);
        held.push(bodies.take(&caller("one")).expect("the place that is free again"));
        drop(held);
        assert!(bodies.counts().of_one.is_empty() && bodies.counts().all == 0);
    }

    #[test]
    fn all_callers_together_have_so_many_places() {
        let bodies = Bodies::default();
        let held: Vec<_> =
            (0..BODIES).map(|n| bodies.take(&caller(&n.to_string())).expect("a place")).collect();
        assert!(bodies.take(&caller("another")).is_err());
        drop(held);
        assert!(bodies.take(&caller("another")).is_ok());
    }

    #[tokio::test]
    async fn strangers_wait_for_their_turn_and_too_many_are_refused_at_once() {
        let strangers = Strangers::default();
        let mut held = Vec::new();
        for _ in 0..ASKING {
            held.push(strangers.turn().await.unwrap_or_else(|_| panic!("a turn")));
        }
        let mut waiting: Vec<_> = (ASKING..WAITING).map(|_| Box::pin(strangers.turn())).collect();
        for one in &mut waiting {
            assert!(futures_util::poll!(one).is_pending());
        }
        assert!(strangers.turn().await.is_err());
        held.clear();
        assert!(waiting.swap_remove(0).await.is_ok());
    }
}
