//! Whether the kernel may write pages of the process to a disk.

use std::{fs, path::Path};

/// What becomes of pages that nobody used for long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Swap {
    /// They stay: the machine has no swap space.
    Off,
    /// They stay: the machine has swap space, the process's control group may use none of it.
    Forbidden,
    /// They may be written to a disk.
    On,
}

impl Swap {
    /// How it is for a process: a number, or `self`.
    pub fn of(process: &str) -> Self {
        let spaces = fs::read_to_string("/proc/swaps").unwrap_or_default();
        if spaces.lines().count() <= 1 {
            return Self::Off;
        }
        let groups = fs::read_to_string(format!("/proc/{process}/cgroup")).unwrap_or_default();
        let group = groups.lines().find_map(|line| line.strip_prefix("0::/"));
        match group.map(|group| limit(Path::new("/sys/fs/cgroup"), Path::new(group))) {
            Some(true) => Self::Forbidden,
            _ => Self::On,
        }
    }
}

/// Whether this group, or one above it, may use no swap.
fn limit(root: &Path, group: &Path) -> bool {
    group.ancestors().any(|group| {
        let limit = fs::read_to_string(root.join(group).join("memory.swap.max"));
        limit.is_ok_and(|limit| limit.trim() == "0")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_without_swap_keeps_all_below_it_from_swapping() {
        let root = tempfile::tempdir().expect("a folder");
        let below = root.path().join("system.slice/keyferry.service");
        fs::create_dir_all(&below).expect("folders");
        let group = Path::new("system.slice/keyferry.service");
        assert!(!limit(root.path(), group));
        fs::write(below.join("memory.swap.max"), "max\n").expect("a file");
        assert!(!limit(root.path(), group));
        fs::write(root.path().join("system.slice/memory.swap.max"), "0\n").expect("a file");
        assert!(limit(root.path(), group));
    }
}
