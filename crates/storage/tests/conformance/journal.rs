//! Usage rows that are safe before they are in the store.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use keyferry_core::{
    id::TenantId,
    port::store::{Store, UsageRow},
    record::{KeyMode, Outcome, UsageRecord},
    usage::UsageSource,
};
use keyferry_storage::{
    UsageJournal,
    postgres::{Address, PostgresStore},
    sqlite::SqliteStore,
};
use keyferry_storage_testing::Postgres;
use sqlx::Connection as _;

use crate::{
    sample::{page, sqlite, with_tenant},
    usage::record,
};

/// A store, and where the journal of it is.
struct Place {
    store: SqliteStore,
    tenant: TenantId,
    database: PathBuf,
    _folder: tempfile::TempDir,
}

impl Place {
    async fn new() -> Self {
        let (store, folder) = sqlite("").await.expect("opens");
        let tenant = with_tenant(&store).await;
        Self { store, tenant, database: folder.path().join("journal.db"), _folder: folder }
    }

    async fn open(&self) -> UsageJournal {
        UsageJournal::open(&self.database, &self.store).await.expect("opens").expect("nobody else has it")
    }

    fn files(&self) -> [PathBuf; 2] {
        ["journal.db-usage-1", "journal.db-usage-2"].map(|name| self.database.with_file_name(name))
    }

    async fn rows(&self) -> Vec<UsageRow> {
        self.store.usage_rows(&self.tenant, None, None, &page(100)).await.expect("listed").data
    }

    async fn ids(&self) -> Vec<String> {
        let mut ids: Vec<_> = self.rows().await.into_iter().map(|row| row.request_id).collect();
        ids.sort();
        ids
    }
}

/// Keeps a row and writes it.
fn keep(journal: &UsageJournal, record: &UsageRecord) {
    let mark = journal.keep(record).expect("kept").mark();
    journal.write(mark).expect("written");
}

fn row(id: &str) -> UsageRecord {
    record(id, "openai", 0, Outcome::Ok)
}

fn length(path: &Path) -> u64 {
    fs::metadata(path).expect("there").len()
}

#[tokio::test]
async fn a_row_that_was_kept_outlives_the_process() {
    let place = Place::new().await;
    let journal = place.open().await;
    for id in ["req_1", "req_2"] {
        keep(&journal, &row(id));
    }
    drop(journal);
    let _next = place.open().await;
    assert_eq!(place.ids().await, ["req_1", "req_2"]);
    assert_eq!(place.files().map(|file| length(&file)), [0, 0], "they are not found twice");
}

#[tokio::test]
async fn a_row_comes_back_as_it_was_kept() {
    let place = Place::new().await;
    let strange = UsageRecord {
        caller: "iss \"a\"\n\u{0}\t\u{1F511}".to_owned(),
        model: Some("models/\\x\n".to_owned()),
        credential: KeyMode::Sealed,
        credential_id: None,
        status: 499,
        outcome: Outcome::Cancelled,
        usage_source: UsageSource::None,
        ..row("req_strange")
    };
    let unnamed = UsageRecord { model: None, ..row("req_unnamed") };
    let (there, kept) = (Place::new().await, [strange, unnamed, row("req_usual")]);
    there.store.record_usage(&kept).await.expect("recorded");
    let journal = place.open().await;
    for one in &kept {
        keep(&journal, one);
    }
    drop(journal);
    place.open().await;
    assert_eq!(format!("{:?}", place.rows().await), format!("{:?}", there.rows().await));
}

#[tokio::test]
async fn only_rows_from_before_the_page_was_turned_are_removed() {
    let place = Place::new().await;
    let journal = place.open().await;
    for turn in 0..3 {
        keep(&journal, &row(&format!("req_before{turn}")));
        journal.turn(|| ());
        keep(&journal, &row(&format!("req_after{turn}")));
        journal.empty().expect("emptied");
    }
    drop(journal);
    place.open().await;
    assert_eq!(place.ids().await, ["req_after2"], "of earlier ones the caller has said that they are stored");
}

#[tokio::test]
async fn the_older_page_is_stored_first() {
    let place = Place::new().await;
    let journal = place.open().await;
    journal.turn(|| ());
    keep(&journal, &record("req_older", "openai", 0, Outcome::Ok));
    journal.turn(|| ());
    keep(&journal, &record("req_newer", "openai", 1, Outcome::Ok));
    drop(journal);
    assert!(place.files().iter().all(|file| length(file) > 0), "one is in each");
    place.open().await;
    let newest = &place.rows().await[0];
    assert_eq!(newest.request_id, "req_newer");
}

#[tokio::test]
async fn a_page_that_was_not_emptied_is_not_written_to() {
    let place = Place::new().await;
    let journal = place.open().await;
    for id in ["req_1", "req_2", "req_3"] {
        keep(&journal, &row(id));
        journal.turn(|| ());
    }
    drop(journal);
    place.open().await;
    assert_eq!(place.ids().await, ["req_1", "req_2", "req_3"]);
}

