//! The journal of usage rows, opened: at the start, or as soon as it can be. What the last run left in it is stored, even where
//! none is kept any more.

use std::{
    error::Error as _,
    fs,
    future::Future,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use data_encoding::HEXLOWER;
use keyferry_core::port::store::{Store, StoreError};
use keyferry_envelope::Entropy;
use keyferry_storage::{JournalError, UsageJournal};
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::{
    config::{Journal, JournalPlace},
    gateway::Recorder,
    start::StartError,
};

/// How often one that could not be opened is tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// How long the start waits for the store to take what was left.
const PATIENCE: Duration = Duration::from_secs(3);
/// The name that a database has, so that no other one gets its rows when a configuration names another.
const DATABASE_ID: &str = "database_id";
/// What files begin with that are named after a database.
const PREFIX: &str = "postgres-";

/// Opens the journal, if one is kept or was left. If it could not be opened, the answer is what opens it as soon as it can be.
pub async fn open(
    journal: Journal,
    store: &Arc<dyn Store>,
    recorder: &Recorder,
    entropy: &dyn Entropy,
) -> Result<Option<impl Future<Output = ()> + Send + 'static>, StartError> {
    let place = Place::of(journal, &**store, entropy).await?;
    if !place.is_kept && matches!(UsageJournal::is_left(&place.beside), Ok(false)) {
        return Ok(None);
    }
    match timeout(PATIENCE, UsageJournal::open(&place.beside, &**store)).await {
        Ok(Ok(Some(opened))) => {
            place.keep(opened, recorder);
            return Ok(None);
        }
        Ok(Ok(None)) => tracing::info!(
            event = "usage_journal_taken",
            "another gateway has the journal: answers wait for the database"
        ),
        Ok(Err(error @ JournalError::File(..))) if place.is_kept => return Err(error.into()),
        Ok(Err(error)) => tell(&with_cause(&error)),
        Err(_) => tell("the database has not taken what was left in it yet"),
    }
    Ok(Some(open_later(place, Arc::clone(store), recorder.clone())))
}

/// The gateway that had it may not come back.
async fn open_later(place: Place, store: Arc<dyn Store>, recorder: Recorder) {
    let mut tick = interval(AGAIN);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut told = None;
    loop {
        tick.tick().await;
        match UsageJournal::open(&place.beside, &*store).await {
            Ok(Some(opened)) => return place.keep(opened, &recorder),
            Ok(None) => told = None,
            Err(error) => {
                let error = with_cause(&error);
                // What lasts is said once.
                if told.as_ref() != Some(&error) {
                    tell(&error);
                }
                told = Some(error);
            }
        }
    }
}

fn with_cause(error: &JournalError) -> String {
    error.source().map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
}

fn tell(error: &str) {
    tracing::warn!(event = "usage_journal_not_read", error);
}

/// The journal of this gateway's database.
struct Place {
    /// What the names of its files begin with.
    beside: PathBuf,
    is_kept: bool,
}

impl Place {
    async fn of(journal: Journal, store: &dyn Store, entropy: &dyn Entropy) -> Result<Self, StoreError> {
        let beside = match &journal.place {
            JournalPlace::Beside(file) => file.clone(),
            JournalPlace::In(folder) => folder.join(format!("{PREFIX}{}", id_of(store, entropy).await?)),
        };
        tell_of_others(&journal.place, &beside);
        Ok(Self { beside, is_kept: journal.is_kept })
    }

    fn keep(&self, opened: UsageJournal, recorder: &Recorder) {
        if self.is_kept {
            recorder.keep_in(opened);
        }
    }
}

/// The name of a database, which the first gateway gives it.
async fn id_of(store: &dyn Store, entropy: &dyn Entropy) -> Result<String, StoreError> {
    let mut id = [0; 8];
    entropy.fill(&mut id);
    let id = store.init_setting(DATABASE_ID, HEXLOWER.encode(&id).as_bytes()).await?;
    // It becomes part of a path.
    let text = String::from_utf8(id).ok().filter(|id| is_id(id.as_bytes()));
    let row = DATABASE_ID.to_owned();
    text.ok_or(StoreError::Inconsistent { table: "settings", column: "value", row })
}

/// The files of journals where this one may be, of other databases too.
pub fn files(place: &JournalPlace) -> Vec<PathBuf> {
    match place {
        JournalPlace::Beside(file) => UsageJournal::files(file).into(),
        JournalPlace::In(folder) => {
            let all = fs::read_dir(folder).into_iter().flatten().flatten();
            let named = all.filter(|file| is_named_after_a_database(&file.file_name().to_string_lossy()));
            named.map(|file| file.path()).collect()
        }
    }
}

fn is_named_after_a_database(name: &str) -> bool {
    let parts = name.strip_prefix(PREFIX).and_then(|rest| rest.split_once('-'));
    parts.is_some_and(|(id, of)| is_id(id.as_bytes()) && matches!(of, "usage-1" | "usage-2"))
}

fn is_id(text: &[u8]) -> bool {
    text.len() == 16 && text.iter().all(u8::is_ascii_hexdigit)
}

/// Says that rows of other databases lie here. Whoever serves these with this folder stores them.
fn tell_of_others(place: &JournalPlace, own: &Path) {
    let own = UsageJournal::files(own);
    let is_left = |file: &PathBuf| !own.contains(file) && fs::metadata(file).is_ok_and(|meta| meta.len() > 0);
    for file in files(place).iter().filter(|file| is_left(file)) {
        tracing::warn!(event = "usage_journal_of_another_database", file = %file.display());
    }
}
