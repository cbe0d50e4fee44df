//! The recorder: usage rows on their way to the store, many in one transaction.
//!
//! Room for a row is reserved before a request is admitted, so a row that must be written can
//! always be written: when the store is away for so long that the room is used up, new requests
//! are refused instead. The last byte of an answer waits until its row is safe: in the journal, where there
//! is one and the tenant pays, and else in the store.

mod writer;

use std::{
    future::Future,
    io, mem,
    pin::{Pin, pin},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use keyferry_core::{
    budget::Once,
    port::store::Store,
    record::{Accounting, UsageRecord},
};
use keyferry_storage::{Kept, Mark, UsageJournal};
use tokio::{
    sync::{Notify, mpsc, oneshot, watch},
    task::yield_now,
    time::timeout,
};

use self::writer::Writer;
use super::holds::Holds;
use crate::{
    http::Problem,
    telemetry::{Seldom, metrics},
};

/// Rows that may wait for the store.
const ROOM: usize = 16 * 1024;
/// With so many places taken, answers wait for the store even if their rows are safe: so that their clients ask less.
const LONG: usize = ROOM * 3 / 4;
/// How long the store is waited for.
const PATIENCE: Duration = Duration::from_secs(1);

/// Where rows are handed in.
#[derive(Clone)]
pub struct Recorder(Arc<Entrance>);

struct Entrance {
    line: mpsc::UnboundedSender<Entry>,
    state: Arc<State>,
}

/// What those who hand in rows share with the one who takes them.
struct State {
    /// Places that are taken: by requests under way, and by rows in line.
    taken: AtomicUsize,
    /// Rows that were handed in and are not in the store.
    unstored: AtomicUsize,
    /// There are rows that the store was given twice and has not taken.
    refused: AtomicBool,
    /// Empty as long as there is none.
    journal: OnceLock<UsageJournal>,
    /// Somebody waits for a row.
    urgent: Notify,
    /// Passes over the line that have begun, and how many have ended.
    begun: AtomicU64,
    ended: watch::Sender<u64>,
}

/// A row on its way.
struct Entry {
    record: UsageRecord,
    /// The request of it, if it is paid once.
    once: Option<Once>,
    /// Who waits for it.
    done: Option<oneshot::Sender<()>>,
    /// Given back when it is stored.
    place: Permit,
}

/// Room for one row.
pub(super) struct Permit(Arc<Entrance>);

/// Over when a row is safe, or when that took too long: then the answer goes out all the same, and the row stays in line
/// until it can be written.
pub(super) struct Written {
    /// First it is written to the journal, if it is kept there.
    in_journal: Option<InJournal>,
    /// Then the store is waited for, if it has to be.
    in_store: Option<InStore>,
}

struct InJournal {
    entrance: Arc<Entrance>,
    row: Mark,
    /// Others may be about to end.
    may_yield: bool,
}

type InStore = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Recorder {
    /// Starts to write rows; the handle ends when every recorder and permit is gone and all is written.
    pub fn start(store: Arc<dyn Store>, holds: Holds) -> (Self, tokio::task::JoinHandle<()>) {
        let (sender, line) = mpsc::unbounded_channel();
        let state = Arc::new(State {
            taken: AtomicUsize::new(0),
            unstored: AtomicUsize::new(0),
            refused: AtomicBool::new(false),
            journal: OnceLock::new(),
            urgent: Notify::new(),
            begun: AtomicU64::new(0),
            ended: watch::Sender::new(0),
        });
        let writer = Writer { store, holds, line, state: Arc::clone(&state) };
        (Self(Arc::new(Entrance { line: sender, state })), tokio::spawn(writer.run()))
    }

    /// From now on rows go into this journal first, if there was none.
    pub fn keep_in(&self, journal: UsageJournal) {
        let _ = self.0.state.journal.set(journal);
    }

    /// Room for one row, or the store has been away for too long.
    pub(super) fn reserve(&self) -> Result<Permit, Problem> {
        let place = Permit(Arc::clone(&self.0));
        let before = self.0.state.taken.fetch_add(1, Ordering::Relaxed);
        // Without the one who takes them, rows would be lost.
        if before >= ROOM || self.0.line.is_closed() {
            return Err(Problem::unavailable("Usage cannot be recorded at the moment."));
        }
        Ok(place)
    }

    /// Whether there are rows that the store does not take, not even when it is asked again: it may answer all the same, with
    /// a full disk for instance. When it takes them, that is seen three seconds later at most.
    pub fn is_refused(&self) -> bool {
        self.0.state.refused.load(Ordering::Relaxed)
    }

    /// Waits until all rows of answers that have ended are in the store, but not for ever.
    pub async fn flush(&self) {
        let state = &self.0.state;
        if state.journal.get().is_some() && state.unstored.load(Ordering::Acquire) > 0 {
            state.next_pass().await;
        }
    }
}

impl State {
    /// Keeps a row that the platform does not pay in the journal, where there is one.
    fn keep(&self, record: &UsageRecord) -> Option<Kept<'_>> {
        let journal = self.journal.get().filter(|_| record.accounting != Accounting::PlatformBudget)?;
        journal.keep(record).inspect_err(tell).ok()
    }

    fn write(&self, row: Mark) -> io::Result<()> {
        self.journal.get().map_or(Ok(()), |journal| journal.write(row))
    }

    /// Waits until all rows are in the store that are in line now. There must be a journal: without one, a pass may leave
    /// some in line.
    async fn next_pass(&self) {
        let next = self.begun.load(Ordering::Acquire) + 1;
        let mut ended = self.ended.subscribe();
        self.urgent.notify_one();
        // If all were taken by the pass that is under way, there may be no next one.
        let over = |ended: &u64| *ended >= next || self.unstored.load(Ordering::Acquire) == 0;
        let _ = timeout(PATIENCE, ended.wait_for(over)).await;
    }
}