#[tokio::test]
async fn a_row_of_which_only_a_part_was_written_is_passed_over() {
    let place = Place::new().await;
    let journal = place.open().await;
    for id in ["req_1", "req_2"] {
        keep(&journal, &row(id));
    }
    drop(journal);
    let file = &place.files()[0];
    OpenOptions::new().write(true).open(file).expect("opens").set_len(length(file) - 10).expect("cut");
    place.open().await;
    assert_eq!(place.ids().await, ["req_1"]);
    assert!(!file.with_extension("db-usage-1.unreadable-1").exists(), "that is nothing unusual");
}

#[tokio::test]
async fn what_cannot_be_read_is_kept_aside_and_the_rest_is_stored() {
    let place = Place::new().await;
    let journal = place.open().await;
    keep(&journal, &row("req_1"));
    drop(journal);
    let file = &place.files()[0];
    let mut writing = OpenOptions::new().append(true).open(file).expect("opens");
    writing.write_all(b"{\"request_id\":\0\0\0\n").expect("written");
    let before = fs::read(file).expect("read");
    place.open().await;
    assert_eq!(place.ids().await, ["req_1"]);
    assert_eq!(fs::read(file.with_extension("db-usage-1.unreadable-1")).expect("kept"), before);
    assert_eq!(length(file), 0);
}

#[tokio::test]
async fn one_process_has_it() {
    let place = Place::new().await;
    let journal = place.open().await;
    keep(&journal, &row("req_1"));
    assert!(UsageJournal::open(&place.database, &place.store).await.expect("answers").is_none());
    assert!(place.ids().await.is_empty(), "what another one keeps is its own");
    drop(journal);
    place.open().await;
}

#[tokio::test]
async fn rows_are_written_together() {
    let place = Place::new().await;
    let journal = place.open().await;
    let marks = ["req_1", "req_2"].map(|id| journal.keep(&row(id)).expect("kept").mark());
    assert_eq!(length(&place.files()[0]), 0, "nothing is written yet");
    journal.write(marks[0]).expect("written");
    let both = length(&place.files()[0]);
    journal.write(marks[1]).expect("written");
    assert_eq!(length(&place.files()[0]), both, "it was written with the first one");
    drop(journal);
    place.open().await;
    assert_eq!(place.ids().await, ["req_1", "req_2"]);
}

#[tokio::test]
async fn whoever_turns_the_page_writes_what_was_kept() {
    let place = Place::new().await;
    let journal = place.open().await;
    let mark = journal.keep(&row("req_1")).expect("kept").mark();
    journal.turn(|| ());
    journal.write(mark).expect("it is written already");
    drop(journal);
    place.open().await;
    assert_eq!(place.ids().await, ["req_1"]);
}

#[tokio::test]
async fn a_file_that_nobody_would_find_is_not_written_to_and_all_who_wait_hear_of_it() {
    let place = Place::new().await;
    let journal = place.open().await;
    keep(&journal, &row("req_1"));
    for file in place.files() {
        fs::remove_file(file).expect("removed");
    }
    journal.turn(|| ());
    let marks = ["req_2", "req_3"].map(|id| journal.keep(&row(id)).expect("kept").mark());
    for mark in marks {
        assert!(journal.write(mark).is_err());
    }
}

#[tokio::test]
async fn nobody_else_may_read_it() {
    let place = Place::new().await;
    let _journal = place.open().await;
    for file in place.files() {
        assert_eq!(fs::metadata(file).expect("there").mode() & 0o777, 0o600);
    }
}

/// As many as may wait for a database that is away. All in one statement would take longer than a statement may.
#[tokio::test]
async fn a_long_journal_goes_into_postgres_some_rows_at_a_time() {
    const ROWS: usize = 16 * 1024;
    let Some(server) = Postgres::shared("a_long_journal").await else { return };
    let url = server.new_database().await;
    let store = PostgresStore::open(&Address::parse(&url).expect("a URL")).await.expect("opens");
    let folder = tempfile::tempdir().expect("a folder");
    let beside = folder.path().join("journal");
    let open =
        async || UsageJournal::open(&beside, &store).await.expect("opens").expect("nobody else has it");
    let journal = open().await;
    for number in 0..ROWS {
        journal.keep(&row(&format!("req_{number}"))).expect("kept");
    }
    drop(journal);
    open().await;
    let mut connection = sqlx::PgConnection::connect(&url).await.expect("connects");
    let counts = "SELECT count(*), count(DISTINCT xmin::text) FROM usage";
    let (rows, transactions): (i64, i64) =
        sqlx::query_as(counts).fetch_one(&mut connection).await.expect("counted");
    assert_eq!((rows, transactions), (ROWS as i64, (ROWS / 256) as i64));
    assert_eq!(UsageJournal::files(&beside).map(|file| length(&file)), [0, 0]);
}
