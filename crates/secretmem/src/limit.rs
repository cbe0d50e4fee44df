//! Asks how much memory the process may lock. It must never lower a limit.
//!
//! # Why the `unsafe` holds
//!
//! Both calls get a pointer to one whole `rlimit` on the stack, which outlives them.
#![expect(unsafe_code, reason = "two calls of libc; argued above")]

/// Raises the soft limit of locked memory (`RLIMIT_MEMLOCK`) to the hard one and answers it in bytes.
///
/// With `CAP_IPC_LOCK` the kernel does not ask, and mapping succeeds beyond this. It is a hint, not a promise.
pub(crate) fn lockable() -> usize {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: see the module.
    if unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &raw mut limit) } != 0 {
        return 0;
    }
    if limit.rlim_cur < limit.rlim_max {
        let raised = libc::rlimit { rlim_cur: limit.rlim_max, ..limit };
        // SAFETY: see the module.
        if unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const raised) } == 0 {
            limit = raised;
        }
    }
    usize::try_from(limit.rlim_cur).unwrap_or(usize::MAX)
}
