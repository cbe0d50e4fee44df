//! Decides whether a URL path has one reading only; it must never decode or shorten a path to give it one.
//!
//! The alphabet is that of RFC 3986 `unreserved` and the colon, which model names and Gemini verbs need. Without
//! escapes, parameters, dot segments and empty segments, a proxy, a router and an origin cannot read a path apart.

use thiserror::Error;

/// Why a path is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PathRefused {
    /// Two slashes in a row, which some parsers join and others take for a new authority.
    #[error("the path has an empty segment")]
    EmptySegment,
    /// A segment `.` or `..` (RFC 3986 §5.2.4).
    #[error("the path has a dot segment")]
    DotSegment,
    /// A percent escape: each character that may stand in a path is written plainly.
    #[error("the path has a percent escape")]
    Escape,
    /// A character outside letters, digits and `-._~:`.
    #[error("the path may have only letters, digits, '-', '.', '_', '~', ':' and '/'")]
    Character,
}

/// Judges what follows the first slash of a path; one trailing slash is no segment.
pub(super) fn check(after_slash: &str) -> Result<(), PathRefused> {
    if after_slash.is_empty() {
        return Ok(());
    }
    without_trailing_slash(after_slash).split('/').try_for_each(check_segment)
}

/// The path without its one trailing slash.
pub(super) fn without_trailing_slash(path: &str) -> &str {
    path.strip_suffix('/').unwrap_or(path)
}

fn check_segment(segment: &str) -> Result<(), PathRefused> {
    if segment.is_empty() {
        return Err(PathRefused::EmptySegment);
    }
    if segment.contains('%') {
        return Err(PathRefused::Escape);
    }
    if matches!(segment, "." | "..") {
        return Err(PathRefused::DotSegment);
    }
    if !segment.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~:".contains(&b)) {
        return Err(PathRefused::Character);
    }
    Ok(())
}
