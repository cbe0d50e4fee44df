//! Documents that hold credentials, for fuzzing.

use keyferry_envelope::SecretBytes;

use super::{Credentials, Missing, file, metadata, web_identity};
use crate::fuzzing::{Read, answer, told};

/// Access key, secret, token, seconds at which they end.
pub type Found = (String, Vec<u8>, Option<Vec<u8>>, Option<i64>);

fn shown(found: Result<Credentials, Missing>) -> Read<Found> {
    told(found.map_err(|missing| missing.of("here"))).map(|found| {
        (
            found.access_key_id,
            found.secret_access_key.expose().to_vec(),
            found.session_token.map(|token| token.expose().to_vec()),
            found.expires.map(|end| end.secs()),
        )
    })
}

/// A document of the metadata service.
pub fn document(body: &[u8]) -> Read<Found> {
    shown(metadata::document(&SecretBytes::new(body.to_vec())))
}

/// An answer of the token service.
pub fn token_service(status: u16, body: &[u8]) -> Option<Read<Found>> {
    Some(shown(web_identity::answered(&answer(status, body)?)))
}

/// A profile of the shared file.
pub fn profile(content: &[u8], profile: &str) -> Option<Read<Found>> {
    file::in_profile(content, profile).transpose().map(shown)
}
