//! Decides whether a base URL may be configured, and reduces it to what is dialled; it must never keep the text it read.
//!
//! The text must already be canonical: parsed and written again it equals itself, up to the case of scheme and host, a
//! written-out `:443` and one trailing slash. The parser below is the whole grammar, on purpose. General URL parsers
//! disagree with each other (RFC 3986 and WHATWG name different hosts in `https://a\@b/`), and the distance between two
//! of them is where keys leave.

use std::fmt;

use serde_json::Value;
use thiserror::Error;

use super::host::{HostRefused, HostSet, ProviderHost};
use super::path::{self, PathRefused};

/// The longest base URL, in bytes.
pub const MAX_BYTES: usize = 2048;

/// Where a provider is reached: always HTTPS, always port 443.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BaseUrl {
    host: ProviderHost,
    path: String,
    origin: String,
}

/// Why a base URL is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BaseUrlRefused {
    /// The candidate is not a JSON string.
    #[error("a base URL must be a string")]
    NotText,
    /// More than [`MAX_BYTES`].
    #[error("the base URL is longer than {MAX_BYTES} bytes")]
    TooLong,
    /// Whitespace, a control character or anything outside ASCII, which parsers strip or map each in their own way.
    #[error("the base URL may have only visible ASCII characters")]
    Character,
    /// A backslash, which WHATWG reads as a slash and RFC 3986 does not.
    #[error("the base URL has a backslash")]
    Backslash,
    /// Anything but `https://`.
    #[error("the base URL must begin with https://")]
    Scheme,
    /// A query, even an empty one.
    #[error("the base URL has a query")]
    Query,
    /// A fragment, even an empty one.
    #[error("the base URL has a fragment")]
    Fragment,
    /// User information, where pasted keys and disguised hosts are found.
    #[error("the base URL has user information before its host")]
    UserInfo,
    /// A port other than exactly `443`.
    #[error("the port must be 443, or be left out")]
    Port,
    /// The host is not the name of a provider.
    #[error("the host is refused: {0}")]
    Host(#[from] HostRefused),
    /// The path has more than one reading.
    #[error(transparent)]
    Path(#[from] PathRefused),
    /// No configured provider has this host.
    #[error("the host belongs to no configured provider")]
    NotListed,
}

impl BaseUrl {
    /// Reads a base URL that is already canonical.
    pub fn parse(text: &str) -> Result<Self, BaseUrlRefused> {
        let (authority, after_slash) = split(text)?;
        let host = ProviderHost::parse(&host_of(authority)?.to_ascii_lowercase())?;
        path::check(after_slash)?;
        let path = match path::without_trailing_slash(after_slash) {
            "" => String::new(),
            segments => format!("/{segments}"),
        };
        let origin = format!("https://{host}");
        Ok(Self { host, path, origin })
    }

    /// The name that is resolved, verified and sent as `Host`.
    pub fn host(&self) -> &ProviderHost {
        &self.host
    }

    /// The prefix of every request path: empty, or a slash first and none last, like `/v1`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Scheme and host without a path, like `https://api.openai.com`.
    pub fn origin(&self) -> &str {
        &self.origin
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "https://{}{}", self.host, self.path)
    }
}

/// Judges a candidate that is still JSON: a string, canonical, and on the host of a configured provider.
pub fn judge(candidate: &Value, allowlist: &HostSet) -> Result<BaseUrl, BaseUrlRefused> {
    let text = candidate.as_str().ok_or(BaseUrlRefused::NotText)?;
    let base_url = BaseUrl::parse(text)?;
    if !allowlist.contains(base_url.host()) {
        return Err(BaseUrlRefused::NotListed);
    }
    Ok(base_url)
}

/// The authority, and what follows the first slash after it.
fn split(text: &str) -> Result<(&str, &str), BaseUrlRefused> {
    if text.len() > MAX_BYTES {
        return Err(BaseUrlRefused::TooLong);
    }
    if !text.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(BaseUrlRefused::Character);
    }
    if text.contains('\\') {
        return Err(BaseUrlRefused::Backslash);
    }
    let rest = match text.split_once("://") {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => rest,
        _ => return Err(BaseUrlRefused::Scheme),
    };
    // Before the authority is cut: in `https://a?@b/` or `https://a#@b/` it ends at another place for each parser.
    if rest.contains('#') {
        return Err(BaseUrlRefused::Fragment);
    }
    if rest.contains('?') {
        return Err(BaseUrlRefused::Query);
    }
    Ok(rest.split_once('/').unwrap_or((rest, "")))
}

/// The host of an authority, which is exactly `name` or `name:443`.
fn host_of(authority: &str) -> Result<&str, BaseUrlRefused> {
    if authority.contains('@') {
        return Err(BaseUrlRefused::UserInfo);
    }
    if authority.starts_with('[') {
        return Err(HostRefused::AddressLiteral.into());
    }
    match authority.split_once(':') {
        None => Ok(authority),
        // Compared as text: `0443`, `+443` and 4294967739 are the number 443 to someone.
        Some((name, "443")) => Ok(name),
        Some(_) => Err(BaseUrlRefused::Port),
    }
}
