//! The one who takes rows out of the line and stores them.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use keyferry_core::{
    budget::Once,
    port::{
        counter::Settled,
        store::{Store, TenantSums},
    },
    record::{Accounting, UsageRecord},
};
use keyferry_storage::UsageJournal;
use tokio::{sync::mpsc, time::sleep};

use super::{super::holds::Holds, Entry, State};
use crate::telemetry::{Seldom, metrics};

/// Rows that are stored at once.
const BATCH: usize = 256;
/// How long rows that nobody waits for are gathered. Longer, and what is stored at once keeps a processor so long that others
/// wait for it.
const DELAY: Duration = Duration::from_millis(20);

/// The one who takes rows out of the line.
pub(super) struct Writer {
    pub(super) store: Arc<dyn Store>,
    pub(super) holds: Holds,
    pub(super) line: mpsc::UnboundedReceiver<Entry>,
    pub(super) state: Arc<State>,
}

impl Writer {
    /// Until nobody can hand in rows any more, and all are stored.
    pub(super) async fn run(mut self) {
        let mut batch = Vec::with_capacity(BATCH);
        while self.line.recv_many(&mut batch, BATCH).await > 0 {
            self.linger(&batch).await;
            let state = Arc::clone(&self.state);
            let pass = state.begun.fetch_add(1, Ordering::AcqRel) + 1;
            // Those whose rows may be in the page that is turned, and no others.
            let mut left = state.journal.get().map_or(0, |journal| journal.turn(|| self.line.len()));
            loop {
                self.store(&mut batch).await;
                if left == 0 {
                    break;
                }
                self.take(&mut batch, left.min(BATCH));
                left = left.saturating_sub(batch.len());
            }
            if let Some(Err(error)) = state.journal.get().map(UsageJournal::empty) {
                static SAID: Seldom = Seldom::new();
                if let Some(unsaid) = SAID.say() {
                    tracing::error!(event = "usage_journal_not_emptied", %error, unsaid);
                }
            }
            state.ended.send_replace(pass);
        }
    }

    /// Takes what is in line, up to so many in all.
    fn take(&mut self, batch: &mut Vec<Entry>, most: usize) {
        while batch.len() < most
            && let Ok(entry) = self.line.try_recv()
        {
            batch.push(entry);
        }
    }

    /// Waits for more rows, for a transaction costs more than a row, if nobody waits for these: they are in the journal. Whoever is in line
    /// then has his turn with them. Where somebody waits, those are stored together that came while the ones before were stored.
    async fn linger(&self, batch: &[Entry]) {
        if batch.iter().all(|entry| entry.done.is_none()) {
            tokio::select! {
                () = sleep(DELAY) => {}
                () = self.state.urgent.notified() => {}
            }
        }
    }

    /// Stores rows, as often as it takes, and tells who waits for them.
    async fn store(&self, batch: &mut Vec<Entry>) {
        let (mut records, mut once, mut done, mut places) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for entry in batch.drain(..) {
            records.push(entry.record);
            once.push(entry.once);
            done.extend(entry.done);
            places.push(entry.place);
        }
        let sums = self.record(&records).await;
        self.state.unstored.fetch_sub(records.len(), Ordering::AcqRel);
        // Whoever waits for a pass may not have to any more.
        self.state.ended.send_modify(|_| ());
        metrics::usage_waiting(self.line.len());
        for done in done {
            // Nobody waits when the client went away.
            let _ = done.send(());
        }
        self.holds.settled(&settled(&records, &once, &sums)).await;
    }

    async fn record(&self, records: &[UsageRecord]) -> Vec<TenantSums> {
        let mut pause = Duration::from_millis(50);
        let mut again = false;
        loop {
            let stored = self.store.record_usage(records).await;
            // Once may have been chance: many others were in line.
            self.state.refused.store(again && stored.is_err(), Ordering::Relaxed);
            again = true;
            match stored {
                Ok(sums) => return sums,
                Err(error) => {
                    let waiting = records.len() + self.line.len();
                    tracing::error!(event = "usage_not_written", %error, rows = waiting);
                    metrics::usage_waiting(waiting);
                    sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_secs(2));
                    // Meanwhile no page is turned.
                    self.state.journal.get().inspect(|journal| journal.look_after());
                }
            }
        }
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
