//! Tells from a provider's answer how a key fares. Never calls a key invalid on a guess: what is not recognised is
//! [`KeyStatus::Untested`].

use std::{fmt, str::FromStr};

use serde::Serialize;
use serde_json::Value;
use thiserror::Error;

use crate::dialect::Dialect;

/// How a key fares with its provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyStatus {
    /// Nothing is known.
    Untested,
    /// It works.
    Ok,
    /// It is good but may not do everything.
    OkRestricted,
    /// The provider does not know it, or no longer.
    Invalid,
    /// The provider knows it and does not let it in: organization, project, referrer, address.
    Forbidden,
    /// Its account has no credit.
    NoCredit,
    /// It is good and was used too often.
    RateLimited,
    /// The provider does not serve the region of the gateway.
    RegionBlocked,
    /// The provider has trouble; tells nothing about the key.
    ProviderDown,
    /// The provider was not reached; tells nothing about the key.
    Unreachable,
}

impl KeyStatus {
    const ALL: [Self; 10] = [
        Self::Untested,
        Self::Ok,
        Self::OkRestricted,
        Self::Invalid,
        Self::Forbidden,
        Self::NoCredit,
        Self::RateLimited,
        Self::RegionBlocked,
        Self::ProviderDown,
        Self::Unreachable,
    ];

    /// The name on the wire and in the store.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Untested => "untested",
            Self::Ok => "ok",
            Self::OkRestricted => "ok_restricted",
            Self::Invalid => "invalid",
            Self::Forbidden => "forbidden",
            Self::NoCredit => "no_credit",
            Self::RateLimited => "rate_limited",
            Self::RegionBlocked => "region_blocked",
            Self::ProviderDown => "provider_down",
            Self::Unreachable => "unreachable",
        }
    }
}

impl fmt::Display for KeyStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for KeyStatus {
    type Err = UnknownKeyStatus;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|status| status.as_str() == text).ok_or(UnknownKeyStatus)
    }
}

/// The text names no [`KeyStatus`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("not a key status")]
pub struct UnknownKeyStatus;

/// Error bodies are small; a larger one is not read.
const MAX_BODY: usize = 64 * 1024;

/// What an answer says about the key that the request was made with.
///
/// Machine-readable codes decide first, then the HTTP status, and the message only where a status has several
/// meanings. All codes are known in all dialects, since compatible endpoints answer with codes of their own family.
pub fn classify(dialect: Dialect, status: u16, body: &[u8]) -> KeyStatus {
    match status {
        200..=299 => return KeyStatus::Ok,
        // No answer to a request, or a proxy's.
        0..=399 => return KeyStatus::Untested,
        500.. => return KeyStatus::ProviderDown,
        _ => {}
    }
    let error = ProviderError::read(body);
    error
        .codes()
        .find_map(|code| by_code(code, status))
        .or_else(|| by_status(status, &error.message))
        .unwrap_or_else(|| by_family(dialect, status, &error))
}

fn by_code(code: &str, status: u16) -> Option<KeyStatus> {
    let verdict = match code {
        "invalid_api_key" | "API_KEY_INVALID" | "authentication_error"
            if matches!(status, 400 | 401 | 403) =>
        {
            KeyStatus::Invalid
        }
        "missing_scope" | "insufficient_permissions" | "model_not_found" if matches!(status, 401 | 403) => {
            KeyStatus::OkRestricted
        }
        "mismatched_organization"
        | "mismatched_project"
        | "invalid_organization"
        | "invalid_project"
        | "no_organization"
        | "ip_not_authorized"
        | "account_deactivated"
        | "permission_error"
        | "SERVICE_DISABLED"
        | "CONSUMER_INVALID"
        | "CONSUMER_SUSPENDED" => KeyStatus::Forbidden,
        "insufficient_quota"
        | "billing_hard_limit_reached"
        | "billing_not_active"
        | "billing_error"
        | "BILLING_DISABLED" => KeyStatus::NoCredit,
        "unsupported_country_region_territory" => KeyStatus::RegionBlocked,
        "rate_limit_exceeded" | "rate_limit_error" | "RATE_LIMIT_EXCEEDED" => KeyStatus::RateLimited,
        "overloaded_error" | "api_error" | "timeout_error" => KeyStatus::ProviderDown,
        // `API_KEY_SERVICE_BLOCKED`, `API_KEY_HTTP_REFERRER_BLOCKED`, `API_KEY_IP_ADDRESS_BLOCKED` and their like.
        _ if code.ends_with("_BLOCKED") => KeyStatus::Forbidden,
        _ => return None,
    };
    Some(verdict)
}

