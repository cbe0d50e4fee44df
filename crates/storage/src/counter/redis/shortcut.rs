//! More connections: one for each runtime that asks, beside the one that all can ask on.
//!
//! A thread that serves has a runtime of its own. What it asks on a connection of that runtime, it hears there, and no other thread has to be
//! woken for it. That is all that these are for. Which server is asked, whether it is fit, and which generation it holds is settled on the
//! first connection, and it is asked whenever there is none here that leads to the same server. While it is away, there are no others.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use tokio::{
    runtime::{self, Handle},
    sync::watch,
    task::JoinHandle,
    time::sleep,
};

use super::{
    dial::Dialler,
    line::{Ended, Line},
    link::State,
};

/// How long to wait before connecting again.
const PAUSE: Duration = Duration::from_millis(800);

/// Those of all runtimes.
pub(super) struct Shortcuts {
    /// The runtime of the first connection, which needs none.
    first: runtime::Id,
    making: Making,
    kept: RwLock<HashMap<runtime::Id, Kept>>,
}

/// What is needed to make one.
#[derive(Clone)]
struct Making {
    dialler: Arc<Dialler>,
    /// Of the first connection.
    state: watch::Receiver<State>,
}

/// One runtime's, if it is there at the moment.
#[derive(Default)]
pub(super) struct Shortcut(Mutex<Option<Arc<Line>>>);

/// One, and what makes its connection anew, which ends when this is dropped.
struct Kept {
    shortcut: Arc<Shortcut>,
    keeper: JoinHandle<()>,
}

impl Shortcuts {
    /// Beside a connection of this runtime, whose state is told there.
    pub(super) fn new(dialler: Arc<Dialler>, state: watch::Receiver<State>) -> Self {
        let making = Making { dialler, state };
        Self { first: Handle::current().id(), making, kept: RwLock::default() }
    }

    /// The one of this runtime. It is made when it is first asked for, and there later.
    pub(super) fn here(&self) -> Option<Arc<Shortcut>> {
        let here = Handle::current().id();
        if here == self.first {
            return None;
        }
        if let Some(kept) = self.kept.read().unwrap_or_else(PoisonError::into_inner).get(&here) {
            return Some(Arc::clone(&kept.shortcut));
        }
        let mut all = self.kept.write().unwrap_or_else(PoisonError::into_inner);
        // Those of runtimes that have ended.
        all.retain(|_, kept| !kept.keeper.is_finished());
        let kept = all.entry(here).or_insert_with(|| Kept::new(self.making.clone()));
        Some(Arc::clone(&kept.shortcut))
    }
}

impl Kept {
    fn new(making: Making) -> Self {
        let shortcut = Arc::<Shortcut>::default();
        let keeper = tokio::spawn(making.keep(Arc::clone(&shortcut)));
        Self { shortcut, keeper }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

impl Making {
    /// Makes the connection, and again whenever it ends, as long as there is a first one.
    async fn keep(mut self, shortcut: Arc<Shortcut>) {
        while self.state.wait_for(State::is_up).await.is_ok() {
            match Line::open(&self.dialler).await {
                Ok((line, mut driver)) => {
                    let line = Arc::new(line);
                    shortcut.put(Some(Arc::clone(&line)));
                    tokio::select! {
                        ended = driver.ended() => tracing::debug!(event = "counters_shortcut_ended", ?ended),
                        _ = self.state.wait_for(|state| !state.is_up()) => {}
                        never = line.look_after() => match never {},
                    }
                    shortcut.put(None);
                }
                Err(error) => tracing::debug!(event = "counters_shortcut_missing", %error),
            }
            sleep(PAUSE).await;
        }
    }
}

impl Shortcut {
    fn put(&self, line: Option<Arc<Line>>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = line;
    }

    /// A connection to the same server. One that leads to another server is given up.
    pub(super) fn to_the_same(&self, first: &Line) -> Option<Arc<Line>> {
        let line = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        if line.is_given_up() {
            return None;
        }
        if line.run_id == first.run_id {
            return Some(line);
        }
        line.end(Ended::Unfit("it is another server"));
        None
    }
}
