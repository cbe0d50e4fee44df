//! A running gateway, as `/proc` shows it.

use std::{fs, os::unix::fs::MetadataExt};

use super::{check::Check, machine};
use crate::{
    config::Config,
    harden::{KEPT_CAPABILITIES, Swap},
};

const OLD: &str = "Restart the gateway with this version: it does this by itself at start.";

pub(super) fn look(pid: Option<u32>, config: Option<&Config>) -> Vec<Check> {
    const NAME: &str = "gateway";
    let Some(pid) = pid.or_else(|| config.and_then(serving)) else {
        return vec![Check::ok(NAME, "none runs here now; what only a running one shows is left out")];
    };
    let (Some(status), Some(limits)) = (read(pid, "status"), read(pid, "limits")) else {
        return vec![Check::no(NAME, format!("there is no process {pid}"), "Name the gateway's process.")];
    };
    let name = field(&status, "Name").unwrap_or_default();
    if !is_ours(name) {
        let found = format!("process {pid} is {name}, not keyferry");
        return vec![Check::no(NAME, found, "Name the gateway's process.")];
    }
    vec![
        Check::ok(NAME, format!("process {pid}")),
        dumpable(pid, &status),
        Check::holds("core_dumps", core_limit(&limits) == Some("0"), ("off", "on"), OLD),
        Check::holds("no_new_privs", field(&status, "NoNewPrivs") == Some("1"), ("set", "not set"), OLD),
        Check::holds(
            "syscalls",
            field(&status, "Seccomp") == Some("2"),
            ("filtered", "not filtered"),
            "See `seccomp` above; then restart the gateway with this version.",
        ),
        capabilities(&status),
        user(&status),
        swapped(pid, &status),
        environment(pid),
    ]
}

/// The gateway that holds the lock beside the database.
fn serving(config: &Config) -> Option<u32> {
    let lock = fs::metadata(config.storage.file()?.with_extension("lock")).ok()?.ino();
    let pid = holder(&fs::read_to_string("/proc/locks").ok()?, lock)?;
    // Two file systems may have a file of this number.
    read(pid, "status").is_some_and(|status| field(&status, "Name").is_some_and(is_ours)).then_some(pid)
}

/// Whether a process of this name may be a gateway: it has the program's name, or the one that the
/// program was given here.
fn is_ours(name: &str) -> bool {
    let own = fs::read_to_string("/proc/self/comm").unwrap_or_default();
    name == "keyferry" || name == own.trim()
}

/// Who has locked the file with this number: `1: FLOCK ADVISORY WRITE 4711 fe:00:1234 0 EOF`.
fn holder(locks: &str, file: u64) -> Option<u32> {
    locks.lines().find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let at = words.iter().position(|word| *word == "FLOCK")?;
        let number: u64 = words.get(at + 4)?.rsplit(':').next()?.parse().ok()?;
        (number == file).then(|| words.get(at + 3)?.parse().ok())?
    })
}

fn read(pid: u32, what: &str) -> Option<String> {
    fs::read_to_string(format!("/proc/{pid}/{what}")).ok()
}

/// A field of `/proc/PID/status`.
fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

fn core_limit(limits: &str) -> Option<&str> {
    limits.lines().find_map(|line| line.strip_prefix("Max core file size"))?.split_whitespace().nth(1)
}

/// The files of a process that may not be looked into belong to root.
fn dumpable(pid: u32, status: &str) -> Check {
    const NAME: &str = "dumpable";
    let owner = fs::metadata(format!("/proc/{pid}/environ")).map(|meta| meta.uid());
    match (owner, effective_user(status)) {
        (_, Some(0)) => Check::warn(
            NAME,
            "cannot be seen, because the gateway runs as root",
            "Give the gateway a user of its own.",
        ),
        (Ok(0), Some(_)) => Check::ok(NAME, "off: no process of the same user may look into it"),
        _ => Check::no(NAME, "on: other processes of the same user may read its memory", OLD),
    }
}

fn effective_user(status: &str) -> Option<u32> {
    field(status, "Uid")?.split_whitespace().nth(1)?.parse().ok()
}

fn capabilities(status: &str) -> Check {
    const NAME: &str = "capabilities";
    let Some(held) = field(status, "CapEff").and_then(|hex| u64::from_str_radix(hex, 16).ok()) else {
        return Check::warn(NAME, "cannot be seen", "Run the doctor where /proc shows the gateway.");
    };
    match held & !KEPT_CAPABILITIES.bits() {
        0 if held == 0 => Check::ok(NAME, "none"),
        0 => Check::ok(NAME, format!("{held:#x}: files, ports below 1024, locked memory")),
        more => Check::no(NAME, format!("{more:#x} beside those a gateway can need"), OLD),
    }
}

fn user(status: &str) -> Check {
    match effective_user(status) {
        Some(0) => Check::warn("user", "root", "Give the gateway a user of its own."),
        Some(user) => Check::ok("user", user.to_string()),
        None => Check::warn("user", "cannot be seen", "Run the doctor where /proc shows the gateway."),
    }
}

fn swapped(pid: u32, status: &str) -> Check {
    match field(status, "VmSwap") {
        Some("0 kB") | None => machine::swap("gateway_swap", Swap::of(&pid.to_string())),
        Some(size) => Check::no(
            "gateway_swap",
            format!("{size} of its memory are on a disk"),
            "Set MemorySwapMax=0 in the unit, turn swap off, or encrypt it; then restart the gateway.",
        ),
    }
}

fn environment(pid: u32) -> Check {
    const NAME: &str = "environment_secrets";
    let Ok(text) = fs::read(format!("/proc/{pid}/environ")).map(zeroize::Zeroizing::new) else {
        return Check::ok(NAME, "may not be read, which is as it should be; as root the doctor sees more");
    };
    let secret = text
        .split(|byte| *byte == 0)
        .any(|entry| entry.starts_with(b"KEYFERRY_OPERATOR_TOKEN=") || entry.starts_with(b"KEYFERRY_TOKEN="));
    if !secret {
        return Check::ok(NAME, "the operator's token is not in it");
    }
    Check::warn(
        NAME,
        "the operator's token is in it, for as long as the process lives",
        "Put the token into a file and name it in KEYFERRY_OPERATOR_TOKEN_FILE.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_of_a_lock_is_found_by_the_number_of_the_file() {
        let locks = "1: POSIX  ADVISORY  READ 11 fe:00:77 128 128\n\
                     2: FLOCK  ADVISORY  WRITE 4711 fe:00:77 0 EOF\n\
                     3: FLOCK  ADVISORY  WRITE 12 fe:00:770 0 EOF\n";
        assert_eq!(holder(locks, 77), Some(4711));
        assert_eq!(holder(locks, 7), None);
        assert_eq!(holder("", 7), None);
    }

    #[test]
    fn fields_and_limits_are_read_as_the_kernel_writes_them() {
        let status =
            "Name:\tkeyferry\nUid:\t10\t11\t12\t13\nVmSwap:\t       0 kB\nSeccomp:\t2\nSeccomp_filters:\t1\n";
        assert_eq!(field(status, "Seccomp"), Some("2"));
        assert_eq!(field(status, "VmSwap"), Some("0 kB"));
        assert_eq!(effective_user(status), Some(11));
        let limits = "Limit                     Soft Limit           Hard Limit           Units     \n\
                      Max core file size        unlimited            0                    bytes     \n";
        assert_eq!(core_limit(limits), Some("0"));
    }
}
