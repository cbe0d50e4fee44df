//! The closed list of error codes and the status each is answered with.

/// A code of the contract. Its text is what a program matches on; it never changes meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// 400: the request is malformed, or has two readings.
    InvalidRequest,
    /// 400: no such provider is configured.
    UnknownProvider,
    /// 400: the provider has no such operation here.
    UnknownOperation,
    /// 400: the body is not the one the token was made for.
    HashMismatch,
    /// 400: a key that came encrypted does not open; nothing says which part was wrong.
    DecryptionFailed,
    /// 400: no sealing key of this id is live.
    SealingKeyUnknown,
    /// 400: a sealed key's time is too far from ours.
    SealStale,
    /// 401: no token, or one that is not accepted.
    Unauthorized,
    /// 402: the platform would have to pay more than it allows for this tenant.
    BudgetExceeded,
    /// 403: a good token that may not do this.
    Forbidden,
    /// 403: the token may not use this model.
    ModelNotAllowed,
    /// 403: the upstream host resolved to an address that must not be dialled.
    SsrfBlocked,
    /// 403: the token claims a key that the store does not have.
    NotEligible,
    /// 404: no such thing.
    NotFound,
    /// 404: BYOK is off here.
    Disabled,
    /// 404: a good token, but no key for this provider.
    KeyNotFound,
    /// 409: the state does not allow this change.
    Conflict,
    /// 409: a token id was used before.
    ReplayDetected,
    /// 413: larger than the limit of this operation.
    RequestTooLarge,
    /// 429: too many requests in a short time.
    RateLimited,
    /// 429: the day's requests are used up.
    QuotaExceeded,
    /// 502: the provider's answer could not be used.
    UpstreamError,
    /// 502: the provider's answer is larger than the limit.
    ResponseTooLarge,
    /// 502: the provider redirected; that is never followed.
    RedirectRejected,
    /// 502: the provider's name did not resolve.
    DnsFailed,
    /// 503: a part of the gateway is away.
    ServiceUnavailable,
    /// 503: the root failed too often and is not asked for a while.
    KmsCircuitOpen,
    /// 504: the provider did not answer in time.
    UpstreamTimeout,
}

impl Code {
    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::UnknownProvider => "BYOK_UNKNOWN_PROVIDER",
            Self::UnknownOperation => "BYOK_UNKNOWN_OPERATION",
            Self::HashMismatch => "BYOK_HASH_MISMATCH",
            Self::DecryptionFailed => "BYOK_DECRYPTION_FAILED",
            Self::SealingKeyUnknown => "BYOK_SEALING_KEY_UNKNOWN",
            Self::SealStale => "BYOK_SEAL_STALE",
            Self::Unauthorized => "unauthorized",
            Self::BudgetExceeded => "BUDGET_EXCEEDED",
            Self::Forbidden => "forbidden",
            Self::ModelNotAllowed => "MODEL_NOT_ALLOWED",
            Self::SsrfBlocked => "BYOK_SSRF_BLOCKED",
            Self::NotEligible => "BYOK_NOT_ELIGIBLE",
            Self::NotFound => "not_found",
            Self::Disabled => "BYOK_DISABLED",
            Self::KeyNotFound => "BYOK_KEY_NOT_FOUND",
            Self::Conflict => "conflict",
            Self::ReplayDetected => "BYOK_REPLAY_DETECTED",
            Self::RequestTooLarge => "request_too_large",
            Self::RateLimited => "RATE_LIMITED",
            Self::QuotaExceeded => "BYOK_QUOTA_EXCEEDED",
            Self::UpstreamError => "BYOK_UPSTREAM_ERROR",
            Self::ResponseTooLarge => "BYOK_RESPONSE_TOO_LARGE",
            Self::RedirectRejected => "BYOK_REDIRECT_REJECTED",
            Self::DnsFailed => "BYOK_DNS_FAILED",
            Self::ServiceUnavailable => "BYOK_SERVICE_UNAVAILABLE",
            Self::KmsCircuitOpen => "KMS_CIRCUIT_OPEN",
            Self::UpstreamTimeout => "BYOK_UPSTREAM_TIMEOUT",
        }
    }

    /// The HTTP status it is answered with.
    pub const fn status(self) -> u16 {
        match self {
            Self::InvalidRequest
            | Self::UnknownProvider
            | Self::UnknownOperation
            | Self::HashMismatch
            | Self::DecryptionFailed
            | Self::SealingKeyUnknown
            | Self::SealStale => 400,
            Self::Unauthorized => 401,
            Self::BudgetExceeded => 402,
            Self::Forbidden | Self::ModelNotAllowed | Self::SsrfBlocked | Self::NotEligible => 403,
            Self::NotFound | Self::Disabled | Self::KeyNotFound => 404,
            Self::Conflict | Self::ReplayDetected => 409,
            Self::RequestTooLarge => 413,
            Self::RateLimited | Self::QuotaExceeded => 429,
            Self::UpstreamError | Self::ResponseTooLarge | Self::RedirectRejected | Self::DnsFailed => 502,
            Self::ServiceUnavailable | Self::KmsCircuitOpen => 503,
            Self::UpstreamTimeout => 504,
        }
    }

    /// Every code, in the order of their status.
    pub const ALL: [Self; 28] = [
        Self::InvalidRequest,
        Self::UnknownProvider,
        Self::UnknownOperation,
        Self::HashMismatch,
        Self::DecryptionFailed,
        Self::SealingKeyUnknown,
        Self::SealStale,
        Self::Unauthorized,
        Self::BudgetExceeded,
        Self::Forbidden,
        Self::ModelNotAllowed,
        Self::SsrfBlocked,
        Self::NotEligible,
        Self::NotFound,
        Self::Disabled,
        Self::KeyNotFound,
        Self::Conflict,
        Self::ReplayDetected,
        Self::RequestTooLarge,
        Self::RateLimited,
        Self::QuotaExceeded,
        Self::UpstreamError,
        Self::ResponseTooLarge,
        Self::RedirectRejected,
        Self::DnsFailed,
        Self::ServiceUnavailable,
        Self::KmsCircuitOpen,
        Self::UpstreamTimeout,
    ];
}
