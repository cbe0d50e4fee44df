//! Heads on their way: what passes up to a provider and down from it, and the receipt that goes with each answer.

use http::{HeaderMap, HeaderName, HeaderValue, header, response};
use keyferry_core::{
    code::Code,
    headers::{MAX_VALUE, passes_down, passes_up},
};

use super::settle::Settlement;
use crate::http::Problem;

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
pub(super) fn receipt(settlement: &Settlement) -> HeaderMap {
    let record = settlement.record();
    let mut headers = HeaderMap::with_capacity(6);
    headers.insert("x-keyferry-credential", HeaderValue::from_static(record.credential.as_str()));
    if let Some(Ok(id)) = record.credential_id.as_ref().map(|id| HeaderValue::from_str(id.as_str())) {
        headers.insert("x-keyferry-credential-id", id);
    }
    headers.insert("x-keyferry-accounting", HeaderValue::from_static(record.accounting.as_str()));
    let timing = format!("kf;dur={:.3}", settlement.overhead.as_secs_f64() * 1000.0);
    if let Ok(value) = HeaderValue::from_str(&timing) {
        headers.insert("server-timing", value);
    }
    settlement.left.put(&mut headers);
    headers
}

pub(super) fn headers_up(from: &HeaderMap) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(from.len() + 2);
    for (name, value) in from {
        if passes_up(name.as_str()) {
            headers.append(name.clone(), own(value));
        }
    }
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    headers
}

pub(super) fn headers_down(from: &HeaderMap) -> HeaderMap {
    let pass =
        |name: &HeaderName, value: &HeaderValue| passes_down(name.as_str()) && value.len() <= MAX_VALUE;
    from.iter()
        .filter(|(name, value)| pass(name, value))
        .map(|(name, value)| (name.clone(), own(value)))
        .collect()
}

/// A copy that stands alone. A value as it was read is a piece of the buffer of its connection, and keeps
/// that whole buffer, with every key in it, for as long as anybody remembers the value: the header
/// table of HTTP/2 does until its connection ends.
pub(super) fn own(value: &HeaderValue) -> HeaderValue {
    let copy = HeaderValue::from_bytes(value.as_bytes());
    copy.unwrap_or_else(|_| unreachable!("it was a header's value before"))
}

/// The media type without its parameters, in lower case.
pub(super) fn content_type(headers: &HeaderMap) -> String {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}
