//! The journal of usage rows: whether others may read it, and whether rows lie there that nobody stores.

use std::fs::{self, File, TryLockError};

use super::{
    check::Check,
    deployment::{open_to_others, shown},
};
use crate::{config::Journal, journaling};

/// Nothing where there is none.
pub(super) fn look(journal: &Journal) -> Option<Check> {
    const NAME: &str = "usage_journal";
    let files = journaling::files(&journal.place);
    let there: Vec<_> = files.iter().filter_map(|file| Some((file, fs::metadata(file).ok()?))).collect();
    if there.is_empty() {
        return None;
    }
    if let Some((file, meta)) = there.iter().find(|(_, meta)| open_to_others(meta)) {
        return Some(Check::no(NAME, shown(file, meta), "chmod 600."));
    }
    // A gateway that serves has it, and empties it by itself.
    let is_free = |file: &File| !matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock));
    let mut left = there.iter().filter(|(_, meta)| meta.len() > 0);
    Some(match left.find(|(file, _)| File::open(file).is_ok_and(|file| is_free(&file))) {
        Some((file, _)) => Check::warn(
            NAME,
            format!("{} has rows that are not in the database", file.display()),
            "A gateway was killed, or its database was away when it ended. Start one with this folder and its database: it stores them.",
        ),
        None => Check::ok(NAME, "its owner's alone"),
    })
}
