//! seccomp: system calls that the gateway never makes answer "not permitted" (seccomp(2)).
//!
//! A list of what is refused, not of what is allowed: the C library, SQLite or a PKCS#11 module may
//! begin to make a harmless call with their next release, and must not break for it. On the list is
//! what whoever has taken over the process would want: to run something, to look into other
//! processes, to leave the confinement, to reach rarely tested parts of the kernel.

use std::collections::BTreeMap;

use libc::{
    AF_INET, AF_INET6, AF_NETLINK, AF_UNIX, CLONE_THREAD, ENOSYS, EPERM, NETLINK_ROUTE, SYS_clone,
    SYS_clone3, SYS_socket,
};
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, apply_filter,
};

/// Whether the filter is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// It holds.
    Holds,
    /// The kernel does not take it.
    Unavailable,
}

impl Filter {
    /// As it is shown.
    pub fn name(self) -> &'static str {
        match self {
            Self::Holds => "whole",
            Self::Unavailable => "none",
        }
    }
}

/// To run something, and to look into others.
const PROCESSES: &[i64] = &[
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    libc::SYS_migrate_pages,
    libc::SYS_move_pages,
    libc::SYS_personality,
];

/// To leave: other name spaces, other roots, files by handle.
const PLACES: &[i64] = &[
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_chroot,
    libc::SYS_pivot_root,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    libc::SYS_fanotify_init,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
];

/// Parts of the kernel that no gateway needs.
const KERNEL: &[i64] = &[
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_syslog,
    libc::SYS_vhangup,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_adjtimex,
    libc::SYS_clock_adjtime,
];

/// What only this processor's table has.
#[cfg(target_arch = "x86_64")]
const OF_THE_PROCESSOR: &[i64] = &[
    libc::SYS_fork,
    libc::SYS_vfork,
    libc::SYS_iopl,
    libc::SYS_ioperm,
    libc::SYS_modify_ldt,
    libc::SYS_uselib,
    libc::SYS_ustat,
    libc::SYS_sysfs,
    libc::SYS_kexec_file_load,
];
#[cfg(not(target_arch = "x86_64"))]
const OF_THE_PROCESSOR: &[i64] = &[libc::SYS_kexec_file_load];

/// The second way to call on x86-64, with 32-bit pointers: the same table with this bit set, and
/// numbers of its own for what carries pointers (execve, ptrace, process_vm_*, kexec_load,
/// move_pages, execveat).
#[cfg(target_arch = "x86_64")]
const X32: (i64, &[i64]) = (0x4000_0000, &[520, 521, 528, 533, 539, 540, 545]);

/// Sockets that are used: everything else, such as raw packets and the kernel's own cryptography,
/// is refused.
const FAMILIES: [i32; 4] = [AF_UNIX, AF_INET, AF_INET6, AF_NETLINK];

/// Installs the filter for the calling thread and those it starts. `any_netlink` is for a hardware
/// module, which may wait for its device to be plugged in.
pub(super) fn refuse(any_netlink: bool) -> Result<Filter, BackendError> {
    for program in [no_clone3()?, refusals(any_netlink)?] {
        if apply_filter(&program).is_err() {
            return Ok(Filter::Unavailable);
        }
    }
    Ok(Filter::Holds)
}

fn refusals(any_netlink: bool) -> Result<BpfProgram, BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    for number in [PROCESSES, PLACES, KERNEL, OF_THE_PROCESSOR].into_iter().flatten() {
        rules.insert(*number, Vec::new());
    }
    #[cfg(target_arch = "x86_64")]
    {
        let (bit, own) = X32;
        let twins: Vec<i64> = rules.keys().chain(own).map(|number| number | bit).collect();
        rules.extend(twins.into_iter().map(|number| (number, Vec::new())));
    }
    let compare = |argument, operator, value: i32| {
        SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, u64::from(value.unsigned_abs()))
    };
    let foreign: Result<Vec<_>, _> =
        FAMILIES.iter().map(|family| compare(0, SeccompCmpOp::Ne, *family)).collect();
    let mut sockets = vec![SeccompRule::new(foreign?)?];
    if !any_netlink {
        // The C library asks for the machine's addresses; the rest of netlink configures the kernel.
        sockets.push(SeccompRule::new(vec![
            compare(0, SeccompCmpOp::Eq, AF_NETLINK)?,
            compare(2, SeccompCmpOp::Ne, NETLINK_ROUTE)?,
        ])?);
    }
    rules.insert(SYS_socket, sockets);
    // A new thread is well, a new process is not.
    let thread = u64::from(CLONE_THREAD.unsigned_abs());
    rules.insert(SYS_clone, vec![SeccompRule::new(vec![compare(0, SeccompCmpOp::MaskedEq(thread), 0)?])?]);
    program(rules, EPERM)
}

/// `clone3` has its flags in memory, where no filter can look. Told that it does not exist, the C
/// library takes `clone`.
fn no_clone3() -> Result<BpfProgram, BackendError> {
    program(BTreeMap::from([(SYS_clone3, Vec::new())]), ENOSYS)
}

fn program(rules: BTreeMap<i64, Vec<SeccompRule>>, answer: i32) -> Result<BpfProgram, BackendError> {
    let refuse = SeccompAction::Errno(answer.unsigned_abs());
    let here = std::env::consts::ARCH.try_into()?;
    SeccompFilter::new(rules, SeccompAction::Allow, refuse, here)?.try_into()
}
