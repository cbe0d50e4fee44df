//! The row that each admitted request leaves behind.

use serde::{Deserialize, Serialize};

use crate::{
    id::{CredentialId, ProviderId, RequestId, TenantId},
    time::Timestamp,
    usage::{TokenUsage, UsageSource},
};

/// In which way the key came that served a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyMode {
    /// Stored with the gateway.
    Held,
    /// Sent with the request.
    Carried,
    /// Sent with the request, encrypted under a key beside it.
    Session,
    /// Sent with the request, sealed to the gateway.
    Sealed,
    /// The platform's own.
    Platform,
}

impl KeyMode {
    /// The name on the wire and in the store.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Carried => "carried",
            Self::Session => "session",
            Self::Sealed => "sealed",
            Self::Platform => "platform",
        }
    }
}

/// Who pays the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Accounting {
    /// The tenant, with its own key: reserves nothing and settles nothing.
    #[serde(rename = "BYOK_NO_BUDGET")]
    ByokNoBudget,
    /// The platform, out of what it allows for the tenant.
    #[serde(rename = "PLATFORM_BUDGET")]
    PlatformBudget,
}

impl Accounting {
    /// The name on the wire and in the store.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ByokNoBudget => "BYOK_NO_BUDGET",
            Self::PlatformBudget => "PLATFORM_BUDGET",
        }
    }
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The provider answered, and the answer was passed on whole.
    Ok,
    /// The provider answered with an error of its own.
    ProviderError,
    /// The provider could not be reached, or its answer could not be used.
    UpstreamError,
    /// The provider was too slow.
    Timeout,
    /// The provider broke off a stream that had begun.
    Cut,
    /// The client went away first.
    Cancelled,
}

impl Outcome {
    /// The name on the wire and in the store.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::ProviderError => "provider_error",
            Self::UpstreamError => "upstream_error",
            Self::Timeout => "timeout",
            Self::Cut => "cut",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether it counts among a tenant's errors.
    pub const fn is_error(self) -> bool {
        !matches!(self, Self::Ok)
    }
}

/// One admitted request, as it is kept.
#[derive(Clone, Debug)]
pub struct UsageRecord {
    /// Unique; a second row of the same id is dropped.
    pub request_id: RequestId,
    /// When it was admitted.
    pub at: Timestamp,
    /// Whose it was.
    pub tenant: TenantId,
    /// Who asked: a token id, or issuer and subject.
    pub caller: String,
    /// Which provider served it.
    pub provider: ProviderId,
    /// The model asked for or, where the answer names one, answered with.
    pub model: Option<String>,
    /// Which operation, by its name in the operation table.
    pub operation: &'static str,
    /// In which way the key came.
    pub credential: KeyMode,
    /// The stored key that served it.
    pub credential_id: Option<CredentialId>,
    /// Who pays.
    pub accounting: Accounting,
    /// The status that was answered.
    pub status: u16,
    /// How it ended.
    pub outcome: Outcome,
    /// What it consumed.
    pub usage: TokenUsage,
    /// Where that is known from.
    pub usage_source: UsageSource,
    /// What the platform pays for it, in micro-USD.
    pub cost_micro_usd: u64,
    /// From admission to the last byte.
    pub latency_ms: u64,
    /// Spent in the gateway before the provider was called.
    pub overhead_us: u64,
}
