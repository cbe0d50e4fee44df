//! More connections: one for each runtime that asks, beside the one that all can ask on.
//!
//! A thread that serves has a runtime of its own. What it asks on a connection of that runtime, it hears there, and no other thread has to be
//! woken for it. That is all that these are for. Which server is asked, whether it is fit, and which generation it holds is settled on the
//! first connection, and it is asked whenever there is none here that leads to the same server.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use tokio::{
    runtime::{self, Handle},
    task::JoinHandle,
    time::sleep,
};

use super::{
    dial::Dialler,
    line::{Ended, Line},
};

/// How long to wait before connecting again.
const PAUSE: Duration = Duration::from_millis(800);
/// How long one may be silent. After that somebody on the way may have forgotten it, which only who asks would find out, in vain.
const FRESH: Duration = Duration::from_secs(60);

/// Those of all runtimes.
pub(super) struct Shortcuts {
    /// The runtime of the first connection, which needs none.
    first: runtime::Id,
    dialler: Arc<Dialler>,
    kept: RwLock<HashMap<runtime::Id, Kept>>,
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
    /// Beside a connection of this runtime.
    pub(super) fn new(dialler: Arc<Dialler>) -> Self {
        Self { first: Handle::current().id(), dialler, kept: RwLock::default() }
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
        let kept = all.entry(here).or_insert_with(|| Kept::new(Arc::clone(&self.dialler)));
        Some(Arc::clone(&kept.shortcut))
    }
}

impl Kept {
    fn new(dialler: Arc<Dialler>) -> Self {
        let shortcut = Arc::<Shortcut>::default();
        let keeper = tokio::spawn(keep(Arc::clone(&shortcut), dialler));
        Self { shortcut, keeper }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

/// Makes the connection, and again whenever it ends.
async fn keep(shortcut: Arc<Shortcut>, dialler: Arc<Dialler>) {
    loop {
        match Line::open(&dialler).await {
            Ok((line, mut driver)) => {
                shortcut.put(Some(line));
                let ended = driver.ended().await;
                shortcut.put(None);
                tracing::debug!(event = "counters_shortcut_ended", ?ended);
            }
            Err(error) => tracing::debug!(event = "counters_shortcut_missing", %error),
        }
        sleep(PAUSE).await;
    }
}

impl Shortcut {
    fn put(&self, line: Option<Line>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = line.map(Arc::new);
    }

    /// A connection to the same server. One that leads to another server, or was silent for long, is given up.
    pub(super) fn to_the_same(&self, first: &Line) -> Option<Arc<Line>> {
        let line = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        match unfit(line.run_id == first.run_id, line.silent_for()) {
            None => Some(line),
            Some(why) => {
                line.end(Ended::Unfit(why));
                None
            }
        }
    }
}

/// Why one is not to be asked on, if that is so.
fn unfit(is_the_same: bool, silent_for: Duration) -> Option<&'static str> {
    match () {
        () if !is_the_same => Some("it is another server"),
        () if silent_for > FRESH => Some("it was silent for long"),
        () => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_was_silent_for_long_or_leads_elsewhere_is_not_asked_on() {
        assert_eq!(unfit(true, FRESH), None);
        assert!(unfit(true, FRESH + Duration::from_millis(1)).is_some());
        assert!(unfit(false, Duration::ZERO).is_some());
    }
}
