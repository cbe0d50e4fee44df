//! The journal of usage rows, opened: at the start, or as soon as it can be. What the last run left in it is stored, even where
//! none is kept any more.

use std::{future::Future, sync::Arc, time::Duration};

use keyferry_core::port::store::Store;
use keyferry_storage::{JournalError, UsageJournal};
use tokio::time::{MissedTickBehavior, interval};

use crate::{config::Journal, gateway::Recorder};

/// How often one that could not be opened is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// Opens the journal, if one is kept or was left. If it could not be opened, the answer is what opens it as soon as it can be.
pub async fn open(
    place: Journal,
    store: &Arc<dyn Store>,
    recorder: &Recorder,
) -> Result<Option<impl Future<Output = ()> + Send + 'static>, JournalError> {
    if !place.is_kept && !UsageJournal::is_left(&place.beside) {
        return Ok(None);
    }
    match UsageJournal::open(&place.beside, &**store).await {
        Ok(Some(journal)) => {
            place.keep(journal, recorder);
            return Ok(None);
        }
        Ok(None) => tracing::info!(
            event = "usage_journal_taken",
            "another gateway has the journal: answers wait for the database"
        ),
        Err(JournalError::Store(error)) => tracing::warn!(event = "usage_journal_not_read", %error),
        Err(error) => return Err(error),
    }
    Ok(Some(open_later(place, Arc::clone(store), recorder.clone())))
}

/// The gateway that had it may not come back.
async fn open_later(place: Journal, store: Arc<dyn Store>, recorder: Recorder) {
    let mut tick = interval(AGAIN);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        match UsageJournal::open(&place.beside, &*store).await {
            Ok(Some(journal)) => return place.keep(journal, &recorder),
            Ok(None) => {}
            Err(error) => tracing::warn!(event = "usage_journal_not_read", %error),
        }
    }
}

impl Journal {
    fn keep(&self, journal: UsageJournal, recorder: &Recorder) {
        if self.is_kept {
            recorder.keep_in(journal);
        }
    }
}
