//! Money that is held for requests under way: renewed while they run, and given back however they end.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use keyferry_core::{
    budget::{Hold, Once},
    clock::Clock,
    id::{RequestId, TenantId},
    port::counter::{Counters, Settled},
    time::Timestamp,
};

/// All holds of this process.
#[derive(Clone)]
pub struct Holds(Arc<Inner>);

struct Inner {
    counters: Arc<dyn Counters>,
    clock: Arc<dyn Clock>,
    ttl: Duration,
    running: Mutex<HashMap<RequestId, Running>>,
}

/// What is to be renewed.
#[derive(Clone)]
struct Running {
    tenant: TenantId,
    micro_usd: u64,
    once: Option<Once>,
}

impl Running {
    fn hold<'a>(&'a self, id: &'a RequestId, ttl_ms: u64) -> (&'a TenantId, Hold<'a>) {
        (&self.tenant, Hold { id, micro_usd: self.micro_usd, ttl_ms, once: self.once.as_ref() })
    }
}

/// One request's hold. Dropped without having been settled, it gives the money back.
pub(super) struct Held {
    holds: Holds,
    tenant: TenantId,
    id: RequestId,
    once: Option<Once>,
    settled: bool,
}

impl Holds {
    /// Holds in these counters, each for so long unless it is renewed.
    pub fn new(counters: Arc<dyn Counters>, clock: Arc<dyn Clock>, ttl: Duration) -> Self {
        Self(Arc::new(Inner { counters, clock, ttl, running: Mutex::default() }))
    }

    /// Takes care of a hold that is being made: also of one whose request is given up before the counters have answered.
    pub(super) fn keep(&self, tenant: &TenantId, hold: &Hold<'_>) -> Held {
        let (id, once) = (hold.id.clone(), hold.once.cloned());
        let running = Running { tenant: tenant.clone(), micro_usd: hold.micro_usd, once: once.clone() };
        self.running().insert(id.clone(), running);
        Held { holds: self.clone(), tenant: tenant.clone(), id, once, settled: false }
    }

    /// Renews what runs, for ever. One that ends at this moment can come back by that; then it runs out by itself.
    pub async fn renew(self) {
        let inner = &self.0;
        let mut tick = tokio::time::interval(inner.ttl / 3);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        tick.tick().await;
        loop {
            tick.tick().await;
            let running: Vec<_> =
                self.running().iter().map(|(id, running)| (id.clone(), running.clone())).collect();
            let ttl_ms = u64::try_from(inner.ttl.as_millis()).unwrap_or(u64::MAX);
            let holds: Vec<_> = running.iter().map(|(id, running)| running.hold(id, ttl_ms)).collect();
            for some in holds.chunks(256) {
                if let Err(error) = inner.counters.renew(some, inner.clock.now()).await {
                    tracing::warn!(event = "holds_not_renewed", %error, holds = holds.len());
                    break;
                }
            }
        }
    }

    /// What the counters must be told of requests that are in the store. If they are away, the holds run out, and what is
    /// spent is read from the store then.
    pub(super) async fn settled(&self, settled: &[Settled<'_>]) {
        if settled.is_empty() {
            return;
        }
        if let Err(error) = self.0.counters.settle(settled, self.now()).await {
            tracing::warn!(event = "holds_not_settled", %error, holds = settled.len());
        }
    }

    fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    fn running(&self) -> MutexGuard<'_, HashMap<RequestId, Running>> {
        self.0.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    /// The request's row is on its way into the store, and whoever writes it settles the hold, and the request if it is
    /// paid once.
    pub(super) fn hand_over(mut self) -> Option<Once> {
        self.settled = true;
        self.holds.running().remove(&self.id);
        self.once.take()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.settled {
            return;
        }
        self.holds.running().remove(&self.id);
        let (holds, tenant, id) = (self.holds.clone(), self.tenant.clone(), self.id.clone());
        let once = self.once.take();
        // Nobody waits for it: the request is gone already.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                let once = once.as_ref().map(|once| (once, false));
                holds.settled(&[Settled { tenant: &tenant, id: &id, spent: &[], once }]).await;
            });
        }
    }
}
