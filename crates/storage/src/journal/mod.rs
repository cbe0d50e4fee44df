//! Usage rows that are safe already and not in the store yet.
//!
//! A transaction costs a thread's wake and waiting for it; a line at the end of a file costs one system call, for several
//! rows together even. What is written to a file outlives the process as a commit does (`synchronous = NORMAL`, see `sqlite`),
//! so an answer need not wait for more than its line, and the store gets many rows at once, a moment later.
//!
//! There are two files, in turn: while the rows of one go into the store, new ones go into the other.
//! A file whose rows are all in the store is emptied. Rows that a process left behind are stored when the next one opens the
//! journal; one that was stored and not yet removed is dropped by the store, which knows its id.

mod row;

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read},
    mem,
    os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use keyferry_core::{
    port::store::{Store, StoreError},
    record::UsageRecord,
};
use tokio::time::{Instant, sleep};

use self::row::Row;

/// What the name of the journal gets in the names of the two files.
const ENDINGS: [&str; 2] = ["-usage-1", "-usage-2"];
/// How much of what was left is stored at once.
const AT_ONCE: usize = 256;
/// How long a store that does not take it is asked again, and how long is waited in between.
const PATIENCE: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(100);
/// A file that is longer is not written to: something keeps it from being emptied.
const LONGEST: u64 = 64 << 20;

/// Why a journal does not open.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// One of its files.
    #[error("the journal of usage rows, {0}")]
    File(String, #[source] io::Error),
    /// The store did not take the rows that were left in it.
    #[error("usage rows of the last run cannot be stored")]
    Store(#[from] StoreError),
}

/// A journal beside a database, or instead of waiting for one. Of several processes with one journal, one has it.
pub struct UsageJournal {
    pages: Mutex<Pages>,
    /// Where rows went before. It has a lock of its own, which is taken first: to empty a file may take milliseconds, and nobody
    /// who keeps a row waits for that.
    other: Mutex<Page>,
}

struct Pages {
    /// Where rows go.
    current: Page,
    /// What is to be written, of rows that were kept after all that was.
    lines: Vec<u8>,
    /// How many rows were kept, and how many of them were tried to be written.
    kept: u64,
    tried: u64,
    /// How many were kept when it last failed. None of them counts as safe.
    failed: u64,
}

/// One of the two files.
struct Page {
    path: PathBuf,
    file: File,
    /// Where the next row goes.
    end: u64,
    /// Where it was has nobody removed or replaced it.
    in_place: bool,
    /// Lines in it, when it was read, that are no rows.
    unreadable: usize,
}

/// A row that was kept. As long as this is held, the page is not turned.
pub struct Kept<'j>(MutexGuard<'j, Pages>);

/// Which row that was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark(u64);

impl Kept<'_> {
    /// Which row this is.
    pub fn mark(&self) -> Mark {
        Mark(self.0.kept)
    }
}

impl UsageJournal {
    /// The files that are named after this one.
    pub fn files(beside: &Path) -> [PathBuf; 2] {
        ENDINGS.map(|ending| named(beside, ending))
    }

    /// Whether there is something in them.
    pub fn is_left(beside: &Path) -> io::Result<bool> {
        for file in Self::files(beside) {
            match std::fs::metadata(file) {
                Ok(meta) if meta.len() > 0 => return Ok(true),
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(false)
    }

    /// Opens the journal whose files are named after this one, and stores what was left in it; `None` if another process has it.
    pub async fn open(beside: &Path, store: &dyn Store) -> Result<Option<Self>, JournalError> {
        let [first, second] = Self::files(beside);
        let mut pages = [Page::open(first)?, Page::open(second)?];
        for page in &pages {
            match page.file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) => return Err(page.failed(error)),
            }
        }
        let mut left = Vec::new();
        for page in &mut pages {
            left.push(page.rows().map_err(|error| page.failed(error))?);
        }
        // Either page may be the older one.
        left.sort_by_key(|rows| rows.first().map(|row| row.at));
        let rows = left.concat();
        patiently(store, &rows).await?;
        for page in &mut pages {
            page.set_aside().and_then(|()| page.clear()).map_err(|error| page.failed(error))?;
        }
        if !rows.is_empty() {
            tracing::info!(event = "usage_rows_found", rows = rows.len());
        }
        let [current, other] = pages;
        let pages = Pages { current, lines: Vec::new(), kept: 0, tried: 0, failed: 0 };
        Ok(Some(Self { pages: Mutex::new(pages), other: Mutex::new(other) }))
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn other(&self) -> MutexGuard<'_, Page> {
        self.other.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a row. It is safe when it is written.
    pub fn keep(&self, record: &UsageRecord) -> io::Result<Kept<'_>> {
        let mut pages = self.pages();
        let before = pages.lines.len();
        let line = serde_json::to_writer(&mut pages.lines, &Row::from(record));
        if let Err(error) = line {
            pages.lines.truncate(before);
            return Err(error.into());
        }
        pages.lines.push(b'\n');
        pages.kept += 1;
        Ok(Kept(pages))
    }

