//! The gateway's readers without a request, for fuzzing.

use bytes::Bytes;
use keyferry_core::{
    admission::Policy,
    issuer::{Algorithm, Issuer},
    provider::{AuthSlot, Provider},
    time::Timestamp,
};

use super::{
    jwk::KeySet,
    jws::Jws,
    jwt::Unverified,
    slots::{self, OfferedKey},
    sse::Boundary,
};
use crate::http::SecretHeaders;

/// What a text says of itself in its header.
pub fn jws(text: &[u8]) -> Option<(String, Option<String>)> {
    Jws::read(text).map(|jws| (jws.alg().to_owned(), jws.kid().map(str::to_owned)))
}

/// Whether a text is signed by a key of this set, under this algorithm.
pub fn is_signed(text: &[u8], keys: &KeySet, algorithm: Algorithm) -> bool {
    Jws::read(text).is_some_and(|jws| {
        jws.alg() == algorithm.as_str() && keys.find(jws.kid()).is_some_and(|key| jws.is_signed_by(key))
    })
}

/// Whether a token of an issuer is accepted; the tenant that it names before that.
pub fn jwt(text: &[u8], issuer: &Issuer, keys: &KeySet, now: i64) -> (Option<String>, bool) {
    let Some(token) = Unverified::read(text) else { return (None, false) };
    let accepted = keys
        .find(token.kid())
        .is_some_and(|key| token.verify(issuer, key, Timestamp::from_secs(now), None).is_some());
    (Some(token.tenant().to_string()), accepted)
}

/// What a request with these secrets offered: its token, and the header and text of a plain key.
pub type Said = (Vec<u8>, Option<(AuthSlot, Vec<u8>)>);

/// Says which of the secrets is which; without a plain key also where another kind of key came. The message of a
/// refusal otherwise.
pub fn slots(
    headers: &[(&'static str, &[u8])],
    provider: &Provider,
    policy: &Policy,
) -> Result<Said, String> {
    let mut secrets = SecretHeaders::default();
    for (name, value) in headers {
        secrets.add(name, value);
    }
    let offered =
        slots::read(secrets.privately(true), provider, policy).map_err(|problem| problem.message)?;
    let key = match offered.key {
        Some(OfferedKey::Carried(placed)) => Some((placed.slot, placed.key.expose().to_vec())),
        Some(OfferedKey::Session(_) | OfferedKey::Sealed(_) | OfferedKey::ByName(_)) | None => None,
    };
    Ok((offered.token.text().to_vec(), key))
}

/// An event stream that comes in these pieces: what goes on after each, and whether an event can be put in behind it.
pub fn events<'p>(pieces: impl IntoIterator<Item = &'p [u8]>) -> (Vec<(Vec<u8>, bool)>, Vec<u8>) {
    let mut boundary = Boundary::default();
    let passed = pieces
        .into_iter()
        .map(|piece| {
            let out = boundary.pass(Bytes::copy_from_slice(piece)).to_vec();
            (out, boundary.is_clean())
        })
        .collect();
    (passed, boundary.rest().to_vec())
}
