//! Answers of KMS without a server, for fuzzing.

use super::answer as reply;
pub use super::credentials::fuzzing as credentials;
use crate::fuzzing::{Read, answer, told};

/// A wrapped key.
pub fn wrapped(status: u16, body: &[u8]) -> Option<Read<Vec<u8>>> {
    Some(told(reply::wrapped(&answer(status, body)?).map_err(Into::into)))
}

/// An unwrapped key.
pub fn key(status: u16, body: &[u8]) -> Option<Read<Vec<u8>>> {
    Some(told(reply::key(&answer(status, body)?).map_err(Into::into)).map(|key| key.expose().to_vec()))
}
