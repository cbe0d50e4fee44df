//! From running to gone: stop taking, finish what is under way, write what is owed.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc, watch},
    task::JoinHandle,
    time::timeout,
};

use crate::{
    http::{App, Bound},
    single::Alone,
    workers::Workers,
};

/// How long requests under way may take to end. With what follows it stays below the 30 seconds
/// after which orchestrators kill.
pub const GRACE: Duration = Duration::from_secs(25);
/// For connections to be cut, and for the last rows to be written.
const LAST_SECONDS: Duration = Duration::from_secs(2);

/// How far the end has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Requests are taken.
    Serving,
    /// Requests under way end, new ones are for others. Health is still told.
    Draining,
    /// What is left is cut off.
    Ending,
}

/// Where the phase is read.
pub type Phases = watch::Receiver<Phase>;

/// A program that is up.
pub struct Running {
    /// Where it listens.
    pub addresses: Vec<String>,
    app: Arc<App>,
    phase: watch::Sender<Phase>,
    /// Ends when the last connection has.
    alive: mpsc::Receiver<()>,
    listeners: Vec<JoinHandle<()>>,
    /// What is left on them is dropped with them.
    workers: Workers,
    recording: JoinHandle<()>,
    chores: Vec<JoinHandle<()>>,
    /// Given back last.
    alone: Option<Alone>,
}

impl Running {
    pub(crate) fn new(
        app: Arc<App>,
        bound: Vec<Bound>,
        recording: JoinHandle<()>,
        chores: Vec<JoinHandle<()>>,
        workers: Workers,
        alone: Option<Alone>,
    ) -> Self {
        let (phase, phases) = watch::channel(Phase::Serving);
        let (alive, all_gone) = mpsc::channel(1);
        let addresses = bound.iter().map(|bound| bound.address.clone()).collect();
        let listeners = bound
            .into_iter()
            .map(|bound| {
                tokio::spawn(bound.serve(Arc::clone(&app), workers.posts(), phases.clone(), alive.clone()))
            })
            .collect();
        Self { addresses, app, phase, alive: all_gone, listeners, recording, chores, workers, alone }
    }

    /// Runs until a signal says to stop, then drains. A second signal stops at once.
    pub async fn until_signal(self) -> std::io::Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let which = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        };
        tracing::info!(event = "draining", signal = which, grace_seconds = GRACE.as_secs());
        tokio::select! {
            () = self.drain(GRACE) => tracing::info!(event = "stopped"),
            _ = terminate.recv() => tracing::warn!(event = "stopped_at_once"),
            _ = interrupt.recv() => tracing::warn!(event = "stopped_at_once"),
        }
        Ok(())
    }

    /// Stops taking requests, lets those under way end, and writes the last rows.
    pub async fn drain(mut self, grace: Duration) {
        self.app.health.draining.store(true, Ordering::Relaxed);
        let _ = self.phase.send(Phase::Draining);
        if timeout(grace, self.alive.recv()).await.is_err() {
            tracing::warn!(event = "connections_cut", "some requests did not end within the grace time");
        }
        // What is cut off settles on its way out, so the recorder must still be there.
        let _ = self.phase.send(Phase::Ending);
        let _ = timeout(LAST_SECONDS, self.alive.recv()).await;
        for task in self.listeners.into_iter().chain(self.chores) {
            task.abort();
            let _ = task.await;
        }
        let store = Arc::clone(&self.app.health.store);
        // The recorder ends when nobody can hand in rows any more.
        drop(self.app);
        if timeout(LAST_SECONDS, &mut self.recording).await.is_err() {
            tracing::error!(
                event = "usage_lost",
                "some usage rows could not be written before the end; those in a journal are stored at the next start"
            );
            // Whoever is next can open the journal.
            self.recording.abort();
            let _ = self.recording.await;
        }
        let _ = timeout(LAST_SECONDS, store.close()).await;
        // Only now: connections to the store may be theirs.
        drop(self.workers);
        drop(self.alone);
    }
}
