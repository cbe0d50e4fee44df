//! A credential: a provider's key in custody, always sealed, and its loggable twin.

use keyferry_envelope::Sealed;
use serde::Serialize;

use crate::{
    id::{CredentialId, ProviderId, TenantId},
    time::Timestamp,
    verdict::KeyStatus,
    wrapped::WrappedKey,
};

/// The label of a key that was stored without one.
pub const DEFAULT_LABEL: &str = "default";

/// What people and logs may see of a stored key. There is no key in here, and no way to one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CredentialSummary {
    /// Made by the gateway.
    pub id: CredentialId,
    /// Whose it is.
    #[serde(skip)]
    pub tenant: TenantId,
    /// Which provider it opens.
    pub provider: ProviderId,
    /// One active key each tenant, provider and label.
    pub label: String,
    /// Counts rotations from 1.
    pub version: u32,
    /// Whether it can still be used.
    pub state: State,
    /// The last four characters of the key, empty when the key is short.
    pub last4: String,
    /// A keyed fingerprint: equal keys of one tenant show alike, nothing can be computed from it.
    pub fingerprint: String,
    /// The key that wraps this one.
    pub kek_id: String,
    /// When it was stored.
    pub created_at: Timestamp,
    /// Who stored it.
    pub created_by: String,
    /// When a request last used it.
    pub last_used_at: Option<Timestamp>,
    /// What the last test said.
    pub test: TestResult,
}

/// Where a credential is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Serves requests.
    Active,
    /// Its wrapped key was destroyed; nobody can open it again.
    Revoked,
}

impl State {
    /// The name on the wire and in the store.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Revoked => "revoked",
        }
    }
}

/// The last verdict on a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct TestResult {
    /// One of ten states.
    pub status: KeyStatus,
    /// When it was found.
    pub at: Option<Timestamp>,
}

/// An active credential with what is needed to open it.
#[derive(Debug)]
pub struct SealedCredential {
    /// Its loggable twin.
    pub summary: CredentialSummary,
    /// The upstream origin it was stored for; part of what it is bound to.
    pub origin: String,
    /// The sealed key.
    pub sealed: Sealed,
    /// The KEK that wraps its DEK; `None` if the store has lost it.
    pub kek: Option<WrappedKey>,
}

/// A version of a credential that lies under a KEK that was replaced.
#[derive(Debug)]
pub struct VersionToMove {
    /// Whose.
    pub tenant: TenantId,
    /// For which provider.
    pub provider: ProviderId,
    /// Which credential.
    pub credential: CredentialId,
    /// Which version.
    pub version: u32,
    /// The origin it is bound to.
    pub origin: String,
    /// The sealed key.
    pub sealed: Sealed,
    /// The KEK that wraps its DEK.
    pub kek: WrappedKey,
}

/// A version under its new KEK.
#[derive(Debug)]
pub struct MovedVersion {
    /// Which credential.
    pub credential: CredentialId,
    /// Which version.
    pub version: u32,
    /// What must still stand there.
    pub old_wrapped_dek: Vec<u8>,
    /// What takes its place.
    pub sealed: Sealed,
}
