//! How much memory the process may lock, and whether that is enough for its secrets.

use rustix::{
    process::{Resource, getrlimit},
    thread::{CapabilitySet, capabilities},
};

/// Locked memory that keys, their keys and their neighbours fit into. The first region of the pool alone
/// takes 64 KiB, the default of some container runtimes, and there is one for each length of secrets.
const ENOUGH: u64 = 1024 * 1024;

/// How much memory may be locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockLimit(Option<u64>);

impl LockLimit {
    /// Of this process, which raises what it may raise itself. The kernel does not ask whoever has
    /// `CAP_IPC_LOCK`.
    pub fn of_this_process() -> Self {
        let free = capabilities(None).is_ok_and(|now| now.effective.contains(CapabilitySet::IPC_LOCK));
        Self(getrlimit(Resource::Memlock).maximum.filter(|_| !free))
    }

    /// In bytes; `None` without any.
    pub fn bytes(self) -> Option<u64> {
        self.0
    }

    /// Whether secrets have room.
    pub fn is_enough(self) -> bool {
        self.0.is_none_or(|bytes| bytes >= ENOUGH)
    }
}
