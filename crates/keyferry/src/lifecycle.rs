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

use crate::http::{App, Bound};

/// How long requests under way may take to end.
pub const GRACE: Duration = Duration::from_secs(30);

/// A program that is up.
pub struct Running {
    /// Where it listens.
    pub addresses: Vec<String>,
    app: Arc<App>,
    drain: watch::Sender<bool>,
    /// Ends when the last connection has.
    alive: mpsc::Receiver<()>,
    listeners: Vec<JoinHandle<()>>,
    recording: JoinHandle<()>,
    chores: Vec<JoinHandle<()>>,
}

impl Running {
    pub(crate) fn new(
        app: Arc<App>,
        bound: Vec<Bound>,
        recording: JoinHandle<()>,
        chores: Vec<JoinHandle<()>>,
    ) -> Self {
        let (drain, draining) = watch::channel(false);
        let (alive, all_gone) = mpsc::channel(1);
        let addresses = bound.iter().map(|bound| bound.address.clone()).collect();
        let listeners = bound
            .into_iter()
            .map(|bound| tokio::spawn(bound.serve(Arc::clone(&app), draining.clone(), alive.clone())))
            .collect();
        Self { addresses, app, drain, alive: all_gone, listeners, recording, chores }
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
        let _ = self.drain.send(true);
        for listener in self.listeners {
            let _ = listener.await;
        }
        if timeout(grace, self.alive.recv()).await.is_err() {
            tracing::warn!(event = "connections_cut", "some requests did not end within the grace time");
        }
        for chore in self.chores {
            chore.abort();
            let _ = chore.await;
        }
        // The recorder ends when nobody can hand in rows any more.
        drop(self.app);
        if timeout(Duration::from_secs(5), self.recording).await.is_err() {
            tracing::error!(event = "usage_lost", "some usage rows could not be written before the end");
        }
    }
}
