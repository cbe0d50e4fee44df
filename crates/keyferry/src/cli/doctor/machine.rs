//! The machine and its kernel.

use keyferry_secretmem::{Backend, probe};

use super::{
    check::Check,
    trial::{Trial, trial},
};
use crate::harden::{Extent, Filter, LockLimit, Swap};

pub(super) fn look() -> Vec<Check> {
    let mut checks = Vec::new();
    match trial() {
        Ok(trial) => checks.extend([landlock(&trial), seccomp(&trial)]),
        Err(error) => {
            let advice = "This is a fault of the program: please report it.";
            checks.push(Check::no("landlock", error.to_string(), advice));
        }
    }
    checks.extend([locked_memory(), secret_memory(), swap("swap", Swap::of("self")), attaching()]);
    checks
}

fn landlock(trial: &Trial) -> Check {
    const NAME: &str = "landlock";
    let landlock = trial.confinement.landlock;
    let tried = |refused| if refused { "refused" } else { "NOT refused" };
    let found = format!(
        "version {}; tried out: a foreign file is {}, a foreign port is {}",
        landlock.abi,
        tried(trial.folder_refused),
        tried(trial.port_refused)
    );
    match (landlock.files, trial.folder_refused, trial.port_refused) {
        (Extent::Whole, true, true) => Check::ok(NAME, found),
        (Extent::Whole | Extent::Part, true, _) => {
            Check::warn(NAME, found, "Linux 6.12 or newer holds the gateway to its ports as well.")
        }
        (Extent::None, ..) if landlock.abi == 0 => Check::no(
            NAME,
            "the kernel does not offer it: the gateway may open every file that its user may",
            "Use Linux 6.12 or newer, with `landlock` in CONFIG_LSM or in the kernel's parameter `lsm=`.",
        ),
        _ => Check::no(NAME, found, "The kernel says that it confines, and does not: report it."),
    }
}

fn seccomp(trial: &Trial) -> Check {
    let holds = trial.confinement.filter == Filter::Holds && trial.program_refused;
    Check::holds(
        "seccomp",
        holds,
        ("tried out: to run a program is refused", "the kernel takes no filter: nothing is refused"),
        "Use a kernel with CONFIG_SECCOMP_FILTER, and a container runtime that lets seccomp(2) through.",
    )
}

fn locked_memory() -> Check {
    let limit = LockLimit::of_this_process();
    let found = limit.bytes().map_or("no limit".to_owned(), |bytes| format!("{bytes} bytes may be locked"));
    if limit.is_enough() {
        return Check::ok("locked_memory", found);
    }
    Check::warn("locked_memory", found, "Set LimitMEMLOCK=8M in the unit, or `ulimit -l 8192`.")
}

/// Where a gateway on this machine can keep its keys.
fn secret_memory() -> Check {
    const NAME: &str = "secret_memory";
    if probe(Backend::MemfdSecret).is_ok() {
        return Check::ok(NAME, "tried out: memfd_secret, which not even root reads");
    }
    if probe(Backend::Locked).is_ok() {
        return Check::warn(
            NAME,
            "tried out: locked pages, which root can read; the kernel offers no memfd_secret",
            "Use Linux 6.5 or newer with CONFIG_SECRETMEM, or the kernel's parameter `secretmem.enable=1`.",
        );
    }
    Check::no(
        NAME,
        "no memory can be locked: keys lie on the heap, and may be swapped out",
        "Set LimitMEMLOCK=8M in the unit, and let memfd_secret(2) and mlock(2) through.",
    )
}

pub(super) fn swap(name: &'static str, swap: Swap) -> Check {
    match swap {
        Swap::Off => Check::ok(name, "off"),
        Swap::Forbidden => Check::ok(name, "on, but not for this control group"),
        Swap::On => Check::warn(
            name,
            "on: memory may be written to a disk",
            "Set MemorySwapMax=0 in the unit, turn swap off, or encrypt it.",
        ),
    }
}

fn attaching() -> Check {
    const NAME: &str = "ptrace_scope";
    match std::fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope") {
        Ok(scope) if scope.trim() != "0" => Check::ok(NAME, scope.trim()),
        Ok(_) => Check::warn(
            NAME,
            "0: processes of one user may look into each other; the gateway forbids it for itself",
            "sysctl kernel.yama.ptrace_scope=1 forbids it for all others too.",
        ),
        Err(_) => Check::ok(NAME, "this kernel has no Yama; the gateway forbids attaching for itself"),
    }
}
