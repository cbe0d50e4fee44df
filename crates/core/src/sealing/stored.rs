//! Sealing keys: what clients seal a key to, and how often a sealed key is good.

use crate::{time::Timestamp, wrapped::WrappedKey};

/// How far the time of a sealed key may be from ours, in seconds.
pub const SKEW_SECS: i64 = 120;

/// A sealing key as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredSealingKey {
    /// Its KEM, a number of the HPKE registry (RFC 9180 §7.1).
    pub kem: u16,
    /// The public half, as the KEM serialises it.
    pub public_key: Vec<u8>,
    /// From when on clients may seal to it.
    pub not_before: Timestamp,
    /// Until when it opens.
    pub not_after: Timestamp,
    /// The private half; its id is the key's.
    pub private: WrappedKey,
}

impl StoredSealingKey {
    /// Its id.
    pub fn kid(&self) -> &str {
        &self.private.id
    }

    /// Whether it opens what is sealed at some time.
    pub fn is_live(&self, at: Timestamp) -> bool {
        self.not_before <= at.plus_secs(SKEW_SECS) && at < self.not_after
    }
}

/// Whether a sealed key may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SealUse {
    /// It may.
    Allowed,
    /// It was used as often as it may be, or by somebody else.
    UsedUp,
    /// The sealing key was destroyed.
    KeyGone,
}

/// One use of a sealed key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealClaim {
    /// The sealing key.
    pub kid: String,
    /// SHA-256 over the key's id and the nonce.
    pub key: [u8; 32],
    /// SHA-256 over who uses it: nobody else may use it again.
    pub owner: [u8; 32],
    /// How often it may be used.
    pub max_uses: u32,
    /// Until when it would be accepted, and must be remembered.
    pub until: Timestamp,
}
