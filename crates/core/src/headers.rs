//! The header allowlists, both ways. What is not named here does not pass.
//!
//! Two lists of what may pass instead of lists of what may not: a denylist fails on the next
//! header somebody invents (`x_forwarded_for`, `cf-connecting-ip`, a new SDK's).

/// The longest value of a header that passes, in bytes.
pub const MAX_VALUE: usize = 4096;

/// Headers in which a secret of the caller's may arrive. None of them ever leaves the gateway.
///
/// The last three are nobody's here. They are what a client sends that was made for another gateway, or for a browser.
pub const SECRET: [&str; 12] = [
    "authorization",
    "x-api-key",
    "x-goog-api-key",
    "x-keyferry-token",
    "x-byok-key",
    "x-byok-keys",
    "x-encrypted-key",
    "x-session-key",
    "x-sealed-key",
    "api-key",
    "proxy-authorization",
    "cookie",
];

/// Whether a request header goes on to the provider. `name` is in lower case.
pub fn passes_up(name: &str) -> bool {
    matches!(
        name,
        "accept"
            | "content-type"
            | "user-agent"
            | "anthropic-version"
            | "anthropic-beta"
            | "openai-beta"
            | "openai-organization"
            | "openai-project"
            | "idempotency-key"
            | "x-goog-api-client"
            | "x-server-timeout"
    ) || name.starts_with("x-stainless-")
}

/// Whether a response header goes back to the client. `name` is in lower case.
pub fn passes_down(name: &str) -> bool {
    matches!(
        name,
        "content-type"
            | "retry-after"
            | "retry-after-ms"
            | "x-should-retry"
            | "x-request-id"
            | "request-id"
            | "openai-processing-ms"
            | "openai-version"
            | "openai-model"
    ) || name.starts_with("x-ratelimit-")
        || name.starts_with("anthropic-ratelimit-")
}
