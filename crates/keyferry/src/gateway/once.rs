//! Requests that are paid once: a client that may ask again says so with an `Idempotency-Key`
//! ([draft-ietf-httpapi-idempotency-key-header](https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/)).
//!
//! It counts where the platform pays and nowhere else: a repetition on a tenant's own key is between the tenant and its
//! provider, which gets the header too. The key is the caller's own: nobody can take another's. Of key and request only
//! hashes are kept.

use aws_lc_rs::digest::{Context, SHA256};
use http::{HeaderMap, HeaderValue};
use keyferry_core::{admission::Caller, budget::Once};

use super::{Passage, body::ReadBody};

const HEADER: &str = "idempotency-key";

/// The client's key, as it came. One that came twice is one of two parts.
pub(super) fn keys(headers: &HeaderMap) -> Vec<HeaderValue> {
    headers.get_all(HEADER).iter().map(own).collect()
}

/// A copy that stands alone. A value as it was read is a piece of the buffer of its connection, and keeps that whole buffer
/// for as long as anybody remembers the value.
fn own(value: &HeaderValue) -> HeaderValue {
    let copy = HeaderValue::from_bytes(value.as_bytes());
    copy.unwrap_or_else(|_| unreachable!("it was a header's value before"))
}

impl Passage<'_> {
    /// The request as one that is paid once, if its client says so.
    pub(super) fn once(&self, caller: &Caller, model: Option<&str>, body: &ReadBody) -> Option<Once> {
        if self.idempotency_keys.is_empty() {
            return None;
        }
        let keys = self.idempotency_keys.iter().map(HeaderValue::as_bytes);
        let asks = [
            self.provider.id.as_str().as_bytes(),
            self.operation.name.as_bytes(),
            model.unwrap_or_default().as_bytes(),
            body.whole()?,
        ];
        Some(Once {
            key: hash([caller.name().as_bytes()].into_iter().chain(keys)),
            asks: hash(asks.into_iter()),
        })
    }
}

/// Over parts of any length, each told from the next.
fn hash<'a>(parts: impl Iterator<Item = &'a [u8]>) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}
