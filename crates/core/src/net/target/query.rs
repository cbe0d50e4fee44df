//! Decides whether a query has one reading and holds no credential; it must never hand on a decoded value.

use thiserror::Error;

/// The most parameters a query may have.
pub(super) const MAX_PARAMETERS: usize = 32;

/// Why a query is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum QueryRefused {
    /// More than 32 parameters.
    #[error("the query has more than {MAX_PARAMETERS} parameters")]
    TooManyParameters,
    /// A character that RFC 3986 §3.4 wants escaped, or a semicolon, which some parsers take for a separator.
    #[error("the query has a character that must be percent-encoded")]
    Character,
    /// A percent sign without two hexadecimal digits, or escapes that are not UTF-8 (overlong forms among them).
    #[error("the query has a malformed percent escape")]
    Escape,
    /// An escape that hides a control character, a backslash, or another escape.
    #[error("the query has a percent escape of a control character, a backslash or a percent sign")]
    HiddenCharacter,
}

/// Judges the text after the question mark.
pub(super) fn check(query: &str) -> Result<(), QueryRefused> {
    if query.split('&').count() > MAX_PARAMETERS {
        return Err(QueryRefused::TooManyParameters);
    }
    if !query.bytes().all(is_query_byte) {
        return Err(QueryRefused::Character);
    }
    query.split('&').try_for_each(|parameter| {
        let decoded = decode(parameter).ok_or(QueryRefused::Escape)?;
        // Only an escape can have put these here.
        if decoded.chars().any(|c| c == '\\' || c == '%' || is_control(c)) {
            return Err(QueryRefused::HiddenCharacter);
        }
        Ok(())
    })
}

/// Whether a parameter of a checked query is named like a credential.
pub(super) fn has_credential(query: &str) -> bool {
    pairs(query).any(|(name, _)| is_credential(name))
}

/// The parameters of a query as names and values, still encoded; a parameter without `=` has an empty value.
pub fn pairs(query: &str) -> impl Iterator<Item = (&str, &str)> {
    query
        .split('&')
        .filter(|parameter| !parameter.is_empty())
        .map(|parameter| parameter.split_once('=').unwrap_or((parameter, "")))
}

/// RFC 3986 §3.4 without the semicolon.
fn is_query_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,=:@/?%".contains(&byte)
}

/// C0, DEL and C1, and the two separators that end a line for some readers.
fn is_control(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')
}

/// Percent-decoding (RFC 3986 §2.1); `None` when an escape is malformed or the result is not UTF-8.
fn decode(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => hex_digit(bytes.next()?)? << 4 | hex_digit(bytes.next()?)?,
            plain => plain,
        });
    }
    String::from_utf8(decoded).ok()
}

fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

/// Compared as letters and digits only, so that `API-Key`, `api_key`, `api%5Fkey` and `apikey[]` are one name.
fn is_credential(name: &str) -> bool {
    let decoded = decode(name).unwrap_or_default();
    let folded: String =
        decoded.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
    CREDENTIAL_NAMES.contains(&folded.as_str())
        || CREDENTIAL_ENDINGS.iter().any(|ending| folded.ends_with(ending))
}

const CREDENTIAL_NAMES: &[&str] = &[
    "auth",
    "awsaccesskeyid",
    "bearer",
    "idtoken",
    "jwt",
    "key",
    "passwd",
    "pwd",
    "refreshtoken",
    "sessiontoken",
    "sig",
    "token",
    "xbyokkeys",
    "xkeyferrytoken",
    "keyferrytoken",
    "byokkeys",
];

/// Each with any prefix: `x-goog-api-key`, `client_secret`, `X-Amz-Signature`, `ocp-apim-subscription-key`.
const CREDENTIAL_ENDINGS: &[&str] = &[
    "accesskey",
    "accesstoken",
    "apikey",
    "apitoken",
    "authkey",
    "authorization",
    "authtoken",
    "bearertoken",
    "byokkey",
    "credential",
    "credentials",
    "encryptedkey",
    "password",
    "privatekey",
    "sealedkey",
    "secret",
    "secretkey",
    "securitytoken",
    "sessionkey",
    "signature",
    "subscriptionkey",
];
