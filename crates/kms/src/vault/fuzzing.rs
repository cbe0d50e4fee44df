//! Answers of Transit without a server, for fuzzing.

use super::reply::{self, Ciphertext};
use crate::fuzzing::{Read, answer, told};

/// A wrapped key.
pub fn wrapped(status: u16, body: &[u8]) -> Option<Read<Vec<u8>>> {
    Some(told(reply::wrapped(&answer(status, body)?)))
}

/// An unwrapped key.
pub fn key(status: u16, body: &[u8]) -> Option<Read<Vec<u8>>> {
    Some(told(reply::key(&answer(status, body)?)).map(|key| key.expose().to_vec()))
}

/// Both readings of what is said about a token: seconds, and whether it can be renewed.
pub fn lease(status: u16, body: &[u8]) -> Option<[Read<(u64, bool)>; 2]> {
    let answer = answer(status, body)?;
    Some(
        [reply::looked_up(&answer), reply::renewed(&answer)]
            .map(|lease| told(lease).map(|lease| (lease.ttl, lease.renewable))),
    )
}

/// The version in a stored ciphertext.
pub fn version(stored: &[u8]) -> Option<u32> {
    Ciphertext::read(stored).map(|ciphertext| ciphertext.version())
}
