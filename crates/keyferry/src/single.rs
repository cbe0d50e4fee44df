//! One gateway for one store, as long as the counters are in its memory.
//!
//! Revocations reach another process through the counter store. With counters in memory there is
//! none to reach: a second process would go on with revoked keys, and quotas would count twice.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};

/// Why this process may not serve the store.
#[derive(Debug, thiserror::Error)]
pub enum NotAlone {
    /// Another one does.
    #[error(
        "another gateway serves the database {0}: with counters in memory there can be only one. \
         Stop the other one first"
    )]
    Taken(String),
    /// The lock cannot be asked for.
    #[error("the lock {0} cannot be taken")]
    Lock(String, #[source] io::Error),
}

/// The right to be the only one; given back when it is dropped, also by a crash.
pub struct Alone(#[expect(dead_code, reason = "held, not read")] File);

/// Takes the lock beside a database.
pub fn alone(database: &Path) -> Result<Alone, NotAlone> {
    let path = database.with_extension("lock");
    let name = path.display().to_string();
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(|error| NotAlone::Lock(name.clone(), error))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Alone(file)),
        Err(Errno::WOULDBLOCK) => Err(NotAlone::Taken(database.display().to_string())),
        Err(error) => Err(NotAlone::Lock(name, error.into())),
    }
}
