//! Watching that answers flow.
//!
//! The HTTP library asks for the next piece when the client has taken the last one. A client that
//! takes nothing is never asked for, so the time limits within an answer would not run; over
//! HTTP/2, where such a client costs nothing to be, it would hold a provider's connection for ever.
//! So once a second all answers are looked at from outside.

use std::{
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use tokio::time::{Instant, interval};

/// How long a client may take nothing of an answer.
pub(super) const STALL: Duration = Duration::from_secs(60);

/// An answer that is under way.
pub(super) trait Flowing: Send + Sync {
    /// Ends the answer if its client does not take it, or its time is up.
    fn check(&self, now: Instant);
}

/// The answers that are under way.
#[derive(Clone, Default)]
pub(super) struct Stalls(Arc<Mutex<Vec<Weak<dyn Flowing>>>>);

impl Stalls {
    pub(super) fn watch<F: Flowing + 'static>(&self, flow: &Arc<F>) {
        let flow: Arc<dyn Flowing> = Arc::clone(flow) as _;
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&flow));
    }

    /// Looks at all of them, for ever.
    pub(super) async fn run(self) {
        let mut tick = interval(Duration::from_secs(1));
        loop {
            tick.tick().await;
            let mut flows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            flows.retain(|flow| flow.strong_count() > 0);
            let alive: Vec<_> = flows.iter().filter_map(Weak::upgrade).collect();
            drop(flows);
            let now = Instant::now();
            for flow in alive {
                flow.check(now);
            }
        }
    }
}
