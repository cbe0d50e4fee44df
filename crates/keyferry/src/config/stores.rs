//! Where things are kept and where they are counted.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use keyferry_envelope::SecretBytes;
use keyferry_storage::{Backend, counter::RedisAddress};

use super::{
    ConfigError,
    file::{self, Concealed, File},
    secret_file,
};

/// The longest URL.
const MAX_URL: usize = 2048;

/// Where replays, rates, quotas and budgets are counted.
pub enum Counters {
    /// In this process: for one gateway.
    Memory,
    /// In Redis: for many.
    Redis {
        /// Where it is. Taken once, by whoever connects.
        address: RedisAddress,
        /// The only authority to trust for it.
        ca: Option<PathBuf>,
    },
}

impl fmt::Debug for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Memory => "Memory",
            Self::Redis { .. } => "Redis(..)",
        })
    }
}

/// Where usage rows go before the database has them.
#[derive(Debug, PartialEq, Eq)]
pub struct Journal {
    /// Where it is.
    pub place: JournalPlace,
    /// Whether rows go there. If not, what an earlier run has left there is stored all the same.
    pub is_kept: bool,
}

/// Where a journal is. It belongs to one database.
#[derive(Debug, PartialEq, Eq)]
pub enum JournalPlace {
    /// Beside this file, which is the database.
    Beside(PathBuf),
    /// In this folder, under a name that the database has.
    In(PathBuf),
}

/// Reads both sections; they depend on each other, and on the root.
pub(super) fn stores(file: &File, data_dir: &Path) -> Result<(Backend, Counters), ConfigError> {
    let storage = storage(&file.storage, data_dir)?;
    let counters = counters(&file.counters)?;
    if matches!((&storage, &counters), (Backend::Postgres(_), Counters::Memory)) {
        return Err(ConfigError::at(
            "counters.url",
            "PostgreSQL serves many gateways, and counters in memory count for one alone: name a Redis (redis://…)",
        ));
    }
    let made = matches!(file.kms.kind, file::KmsKind::Local) && file.kms.master_secret_file.is_none();
    if made && matches!(storage, Backend::Postgres(_)) {
        return Err(ConfigError::at(
            "kms",
            "all gateways on one database need the same root: name a KMS, or the file that they share in master_secret_file",
        ));
    }
    Ok((storage, counters))
}

fn storage(written: &file::Storage, data_dir: &Path) -> Result<Backend, ConfigError> {
    match url("storage.url", written.url.as_ref(), written.url_file.as_deref())? {
        None => Ok(Backend::Sqlite(data_dir.join("keyferry.db"))),
        Some((at, url)) => Backend::parse(text(&at, &url)?).map_err(|error| ConfigError::at(at, error)),
    }
}

/// Whether a journal of usage rows is kept, and where. What PostgreSQL has must outlive the machine, unless the operator says otherwise.
pub(super) fn journal(written: &file::Storage, storage: &Backend, data_dir: &Path) -> Journal {
    let (place, usual) = match storage {
        Backend::Sqlite(file) => (JournalPlace::Beside(file.clone()), true),
        Backend::Postgres(_) => (JournalPlace::In(data_dir.to_owned()), false),
    };
    Journal { place, is_kept: written.journal.unwrap_or(usual) }
}

fn counters(written: &file::Counters) -> Result<Counters, ConfigError> {
    let counters = match url("counters.url", written.url.as_ref(), written.url_file.as_deref())? {
        None => Counters::Memory,
        Some((at, url)) => match text(&at, &url)? {
            "memory" => Counters::Memory,
            url => {
                let address = RedisAddress::read(url)
                    .map_err(|error| ConfigError::at(at, format!("{error}, or `memory`")))?;
                Counters::Redis { address, ca: written.ca.clone() }
            }
        },
    };
    match &counters {
        Counters::Redis { address, .. } if address.is_tls() => Ok(counters),
        _ if written.ca.is_some() => Err(ConfigError::at("counters.ca", "is for `rediss://` only")),
        _ => Ok(counters),
    }
}

/// What is written, or stands in the file; and at which path.
fn url(
    at: &str,
    written: Option<&Concealed>,
    file: Option<&Path>,
) -> Result<Option<(String, SecretBytes)>, ConfigError> {
    match (written, file) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) => Err(ConfigError::at(at, "stands here and in a file: one is enough")),
        (Some(written), None) => Ok(Some((at.to_owned(), SecretBytes::copy_of(written.expose())))),
        (None, Some(file)) => {
            let at = format!("{at}_file");
            let read = secret_file::read(file, MAX_URL).map_err(|why| ConfigError::at(&at, why))?;
            Ok(Some((at, read)))
        }
    }
}

fn text<'u>(at: &str, url: &'u SecretBytes) -> Result<&'u str, ConfigError> {
    std::str::from_utf8(url.expose()).map_err(|_| ConfigError::at(at, "is no text"))
}
