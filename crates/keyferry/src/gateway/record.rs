//! The recorder: usage rows on their way to the store, many in one transaction.
//!
//! Room for a row is reserved before a request is admitted, so a row that must be written can
//! always be written: when the store is away for so long that the room is used up, new requests
//! are refused instead. The last byte of an answer waits for its row.

use std::{sync::Arc, time::Duration};

use keyferry_core::{
    budget::Once,
    port::{
        counter::Settled,
        store::{Store, TenantSums},
    },
    record::{Accounting, UsageRecord},
};
use tokio::sync::{
    mpsc::{self, OwnedPermit},
    oneshot,
};

use super::holds::Holds;
use crate::{http::Problem, telemetry::metrics};

/// Rows that may wait for the store.
const ROOM: usize = 16 * 1024;
/// Rows in one transaction.
const BATCH: usize = 256;
/// How often others are let run before a transaction, at most.
const ROUNDS: usize = 4;

/// How long an answer waits for its row. After that it goes out all the same: the row stays in line
/// until it can be written.
pub(super) const WRITE_PATIENCE: Duration = Duration::from_secs(1);

/// A row on its way.
struct Entry {
    record: UsageRecord,
    /// The request of it, if it is paid once.
    once: Option<Once>,
    /// Who waits for it.
    done: oneshot::Sender<()>,
}

/// Where rows are handed in.
#[derive(Clone)]
pub struct Recorder(mpsc::Sender<Entry>);

/// Room for one row.
pub(super) struct Permit(OwnedPermit<Entry>);

/// Answers when the row is in the store.
pub(super) type Written = oneshot::Receiver<()>;

impl Recorder {
    /// Starts to write rows; the handle ends when every recorder and permit is gone and all is written.
    pub fn start(store: Arc<dyn Store>, holds: Holds) -> (Self, tokio::task::JoinHandle<()>) {
        let (sender, receiver) = mpsc::channel(ROOM);
        (Self(sender), tokio::spawn(write(store, holds, receiver)))
    }

    /// Room for one row, or the store has been away for too long.
    pub(super) fn reserve(&self) -> Result<Permit, Problem> {
        self.0
            .clone()
            .try_reserve_owned()
            .map(Permit)
            .map_err(|_| Problem::unavailable("Usage cannot be recorded at the moment."))
    }
}

impl Permit {
    /// Hands in the row.
    pub(super) fn write(self, record: UsageRecord, once: Option<Once>) -> Written {
        metrics::request_ended(&record);
        let (done, written) = oneshot::channel();
        self.0.send(Entry { record, once, done });
        written
    }
}

async fn write(store: Arc<dyn Store>, holds: Holds, mut waiting: mpsc::Receiver<Entry>) {
    let mut batch = Vec::with_capacity(BATCH);
    // Kept from one transaction to the next.
    let (mut records, mut once, mut done) = (Vec::new(), Vec::new(), Vec::new());
    while waiting.recv_many(&mut batch, BATCH).await > 0 {
        gather(&mut batch, &mut waiting).await;
        for entry in batch.drain(..) {
            records.push(entry.record);
            once.push(entry.once);
            done.push(entry.done);
        }
        let mut pause = Duration::from_millis(50);
        let sums = loop {
            match store.record_usage(&records).await {
                Ok(sums) => break sums,
                Err(error) => {
                    tracing::error!(event = "usage_not_written", %error, rows = records.len() + waiting.len());
                    metrics::usage_waiting(records.len() + waiting.len());
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_secs(2));
                }
            }
        };
        metrics::usage_waiting(waiting.len());
        for done in done.drain(..) {
            // Nobody waits when the client went away.
            let _ = done.send(());
        }
        holds.settled(&settled(&records, &once, &sums)).await;
        records.clear();
        once.clear();
    }
}

/// Takes the rows of those as well that are about to end, for a transaction costs more than a row. Whoever is alone waits
/// for nobody, and no time is waited: whatever is ready to run runs once, and again as long as that brings rows.
async fn gather(batch: &mut Vec<Entry>, waiting: &mut mpsc::Receiver<Entry>) {
    for _ in 0..ROUNDS {
        let alone = waiting.capacity() == waiting.max_capacity();
        if alone || batch.len() >= BATCH {
            return;
        }
        tokio::task::yield_now().await;
        let before = batch.len();
        while batch.len() < BATCH
            && let Ok(entry) = waiting.try_recv()
        {
            batch.push(entry);
        }
        if batch.len() == before {
            return;
        }
    }
}

/// Waits until a row is in the store, but not for ever.
pub(super) async fn written(row: Option<Written>) {
    if let Some(row) = row {
        let _ = tokio::time::timeout(WRITE_PATIENCE, row).await;
    }
}

/// What is to be told of rows that the platform pays.
fn settled<'a>(
    records: &'a [UsageRecord],
    once: &'a [Option<Once>],
    sums: &'a [TenantSums],
) -> Vec<Settled<'a>> {
    let rows = records.iter().zip(once);
    let paid = rows.filter(|(record, _)| record.accounting == Accounting::PlatformBudget);
    let settle = |(record, once): (&'a UsageRecord, &'a Option<Once>)| {
        let of_tenant = sums.iter().find(|sums| sums.tenant == record.tenant);
        let spent = of_tenant.map_or(&[][..], |sums| &sums.spent);
        let once = once.as_ref().map(|once| (once, record.cost_micro_usd > 0));
        Settled { tenant: &record.tenant, id: &record.request_id, spent, once }
    };
    paid.map(settle).collect()
}
