//! What the process takes from others and from itself before it holds a secret.

use rustix::{
    fs::Mode,
    process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit, umask},
};

/// Why the process cannot be hardened.
#[derive(Debug, thiserror::Error)]
#[error("the process cannot be hardened: {0}")]
pub struct HardenError(#[from] rustix::io::Errno);

/// No core dumps; no other process of the same user may attach or read the memory (prctl(2),
/// `PR_SET_DUMPABLE`); files and sockets that are made from here on are their owner's alone.
pub fn harden() -> Result<(), HardenError> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    umask(Mode::RWXG | Mode::RWXO);
    Ok(())
}
