//! Keys as they are stored: wrapped under a root.

use keyferry_envelope::{Entropy, KekId, KeyContext, KeyPurpose};

use crate::{
    id::{self, TenantId},
    time::Timestamp,
};

/// A key under a root: a tenant's KEK, the service secret, or a sealing key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrappedKey {
    /// What it is for.
    pub purpose: KeyPurpose,
    /// Its tenant; empty for the installation's own.
    pub owner: String,
    /// Its name.
    pub id: String,
    /// The root that wraps it ([`Root::id`](crate::port::root::Root::id)).
    pub root: String,
    /// What that root made of it.
    pub wrapped: Vec<u8>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Since when a newer one is used in its place; it still opens what it wraps.
    pub retired_at: Option<Timestamp>,
}

impl WrappedKey {
    /// What it is bound to.
    pub fn context(&self) -> KeyContext<'_> {
        KeyContext { purpose: self.purpose, owner: &self.owner, id: &self.id }
    }

    /// The name, as envelopes carry it.
    pub fn kek_id(&self) -> KekId {
        KekId::new(self.id.clone())
    }
}

/// A fresh name for a tenant's KEK, ordered by time.
pub fn make_kek_id(now: Timestamp, entropy: &dyn Entropy) -> String {
    id::make("kek_", now, entropy).into()
}

/// A fresh name for a sealing key, ordered by time.
pub fn make_sealing_key_id(now: Timestamp, entropy: &dyn Entropy) -> String {
    id::make("seal_", now, entropy).into()
}

/// How many versions of credentials a tenant's KEK wraps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KekUse {
    /// Whose.
    pub tenant: TenantId,
    /// Which.
    pub kek: String,
    /// Under which root.
    pub root: String,
    /// Whether a newer one is used in its place.
    pub retired: bool,
    /// How many.
    pub versions: u64,
}
