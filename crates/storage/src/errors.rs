//! What a backend's errors mean to the port. What a server sent is not quoted: it may hold values.

use std::io::ErrorKind;

use keyferry_core::port::store::StoreError;
use sqlx::{Error, error::DatabaseError, postgres::PgDatabaseError, sqlite::SqliteError};

const TLS: &str = "TLS: the server offers none, or its certificate is not trusted for its name";

pub(crate) fn away(error: Error) -> StoreError {
    StoreError::Away(reason(&error))
}

/// A broken uniqueness rule is a conflict, everything else means that the store is away.
pub(crate) fn conflict(what: &'static str) -> impl Fn(Error) -> StoreError {
    move |error| match &error {
        Error::Database(cause) if cause.is_unique_violation() => StoreError::Conflict(what),
        _ => away(error),
    }
}

pub(crate) fn reason(error: &Error) -> String {
    match error {
        Error::Database(cause) => database(cause.as_ref()),
        // It says that also of a handshake that failed.
        Error::Io(cause) if cause.kind() == ErrorKind::InvalidData => TLS.to_owned(),
        Error::Io(cause) => format!("connection: {}", cause.kind()),
        Error::Tls(_) => TLS.to_owned(),
        Error::PoolTimedOut => "no connection in time".to_owned(),
        Error::PoolClosed => "it was closed".to_owned(),
        Error::WorkerCrashed => "its thread ended".to_owned(),
        Error::Configuration(_) => "the way to it is not configured well".to_owned(),
        _ => "it answered what cannot be understood".to_owned(),
    }
}

fn database(cause: &dyn DatabaseError) -> String {
    if cause.try_downcast_ref::<SqliteError>().is_some() {
        // The library's own words.
        return cause.to_string();
    }
    let code = cause.try_downcast_ref::<PgDatabaseError>().map_or("", PgDatabaseError::code);
    if code.len() != 5 || !code.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return "it refused without a reason".to_owned();
    }
    let meaning = match code {
        "25006" => "it is read only",
        "28000" | "28P01" => "it refuses the user or the password",
        "3D000" => "the database does not exist",
        "42501" => "the user lacks a right",
        "53300" => "it has no connection left",
        "55P03" => "a lock was held too long",
        "57014" => "a statement took too long",
        "57P01" | "57P02" | "57P03" => "it is shutting down or starting up",
        _ => "it refused",
    };
    format!("{meaning} (SQLSTATE {code})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_sent_is_not_quoted() {
        let sent = "sk-from-the-server";
        for error in [
            Error::Protocol(sent.to_owned()),
            Error::Tls(sent.into()),
            Error::Configuration(sent.into()),
            Error::Io(std::io::Error::other(sent)),
            Error::ColumnNotFound(sent.to_owned()),
        ] {
            let StoreError::Away(reason) = away(error) else { panic!("not away") };
            assert!(!reason.is_empty() && !reason.contains(sent), "{reason}");
        }
    }
}