/// Says that a row is not in the journal, once a second at most.
fn tell(error: &io::Error) {
    static SAID: Seldom = Seldom::new();
    if let Some(unsaid) = SAID.say() {
        tracing::error!(event = "usage_journal_failed", %error, unsaid);
    }
}

impl Permit {
    /// Hands in the row; answers what to wait for.
    pub(super) fn write(self, record: UsageRecord, once: Option<Once>) -> Written {
        metrics::request_ended(&record);
        let entrance = Arc::clone(&self.0);
        let state = &entrance.state;
        let taken = state.taken.load(Ordering::Relaxed);
        // Held until the row is in line: so whoever turns the journal's page finds all rows of it there.
        let kept = state.keep(&record);
        let (done, stored) = (kept.is_none() || taken > LONG).then(oneshot::channel).unzip();
        let waits = done.is_some();
        let in_line = state.unstored.fetch_add(1, Ordering::Release);
        let others = taken.saturating_sub(in_line) > 1;
        let _ = entrance.line.send(Entry { record, once, done, place: self });
        let row = kept.map(|kept| kept.mark());
        if waits {
            state.urgent.notify_one();
        }
        let in_store = stored.map(|stored| -> InStore {
            Box::pin(async move {
                let _ = timeout(PATIENCE, stored).await;
            })
        });
        Written { in_journal: row.map(|row| InJournal { entrance, row, may_yield: others }), in_store }
    }
}

impl Future for Written {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(InJournal { entrance, row, may_yield }) = &mut self.in_journal {
            // So rows of those that are ready to end are written in one call, and then their answers leave together.
            if mem::take(may_yield) && pin!(yield_now()).poll(cx).is_pending() {
                return Poll::Pending;
            }
            let failed = entrance.state.write(*row).inspect_err(tell).is_err();
            let pass = failed.then(|| -> InStore {
                let state = Arc::clone(&entrance.state);
                Box::pin(async move { state.next_pass().await })
            });
            self.in_journal = None;
            self.in_store = self.in_store.take().or(pass);
        }
        self.in_store.as_mut().map_or(Poll::Ready(()), |stored| stored.as_mut().poll(cx))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.state.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Waits until a row is safe, if it is not already.
pub(super) async fn written(row: Option<Written>) {
    if let Some(row) = row {
        row.await;
    }
}
