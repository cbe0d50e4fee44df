//! The root port: where the keys that wrap keys are wrapped in turn. A key-management system, a
//! hardware module, or a master secret in a file.

use async_trait::async_trait;
use keyferry_envelope::{KeyContext, SecretBytes};

/// Why a root did not do it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RootError {
    /// What was to be unwrapped was wrapped for another purpose, owner or name, or by another root,
    /// or was changed. Asking again changes nothing.
    #[error("the root does not open this")]
    Refused,
    /// It was wrapped under a version of the root's key that the operator has retired. The operator can
    /// bring it back.
    #[error("the root does not open this any more: {0}")]
    Outdated(&'static str),
    /// It did not answer, not in time, or that it cannot now (throttled, sealed, failing).
    #[error("the root is away: {0}")]
    Away(String),
    /// It does not let us: the token has run out, or a policy is missing.
    #[error("the root denies: {0}")]
    Denied(String),
    /// What it answered is no answer.
    #[error("the root answered garbage: {0}")]
    Garbage(&'static str),
    /// It failed too often; nobody asks it until the breaker lets one probe through.
    #[error("the root's circuit is open")]
    CircuitOpen {
        /// Milliseconds until the probe.
        retry_after_ms: u64,
    },
}

impl RootError {
    /// Whether it is about the bytes that were to be unwrapped: others may still be opened.
    pub const fn is_about_bytes(&self) -> bool {
        matches!(self, Self::Refused | Self::Outdated(_))
    }

    /// Whether it says something about the root, and not about what was asked.
    pub const fn is_failure(&self) -> bool {
        !self.is_about_bytes() && !matches!(self, Self::CircuitOpen { .. })
    }
}

/// What a root tells of the versions of its own key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyVersions {
    /// It has one, for ever.
    One,
    /// It may have several, and does not tell which of them wrapped what.
    Untold,
    /// The newest has this number, and [`Root::version_of`] tells which one wrapped what.
    Newest(u32),
}

/// A root. Errors never carry a byte of a key, nor text that a server sent.
#[async_trait]
pub trait Root: Send + Sync {
    /// Its name, stored beside everything it wraps. The same root has the same name everywhere.
    fn id(&self) -> &str;

    /// Wraps a key of 32 bytes. What comes out is at most 4 KiB and holds nothing secret.
    async fn wrap(&self, context: &KeyContext<'_>, key: &SecretBytes) -> Result<Vec<u8>, RootError>;

    /// Unwraps what [`wrap`](Self::wrap) returned for the same context.
    async fn unwrap(&self, context: &KeyContext<'_>, wrapped: &[u8]) -> Result<SecretBytes, RootError>;

    /// The same key under the newest version of the root's own key; `None` if it is already.
    async fn renew(&self, context: &KeyContext<'_>, wrapped: &[u8]) -> Result<Option<Vec<u8>>, RootError>;

    /// What it tells of the versions of its own key. One call, however many keys it has wrapped.
    async fn versions(&self) -> Result<KeyVersions, RootError>;

    /// The version that wrapped this, where the bytes say so. Nobody is asked.
    fn version_of(&self, _wrapped: &[u8]) -> Option<u32> {
        None
    }

    /// Whether what we prove ourselves with has become another since the root denied it. True once for
    /// each that is new.
    async fn has_other_credentials(&self) -> bool {
        false
    }
}