    /// Writes a row, and all others that were kept: they outlive the process from now on. Often another one has done so.
    pub fn write(&self, row: Mark) -> io::Result<()> {
        let mut pages = self.pages();
        if row.0 > pages.tried {
            pages.write()
        } else if row.0 > pages.failed {
            Ok(())
        } else {
            Err(io::Error::other("another one could not write it"))
        }
    }

    /// Turns the page; answers what `in_line` does, which is asked while no row can be kept.
    pub fn turn<T>(&self, in_line: impl FnOnce() -> T) -> T {
        let (mut other, mut pages) = (self.other(), self.pages());
        pages.write_rest();
        if other.end == 0 {
            mem::swap(&mut pages.current, &mut *other);
        }
        pages.current.look();
        in_line()
    }

    /// Empties the page that was turned: all its rows are in the store.
    pub fn empty(&self) -> io::Result<()> {
        self.other().clear()
    }

    /// Writes what was kept, and looks whether the file is still there. Turning the page does so as well.
    pub fn look_after(&self) {
        let mut pages = self.pages();
        pages.write_rest();
        pages.current.look();
    }
}

/// Stores rows, some at a time, as long as the store takes some. Whoever starts beside a busy database is not turned away at once.
async fn patiently(store: &dyn Store, rows: &[UsageRecord]) -> Result<(), StoreError> {
    for some in rows.chunks(AT_ONCE) {
        let until = Instant::now() + PATIENCE;
        while let Err(error) = store.record_usage(some).await {
            if Instant::now() >= until {
                return Err(error);
            }
            sleep(PAUSE).await;
        }
    }
    Ok(())
}

impl Pages {
    fn write(&mut self) -> io::Result<()> {
        let written = self.current.append(&self.lines);
        self.lines.clear();
        self.tried = self.kept;
        if written.is_err() {
            self.failed = self.kept;
        }
        written
    }

    /// Writes rows that nobody waits for. Whoever does hears of a failure when it asks.
    fn write_rest(&mut self) {
        if !self.lines.is_empty() {
            let _ = self.write();
        }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        self.write_rest();
    }
}

impl Page {
    fn open(path: PathBuf) -> Result<Self, JournalError> {
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
        match file {
            Ok(file) => Ok(Self { path, file, end: 0, in_place: true, unreadable: 0 }),
            Err(error) => Err(JournalError::File(path.display().to_string(), error)),
        }
    }

    fn failed(&self, error: io::Error) -> JournalError {
        JournalError::File(self.path.display().to_string(), error)
    }

    /// What a process left.
    fn rows(&mut self) -> io::Result<Vec<UsageRecord>> {
        let mut text = Vec::new();
        self.file.read_to_end(&mut text)?;
        self.end = text.len() as u64;
        // One that was killed while it wrote left part of a row, of an answer that nobody has.
        let whole = text.iter().rposition(|&byte| byte == b'\n').map_or(&[][..], |end| &text[..end]);
        let lines = whole.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
        let read: Vec<_> = lines.map(Row::read).collect();
        self.unreadable = read.iter().filter(|row| row.is_none()).count();
        Ok(read.into_iter().flatten().collect())
    }

    /// Keeps a copy of what cannot be read.
    fn set_aside(&self) -> io::Result<()> {
        if self.unreadable > 0 {
            let mut names = (1..).map(|number| named(&self.path, &format!(".unreadable-{number}")));
            let aside = names.find(|name| !name.exists()).unwrap_or_default();
            std::fs::copy(&self.path, &aside)?;
            tracing::error!(event = "usage_rows_unreadable", rows = self.unreadable, kept = %aside.display());
        }
        Ok(())
    }

    fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        if !self.in_place {
            return Err(io::Error::new(io::ErrorKind::NotFound, "it was removed or replaced"));
        }
        if self.end > LONGEST {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it was not emptied"));
        }
        if let Err(error) = self.file.write_all_at(lines, self.end) {
            // Part of it may be there.
            let _ = self.file.set_len(self.end);
            return Err(error);
        }
        self.end += lines.len() as u64;
        Ok(())
    }

    fn clear(&mut self) -> io::Result<()> {
        if self.end > 0 {
            self.file.set_len(0)?;
            self.end = 0;
        }
        Ok(())
    }

    /// Looks whether the file is still found at its place.
    fn look(&mut self) {
        let there = |meta: std::fs::Metadata| (meta.dev(), meta.ino());
        let same = std::fs::metadata(&self.path).map(there).ok() == self.file.metadata().map(there).ok();
        self.in_place = same;
    }
}

/// A file beside another one.
fn named(beside: &Path, ending: &str) -> PathBuf {
    let mut path = beside.as_os_str().to_owned();
    path.push(ending);
    path.into()
}
