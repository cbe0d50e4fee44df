//! Decides whether the target of a client's request has one reading; it must never be the source of a destination.
//!
//! The gateway takes the upstream path from its route table, not from here. A target that two parsers read differently
//! is refused all the same, before any key is opened: authorisation, routing, logs and whatever stands in front must
//! have seen the same request.

mod query;

use std::borrow::Cow;

use thiserror::Error;

use super::path::{self, PathRefused};

pub use query::QueryRefused;
pub use query::pairs as query_pairs;

/// The longest request target, in bytes.
pub const MAX_BYTES: usize = 2048;

/// Why a request target is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TargetRefused {
    /// More than [`MAX_BYTES`].
    #[error("the request target is longer than {MAX_BYTES} bytes")]
    TooLong,
    /// Absolute, authority or asterisk form, or nothing (RFC 9112 §3.2): only origin form names no destination.
    #[error("the request target must be a path that begins with '/'")]
    NotOriginForm,
    /// Whitespace, a control character or a byte outside ASCII.
    #[error("the request target may have only visible ASCII characters")]
    Character,
    /// A backslash, which some parsers read as a slash.
    #[error("the request target has a backslash")]
    Backslash,
    /// A fragment, which no client sends (RFC 9110 §7.1).
    #[error("the request target has a fragment")]
    Fragment,
    /// The path has more than one reading.
    #[error(transparent)]
    Path(#[from] PathRefused),
    /// The query has more than one reading.
    #[error(transparent)]
    Query(#[from] QueryRefused),
    /// A credential in the query, where proxies and logs keep it.
    #[error("the query has a credential: send it in a header")]
    CredentialInQuery,
}

/// Where a name stands in the path that has a slash of its own.
const NAMES: &str = "v1/models/";
const ESCAPED_SLASH: &str = "%2F";

/// The path to judge: the name of a model with its slash in plain, which official SDKs write with an escape.
///
/// It is the one escape that is let through, at the end of the one path where both readings mean the same: there a
/// slash divides nothing, no provider is called, and whoever decodes it names the same model.
fn plain(after_slash: &str) -> Cow<'_, str> {
    match after_slash.strip_prefix(NAMES).map(model_name) {
        Some(Cow::Owned(name)) => Cow::Owned(format!("{NAMES}{name}")),
        _ => Cow::Borrowed(after_slash),
    }
}

/// The name of a model as it stands in a path that was judged.
pub fn model_name(in_path: &str) -> Cow<'_, str> {
    if in_path.contains(ESCAPED_SLASH) {
        Cow::Owned(in_path.replace(ESCAPED_SLASH, "/"))
    } else {
        Cow::Borrowed(in_path)
    }
}

/// Judges a request target as it stood on the wire.
pub fn check(target: &[u8]) -> Result<(), TargetRefused> {
    if target.len() > MAX_BYTES {
        return Err(TargetRefused::TooLong);
    }
    let text = str::from_utf8(target).map_err(|_| TargetRefused::Character)?;
    if !text.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(TargetRefused::Character);
    }
    if text.contains('\\') {
        return Err(TargetRefused::Backslash);
    }
    if text.contains('#') {
        return Err(TargetRefused::Fragment);
    }
    let after_slash = text.strip_prefix('/').ok_or(TargetRefused::NotOriginForm)?;
    let (path, query) = after_slash.split_once('?').unwrap_or((after_slash, ""));
    path::check(&plain(path))?;
    query::check(query)?;
    if query::has_credential(query) {
        return Err(TargetRefused::CredentialInQuery);
    }
    Ok(())
}
