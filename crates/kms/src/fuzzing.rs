//! Readers of what roots answer, called by the targets of `fuzz/`. Not in a normal build.

use http::StatusCode;
use keyferry_core::port::root::RootError;
use keyferry_envelope::SecretBytes;

use crate::http::Answer;
pub use crate::{aws::fuzzing as aws, pkcs11::fuzzing as pkcs11, vault::fuzzing as vault};

pub(crate) fn answer(status: u16, body: &[u8]) -> Option<Answer> {
    let status = StatusCode::from_u16(status).ok()?;
    Some(Answer { status, body: SecretBytes::new(body.to_vec()) })
}

/// What was read, or what is told of the failure.
pub type Read<T> = Result<T, String>;

pub(crate) fn told<T>(read: Result<T, RootError>) -> Read<T> {
    read.map_err(|error| format!("{error} {error:?}"))
}
