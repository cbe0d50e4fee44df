//! The programs of PostgreSQL, and the user they run as: they refuse to run as root.

use std::{
    env, fs,
    os::unix::fs::{MetadataExt, chown},
    path::{Path, PathBuf},
    process::Command,
};

/// Users who own nothing of importance, the better one first.
const USERS: [&str; 2] = ["postgres", "nobody"];

pub(crate) struct Programs {
    folder: PathBuf,
    /// Who is to run them, if root may not.
    user: Option<(u32, u32)>,
}

impl Programs {
    /// Those on the path, or those of the newest version that Debian installed.
    pub(crate) fn find() -> Option<Self> {
        let path = env::var_os("PATH").unwrap_or_default();
        let mut folders: Vec<_> = env::split_paths(&path).collect();
        let mut versions: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
            .collect();
        versions.sort();
        folders.extend(versions.into_iter().rev().map(|(_, folder)| folder));
        let has_all =
            |folder: &PathBuf| ["initdb", "postgres"].iter().all(|name| folder.join(name).is_file());
        Some(Self { folder: folders.into_iter().find(has_all)?, user: unprivileged() })
    }

    /// A command that runs as the user who may. What it names is looked for among the programs first.
    pub(crate) fn command(&self, program: &str) -> Command {
        let program = self.path(program);
        let Some((user, group)) = self.user else { return Command::new(program) };
        let mut command = Command::new("setpriv");
        command
            .args([format!("--reuid={user}"), format!("--regid={group}"), "--clear-groups".to_owned()])
            .arg(program);
        command
    }

    pub(crate) fn path(&self, program: &str) -> PathBuf {
        let path = self.folder.join(program);
        if path.is_file() { path } else { program.into() }
    }

    /// Gives a file or folder to that user.
    pub(crate) fn give(&self, path: &Path) {
        if let Some((user, group)) = self.user {
            chown(path, Some(user), Some(group)).expect("root may give it");
        }
    }
}

fn unprivileged() -> Option<(u32, u32)> {
    if fs::metadata("/proc/self").expect("this process").uid() != 0 {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").expect("the users");
    let ids = |name: &&str| {
        let fields: Vec<_> =
            users.lines().find(|line| line.split(':').next() == Some(name))?.split(':').collect();
        Some((fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?))
    };
    Some(USERS.iter().find_map(ids).expect("a user who is not root"))
}
