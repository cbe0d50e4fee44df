//! What the process takes from others, and gives up itself, before it holds a secret.
//!
//! First [`harden`]: nobody may look into the process, and it gains no privilege any more. Then,
//! when the configuration has said what is needed, [`confine`]: the kernel refuses the rest. Both
//! hold for the calling thread and for every thread that it starts later, so they come first in
//! `main`, before there is a runtime.

mod files;
mod grants;
mod locked;
mod privileges;
mod swap;
mod syscalls;

use rustix::{
    fs::Mode,
    io::Errno,
    process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit, umask},
    thread::set_no_new_privs,
};

pub use files::{Extent, Landlock};
pub use grants::Grants;
pub use locked::LockLimit;
pub use privileges::KEPT as KEPT_CAPABILITIES;
pub use swap::Swap;
pub use syscalls::Filter;

/// Why the process cannot be hardened.
#[derive(Debug, thiserror::Error)]
pub enum HardenError {
    /// The kernel refused what every kernel has.
    #[error("the process cannot be hardened: {0}")]
    Refused(&'static str, #[source] Errno),
    /// Threads that run already would stay outside.
    #[error("the process cannot be confined: it has {0} threads already")]
    Threads(usize),
    /// The list of what may be used is wrong.
    #[error("the process cannot be confined: {0}")]
    Rules(String),
}

/// No core dumps; no other process of the same user may attach or read the memory (prctl(2),
/// `PR_SET_DUMPABLE`); no privilege is gained by running something; files and sockets that are made
/// from here on are their owner's alone; as much memory may be locked as the system allows; and of
/// root's capabilities only those stay that a gateway can need.
pub fn harden() -> Result<(), HardenError> {
    let refused = |what| move |error| HardenError::Refused(what, error);
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(refused("PR_SET_DUMPABLE"))?;
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })
        .map_err(refused("RLIMIT_CORE"))?;
    set_no_new_privs(true).map_err(refused("PR_SET_NO_NEW_PRIVS"))?;
    umask(Mode::RWXG | Mode::RWXO);
    let locked = getrlimit(Resource::Memlock);
    setrlimit(Resource::Memlock, Rlimit { current: locked.maximum, ..locked })
        .map_err(refused("RLIMIT_MEMLOCK"))?;
    privileges::give_up().map_err(refused("capset"))
}

/// What the kernel holds the process to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Confinement {
    /// Files and TCP ports.
    pub landlock: Landlock,
    /// System calls.
    pub filter: Filter,
}

/// Confines the process to what is granted, as far as this kernel can. What it cannot is in the
/// answer: for a warning, not for a refusal to start.
pub fn confine(grants: &Grants) -> Result<Confinement, HardenError> {
    let threads = std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
    if threads != 1 {
        return Err(HardenError::Threads(threads));
    }
    confine_thread(grants)
}

/// The same for the calling thread only, and for those it starts: to try it out.
pub fn confine_thread(grants: &Grants) -> Result<Confinement, HardenError> {
    // Landlock first: the filter refuses nothing that it needs, but this order needs no argument.
    let landlock = files::restrict(grants).map_err(|error| HardenError::Rules(error.to_string()))?;
    let filter = syscalls::refuse(grants.module).map_err(|error| HardenError::Rules(error.to_string()))?;
    Ok(Confinement { landlock, filter })
}

impl Confinement {
    /// Writes down what holds, and warns of what does not.
    pub fn log(self) {
        let Self { landlock, filter } = self;
        let (files, ports) = (landlock.files.name(), landlock.ports.name());
        if landlock.files == Extent::Whole && landlock.ports == Extent::Whole && filter == Filter::Holds {
            tracing::info!(
                event = "confined",
                landlock_abi = landlock.abi,
                files,
                ports,
                syscalls = filter.name()
            );
        } else {
            let why = if landlock.freed {
                "files and connections are free: only its maker knows what the hardware module opens"
            } else {
                "this kernel cannot hold the process to what it needs: `keyferry doctor` says more"
            };
            tracing::warn!(
                event = "not_confined",
                landlock_abi = landlock.abi,
                files,
                ports,
                syscalls = filter.name(),
                "{why}"
            );
        }
    }
}
