//! Heads on their way: what passes up to a provider and down from it, and the receipt that goes with each answer.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method, header, response};
use keyferry_core::{
    code::Code,
    headers::{MAX_VALUE, passes_down, passes_up},
    id::CredentialId,
    net::host::ProviderHost,
    record::{Accounting, KeyMode},
};

use super::{limits::Left, settle::Settlement};
use crate::{
    http::{Problem, Short},
    upstream::{BadPath, RequestHead},
};

/// A header that is too long to pass is refused: leaving it out would change what is asked.
pub(super) fn check_headers(headers: &HeaderMap) -> Result<(), Problem> {
    let long =
        |(name, value): (&HeaderName, &HeaderValue)| passes_up(name.as_str()) && value.len() > MAX_VALUE;
    if headers.iter().any(long) {
        let message = format!("A header that goes to the provider is longer than {MAX_VALUE} bytes.");
        return Err(Problem::new(Code::InvalidRequest, message));
    }
    Ok(())
}

/// What must hold for any answer before anything of it is passed on.
pub(super) fn acceptable(head: &response::Parts) -> Result<(), Problem> {
    let status = head.status;
    if status.is_redirection() {
        return Err(Problem::new(
            Code::RedirectRejected,
            "The provider redirected the request. Redirects are not followed: the key would go along.",
        ));
    }
    if status.is_informational() {
        return Err(Problem::new(Code::UpstreamError, "The provider wanted to switch protocols."));
    }
    let identity = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"identity");
    if !head.headers.get_all(header::CONTENT_ENCODING).iter().all(identity) {
        return Err(Problem::new(
            Code::UpstreamError,
            "The provider compressed its answer without being asked to.",
        ));
    }
    Ok(())
}

/// Which key served, who pays, and what is left of the limits.
pub(super) struct Receipt {
    credential: KeyMode,
    credential_id: Option<CredentialId>,
    accounting: Accounting,
    overhead: Duration,
    left: Left,
}

impl Receipt {
    /// The one of a request, as far as it is known who serves it.
    pub(super) fn of(settlement: &Settlement) -> Self {
        let record = settlement.record();
        Self {
            credential: record.credential,
            credential_id: record.credential_id.clone(),
            accounting: record.accounting,
            overhead: settlement.overhead(),
            left: settlement.left(),
        }
    }

    /// Adds it to the headers of an answer.
    pub(super) fn put(&self, headers: &mut HeaderMap) {
        let credential = HeaderValue::from_static(self.credential.as_str());
        headers.insert(const { HeaderName::from_static("x-keyferry-credential") }, credential);
        if let Some(Ok(id)) = self.credential_id.as_ref().map(|id| HeaderValue::from_str(id.as_str())) {
            headers.insert(const { HeaderName::from_static("x-keyferry-credential-id") }, id);
        }
        let accounting = HeaderValue::from_static(self.accounting.as_str());
        headers.insert(const { HeaderName::from_static("x-keyferry-accounting") }, accounting);
        let micros = u64::try_from(self.overhead.as_micros()).unwrap_or(u64::MAX);
        let mut timing = Short::<48>::default();
        timing.text("kf;dur=").number(micros / 1000).text(".").digits(micros % 1000, 3);
        if let Some(timing) = timing.header() {
            headers.insert(const { HeaderName::from_static("server-timing") }, timing);
        }
        self.left.put(headers);
    }
}

/// The head of a request as the provider gets it, but for the key.
pub(super) fn head_up(
    method: &Method,
    path: &str,
    host: &ProviderHost,
    from: &HeaderMap,
) -> Result<RequestHead, BadPath> {
    let mut head = RequestHead::new(method, path, host)?;
    for (name, value) in from.iter().filter(|(name, _)| passes_up(name.as_str())) {
        head.add(name, value);
    }
    head.add(&header::ACCEPT_ENCODING, &HeaderValue::from_static("identity"));
    Ok(head)
}

/// Headers that each answer has besides the provider's: the receipt's, and those of all answers.
const OWN_DOWN: usize = 10;

/// What passes of a provider's headers. Their values are not pieces of a connection's buffer, in which there is more.
pub(super) fn headers_down(from: &HeaderMap) -> HeaderMap {
    let passes =
        |(name, value): &(&HeaderName, &HeaderValue)| passes_down(name.as_str()) && value.len() <= MAX_VALUE;
    let mut headers = HeaderMap::with_capacity(from.iter().filter(passes).count() + OWN_DOWN);
    for (name, value) in from.iter().filter(passes) {
        headers.append(name, value.clone());
    }
    headers
}

/// What the body of an answer is, as its head says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A stream of events.
    Events,
    /// A JSON text.
    Json,
    /// Anything else.
    Other,
}

/// What the media type says, whatever its parameters and case are.
pub(super) fn kind(headers: &HeaderMap) -> Kind {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = value.split(';').next().unwrap_or_default().trim().as_bytes();
    let suffix = kind.len().checked_sub(5).and_then(|at| kind.get(at..)).unwrap_or_default();
    if kind.eq_ignore_ascii_case(b"text/event-stream") {
        Kind::Events
    } else if kind.eq_ignore_ascii_case(b"application/json") || suffix.eq_ignore_ascii_case(b"+json") {
        Kind::Json
    } else {
        Kind::Other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kind_of_an_answer_is_told_whatever_its_case_and_parameters_are() {
        for (value, told) in [
            ("text/event-stream", Kind::Events),
            ("Text/Event-Stream ; charset=utf-8", Kind::Events),
            ("application/json", Kind::Json),
            ("APPLICATION/JSON; charset=utf-8", Kind::Json),
            ("application/problem+JSON", Kind::Json),
            ("+json", Kind::Json),
            ("json", Kind::Other),
            ("audio/mpeg", Kind::Other),
            ("", Kind::Other),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(value));
            assert_eq!(kind(&headers), told, "{value}");
        }
        assert_eq!(kind(&HeaderMap::new()), Kind::Other);
    }
}