/// The status, and the message where a status has several meanings.
fn by_status(status: u16, message: &str) -> Option<KeyStatus> {
    match status {
        400 | 401 | 403 => by_message(&message.to_ascii_lowercase()),
        402 => Some(KeyStatus::NoCredit),
        429 if message.to_ascii_lowercase().contains("credits") => Some(KeyStatus::NoCredit),
        429 => Some(KeyStatus::RateLimited),
        451 => Some(KeyStatus::RegionBlocked),
        _ => None,
    }
}

/// Phrases anywhere in the message, in lower case.
const PHRASES: [(&str, KeyStatus); 10] = [
    ("missing scopes", KeyStatus::OkRestricted),
    ("insufficient permissions", KeyStatus::OkRestricted),
    ("credit balance is too low", KeyStatus::NoCredit),
    ("user location is not supported", KeyStatus::RegionBlocked),
    ("country, region, or territory not supported", KeyStatus::RegionBlocked),
    ("header should match organization", KeyStatus::Forbidden),
    ("header should match project", KeyStatus::Forbidden),
    ("no such organization", KeyStatus::Forbidden),
    ("no such project", KeyStatus::Forbidden),
    ("must be a member of an organization", KeyStatus::Forbidden),
];

/// What a message about a bad key begins with. Further in it could be a quotation of the request.
const BAD_KEY: [&str; 4] = [
    "incorrect api key provided",
    "api key not valid",
    "api key expired",
    "your api key was reported as leaked",
];

fn by_message(message: &str) -> Option<KeyStatus> {
    if BAD_KEY.iter().any(|opening| message.starts_with(opening)) {
        return Some(KeyStatus::Invalid);
    }
    PHRASES.into_iter().find(|(phrase, _)| message.contains(phrase)).map(|(_, verdict)| verdict)
}

/// What remains: an error in the provider's own form, told by its status alone. A page of some proxy between says
/// nothing about the key.
fn by_family(dialect: Dialect, status: u16, error: &ProviderError) -> KeyStatus {
    match (status, dialect) {
        _ if !error.is_readable => KeyStatus::Untested,
        // OpenAI and its like answer 401 for scopes and organizations as well.
        (401, Dialect::Anthropic | Dialect::Gemini) => KeyStatus::Invalid,
        (403, _) => KeyStatus::Forbidden,
        _ => KeyStatus::Untested,
    }
}

/// The parts of an error body that say what happened.
#[derive(Default)]
struct ProviderError {
    is_readable: bool,
    code: Option<String>,
    kind: Option<String>,
    reasons: Vec<String>,
    message: String,
}

impl ProviderError {
    /// Builds a tree, which is well here: the body is small and this is not on the way of good answers.
    fn read(body: &[u8]) -> Self {
        let Some(Ok(root)) = body.get(..body.len().min(MAX_BODY)).map(serde_json::from_slice::<Value>) else {
            return Self::default();
        };
        // Gemini's OpenAI-compatible endpoint wraps the object into an array.
        let root = root.get(0).unwrap_or(&root);
        let Some(error) = root.get("error").filter(|error| error.is_object()) else {
            return Self::default();
        };
        let text = |name: &str| error.get(name).and_then(Value::as_str).map(str::to_owned);
        let reasons = error.get("details").and_then(Value::as_array).into_iter().flatten();
        Self {
            is_readable: true,
            code: text("code"),
            kind: text("type"),
            reasons: reasons.filter_map(|detail| Some(detail.get("reason")?.as_str()?.to_owned())).collect(),
            message: text("message").unwrap_or_default(),
        }
    }

    /// From the most exact to the most general.
    fn codes(&self) -> impl Iterator<Item = &str> {
        self.reasons.iter().chain(&self.code).chain(&self.kind).map(String::as_str)
    }
}
