//! Which store a URL names.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use keyferry_core::port::store::{Store, StoreError};

use crate::{
    migrations::Step,
    postgres::{self, Address, PostgresStore},
    sqlite::{self, SqliteStore},
};

/// Why a URL names no store. What the URL holds is not quoted: it may be a password.
#[derive(Debug, thiserror::Error)]
pub enum NotAStore {
    /// It has another scheme.
    #[error("expected `sqlite://PATH` or `postgres://USER:PASSWORD@HOST/DATABASE`")]
    Scheme,
    /// A path of SQLite with parameters, or none.
    #[error("expected `sqlite://PATH`, without parameters")]
    Path,
    /// The rest of it cannot be read.
    #[error("expected `postgres://USER:PASSWORD@HOST/DATABASE`, with what is special in it as %XX")]
    Url,
    /// A parameter that has no meaning.
    #[error(
        "expected no parameters but sslmode, sslrootcert, sslcert, sslkey, host, port, user, password, \
         dbname and statement-cache-capacity"
    )]
    Parameter,
    /// TLS that is none.
    #[error("expected an sslmode of disable, prefer, require, verify-ca or verify-full")]
    SslMode,
}

/// A store that is not open yet.
pub enum Backend {
    /// A file.
    Sqlite(PathBuf),
    /// A database.
    Postgres(Box<Address>),
}

impl Backend {
    /// The file, where it is one.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::Sqlite(path) => Some(path),
            Self::Postgres(_) => None,
        }
    }

    /// Reads a URL. It can be forgotten afterwards.
    pub fn parse(url: &str) -> Result<Self, NotAStore> {
        match url.split_once("://") {
            Some(("sqlite", path)) if !path.is_empty() && !path.contains(['?', '#']) => {
                Ok(Self::Sqlite(path.into()))
            }
            Some(("sqlite", _)) => Err(NotAStore::Path),
            Some(("postgres" | "postgresql", _)) => Ok(Self::Postgres(Box::new(Address::parse(url)?))),
            _ => Err(NotAStore::Scheme),
        }
    }
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => f.debug_tuple("Sqlite").field(path).finish(),
            Self::Postgres(_) => f.write_str("Postgres(..)"),
        }
    }
}

/// Opens a store and brings its tables up to date.
pub async fn open(backend: &Backend) -> Result<Arc<dyn Store>, StoreError> {
    Ok(match backend {
        Backend::Sqlite(path) => Arc::new(SqliteStore::open(path).await?),
        Backend::Postgres(address) => Arc::new(PostgresStore::open(address).await?),
    })
}

/// Brings a store's tables up to date; answers which steps that took.
pub async fn migrate(backend: &Backend) -> Result<Vec<Step>, StoreError> {
    match backend {
        Backend::Sqlite(path) => sqlite::migrate(path).await,
        Backend::Postgres(address) => postgres::migrate(address).await,
    }
}

/// Which steps there are, and which of them were taken. Makes nothing.
pub async fn status(backend: &Backend) -> Result<Vec<Step>, StoreError> {
    match backend {
        Backend::Sqlite(path) => sqlite::status(path).await,
        Backend::Postgres(address) => postgres::status(address).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheme_chooses_the_backend() {
        assert!(matches!(Backend::parse("sqlite:///var/lib/keyferry.db"), Ok(Backend::Sqlite(path))
            if path.to_str() == Some("/var/lib/keyferry.db")));
        for url in ["postgres://u:p@localhost/keyferry", "postgresql://u:p@localhost/keyferry"] {
            assert!(matches!(Backend::parse(url), Ok(Backend::Postgres(_))), "{url}");
        }
        for url in ["", "keyferry.db", "mysql://localhost/keyferry", "sqlite:keyferry.db"] {
            let Err(error) = Backend::parse(url) else { panic!("{url} is accepted") };
            assert!(error.to_string().contains("sqlite://PATH` or `postgres://"), "{error}");
        }
        for url in ["sqlite://", "sqlite://x.db?mode=ro"] {
            assert!(matches!(Backend::parse(url), Err(NotAStore::Path)), "{url}");
        }
    }
}
