//! What a request consumed, in tokens. Never prices it: money is the ledger's.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Token counts of one request, in one meaning for all providers.
///
/// Providers disagree about what their "input" holds, so the counts are brought to this meaning where they are read:
///
/// | | `input` | `cached_input` | `output` |
/// |---|---|---|---|
/// | OpenAI | `prompt_tokens` or `input_tokens` (cached ones are inside) | `cached_tokens` of the details | `completion_tokens` or `output_tokens`; what `total_tokens` shows beyond both counts too |
/// | Anthropic | `input_tokens` + `cache_read_input_tokens` + `cache_creation_input_tokens` | `cache_read_input_tokens` | `output_tokens` |
/// | Gemini | `promptTokenCount` (cached ones are inside) + `toolUsePromptTokenCount` | `cachedContentTokenCount` | `candidatesTokenCount` + `thoughtsTokenCount` |
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct TokenUsage {
    /// All prompt tokens, those read from or written to a cache included.
    pub input: u64,
    /// The part of `input` that the provider read from its cache; never more than `input`.
    pub cached_input: u64,
    /// All generated tokens, hidden reasoning included where the provider tells it.
    pub output: u64,
}

/// Where the counts of a request come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UsageSource {
    /// The provider said so.
    Reported,
    /// At least one count is inferred from the size of the text.
    Estimated,
    /// Nothing was consumed that is counted in tokens, or nothing is known.
    None,
}

impl UsageSource {
    /// The name on the wire and in the store.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reported => "reported",
            Self::Estimated => "estimated",
            Self::None => "none",
        }
    }
}

impl fmt::Display for UsageSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for UsageSource {
    type Err = UnknownUsageSource;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Reported, Self::Estimated, Self::None]
            .into_iter()
            .find(|source| source.as_str() == text)
            .ok_or(UnknownUsageSource)
    }
}

/// The text names no [`UsageSource`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("not a usage source")]
pub struct UnknownUsageSource;

/// Tokens that a text of this many bytes is likely to be: one for every four bytes, rounded up.
///
/// Right within a third for European languages and code. It is used only where a provider reports nothing, and
/// always marked [`UsageSource::Estimated`].
pub const fn estimate_tokens(bytes: usize) -> u64 {
    (bytes as u64).div_ceil(4)
}
