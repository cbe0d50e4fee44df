//! What is left to judge of an HTTP/2 head once the library has read it (RFC 9113 §8).
//!
//! The library refuses connection-specific fields, forbidden characters, misplaced pseudo-headers
//! and lengths that disagree. Here come the rules it leaves to the application, and those that
//! hold for both versions.

use http::{header, request::Parts, uri::Scheme};

use super::{
    Reason,
    fields::{Fields, NO_BODY, is_authority, may_have_body},
    head::{check_method, check_target},
};

/// Judges a request's head.
///
/// The scheme must be `https`: over TLS there is no other, and without TLS, HTTP/2 is for proxies
/// that end TLS in front of the gateway and pass on the scheme of their client.
pub fn judge(parts: &Parts, has_body: bool) -> Result<(), Reason> {
    if parts.uri.scheme() != Some(&Scheme::HTTPS) {
        return Err(Reason("HTTP/2 is accepted over TLS, or from a proxy that ended it (scheme https)."));
    }
    check_method(parts.method.as_str().as_bytes())?;
    let target = parts.uri.path_and_query().map_or("", |target| target.as_str());
    check_target(target.as_bytes())?;
    let authority = parts.uri.authority().map_or("", |authority| authority.as_str());
    if !is_authority(authority.as_bytes()) {
        return Err(Reason("The authority is not a host name with an optional port."));
    }
    let mut fields = Fields::default();
    fields.take(b"host", authority.as_bytes())?;
    for (name, value) in &parts.headers {
        let value = value.as_bytes();
        if [value.first(), value.last()].into_iter().flatten().any(|b| matches!(b, b' ' | b'\t')) {
            return Err(Reason("A header field's value has white space around it."));
        }
        if name == header::HOST {
            if value != authority.as_bytes() {
                return Err(Reason("The Host header is not the authority."));
            }
            continue;
        }
        fields.take(name.as_str().as_bytes(), value)?;
    }
    let method = parts.method.as_str().as_bytes();
    fields.finish(method)?;
    if has_body && !may_have_body(method) {
        return Err(NO_BODY);
    }
    Ok(())
}
