//! A provider's own errors: what they say about the key, and how they are passed on without it.

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, response};
use keyferry_core::{dialect::Dialect, fallback::Failure, mask, record::Outcome};
use keyferry_envelope::ApiKey;

use super::{heads::headers_down, record::written, room::Held, settle::Settlement};
use crate::{http::AnswerBody, upstream::UpstreamBody};

/// A provider's own error, read.
pub(super) struct ProviderError {
    pub(super) head: response::Parts,
    pub(super) bytes: Bytes,
    pub(super) body: UpstreamBody,
    pub(super) _held: Held,
}

impl ProviderError {
    /// What it says about the key.
    pub(super) fn failure(&self, dialect: Dialect) -> Option<Failure> {
        Failure::of_answer(dialect, self.head.status.as_u16(), &self.bytes)
    }
}

/// Passes a provider's error on: its status and body, with anything that looks like a key masked.
pub(super) async fn pass_error(
    error: ProviderError,
    key: &ApiKey,
    mut settlement: Settlement,
) -> Response<AnswerBody> {
    let ProviderError { head, bytes, body, _held } = error;
    settlement.answered(head.status.as_u16());
    // A refusal of the key is where providers quote it, in spellings that nobody foresees.
    let mut quotes = matches!(head.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
    let mut masked = |text: &[u8]| match mask::scrub(text, Some(key.expose())) {
        Cow::Borrowed(_) => None,
        Cow::Owned(masked) => {
            quotes = true;
            Some(masked)
        }
    };
    let bytes = masked(&bytes).map_or(bytes, Bytes::from);
    let mut headers = head.headers;
    for value in headers.values_mut() {
        if let Some(masked) = masked(value.as_bytes()) {
            *value = HeaderValue::from_bytes(&masked).unwrap_or(HeaderValue::from_static(""));
        }
    }
    if !quotes {
        body.keep();
    }
    written(settlement.end(Outcome::ProviderError)).await;
    let mut answer = Response::new(AnswerBody::Full(bytes));
    *answer.status_mut() = head.status;
    *answer.headers_mut() = headers_down(&headers);
    answer
}
