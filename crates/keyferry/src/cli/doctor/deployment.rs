//! The configuration, and the files it names.

use std::{
    fs::{self, Metadata},
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
};

use keyferry_core::clock::{Clock, SystemClock};
use keyferry_kms::vault::is_open_to_others;

use super::{super::runtime, check::Check, journal};
use crate::{
    config::{Bind, Config, ConfigError, MasterSecret, RootConfig},
    harden::Grants,
};

/// What may lie between the clock and the time of a file, in seconds.
const TOLERANCE: i64 = 60;
/// When this program was written: no clock is right that shows less (2026-01-01).
const WRITTEN: i64 = 1_767_225_600;

const NOT_YET: &str = "not there yet: the first start makes it";

pub(super) fn look(config: Result<Config, ConfigError>) -> anyhow::Result<Vec<Check>> {
    let config = match config {
        Ok(config) => config,
        Err(error) => {
            let advice = "Correct the file; `keyferry config schema` says what may stand in it.";
            return Ok(vec![Check::no("configuration", error.to_string(), advice)]);
        }
    };
    let mut checks = vec![
        Check::ok("configuration", "valid"),
        environment(&config),
        folder(&config.data_dir),
        database_folder(&config),
        clock(config.storage.file()),
    ];
    checks.extend(config.storage.file().map(database_files));
    checks.extend(journal::look(&config.journal));
    checks.extend(root_secrets(&config));
    checks.extend(sockets(&config));
    checks.extend(certificates(&config));
    checks.push(runtime()?.block_on(database(&config)));
    Ok(checks)
}

fn environment(config: &Config) -> Check {
    if config.production {
        return Check::ok("environment", "production");
    }
    let advice = "Set `environment: production` where real keys are: it refuses connections without TLS.";
    Check::warn("environment", "development", advice)
}

/// Whether others than the owner may do anything with it.
pub(super) fn open_to_others(meta: &Metadata) -> bool {
    meta.mode() & 0o077 != 0
}

pub(super) fn shown(path: &Path, meta: &Metadata) -> String {
    format!("{} has mode {:04o}", path.display(), meta.mode() & 0o7777)
}

/// Whether the database is a file that the first start will make.
fn not_made(config: &Config) -> bool {
    config.storage.file().is_some_and(|file| !file.exists())
}

fn folder(path: &Path) -> Check {
    const NAME: &str = "data_folder";
    match fs::metadata(path) {
        Ok(meta) if !meta.is_dir() => {
            Check::no(NAME, format!("{} is no folder", path.display()), "Name a folder in `data_dir`.")
        }
        Ok(meta) if open_to_others(&meta) => {
            Check::warn(NAME, shown(path, &meta), "chmod 700 keeps others from seeing which files there are.")
        }
        Ok(meta) => Check::ok(NAME, shown(path, &meta)),
        Err(_) => Check::ok(NAME, NOT_YET),
    }
}

/// Landlock lets the gateway write to all that lies beside its database.
fn database_folder(config: &Config) -> Check {
    const NAME: &str = "database_folder";
    let grants = Grants::of_gateway(config);
    match grants.too_wide().first() {
        None => Check::ok(NAME, "its own"),
        Some(folder) => Check::warn(
            NAME,
            format!("{} holds what belongs to others", folder.display()),
            "Give the database a folder of its own: the gateway may write to all of it.",
        ),
    }
}

/// Files of the roots that hold a secret.
fn root_secrets(config: &Config) -> Vec<Check> {
    let check = |root: &RootConfig| match root {
        RootConfig::Local(source) => Some(master_secret(config, source)),
        RootConfig::Vault(vault) => Some(vault_token(&vault.token_file)),
        RootConfig::Pkcs11(module) => Some(pkcs11_pin(&module.pin_file)),
        RootConfig::Aws(_) => None,
    };
    config.kms.roots().filter_map(check).collect()
}

fn vault_token(path: &Path) -> Check {
    let advice = "chmod o=: the gateway does not start like this.";
    secret_file("vault_token", path, |meta| is_open_to_others(meta.mode()), advice)
}

fn pkcs11_pin(path: &Path) -> Check {
    secret_file("pkcs11_pin", path, open_to_others, "chmod 600: the gateway does not start like this.")
}

/// By the rule that the root has for it.
fn secret_file(
    name: &'static str,
    path: &Path,
    is_refused: fn(&Metadata) -> bool,
    advice: &'static str,
) -> Check {
    match fs::metadata(path) {
        Ok(meta) if !meta.is_file() => {
            Check::no(name, format!("{} is no regular file", path.display()), "Bring the file.")
        }
        Ok(meta) if is_refused(&meta) => Check::no(name, shown(path, &meta), advice),
        Ok(meta) => Check::ok(name, shown(path, &meta)),
        Err(_) => Check::no(name, format!("{} cannot be seen", path.display()), "Bring the file."),
    }
}

fn master_secret(config: &Config, source: &MasterSecret) -> Check {
    const NAME: &str = "master_secret";
    let path = source.path();
    match fs::metadata(path) {
        Ok(meta) if open_to_others(&meta) => {
            Check::no(NAME, shown(path, &meta), "chmod 600: the gateway does not start like this.")
        }
        Ok(meta) => Check::ok(NAME, shown(path, &meta)),
        Err(_) if matches!(source, MasterSecret::Default(_)) && not_made(config) => Check::ok(NAME, NOT_YET),
        Err(_) => {
            let found = format!("{} cannot be seen", path.display());
            Check::no(NAME, found, "Bring the file back from its backup: without it no stored key opens.")
        }
    }
}

/// The database and what SQLite keeps beside it.
fn database_files(database: &Path) -> Check {
    const NAME: &str = "database_files";
    if !database.exists() {
        return Check::ok(NAME, NOT_YET);
    }
    let beside = |ending: &str| {
        let mut name = database.as_os_str().to_owned();
        name.push(ending);
        PathBuf::from(name)
    };
    for path in [database.to_owned(), beside("-wal"), beside("-shm")] {
        if let Some(meta) = fs::metadata(&path).ok().filter(open_to_others) {
            return Check::no(NAME, shown(&path, &meta), "chmod 600.");
        }
    }
    Check::ok(NAME, "their owner's alone")
}

/// Tokens, JWTs and daily quotas follow the clock.
fn clock(database: Option<&Path>) -> Check {
    const NAME: &str = "clock";
    let now = SystemClock.now();
    let last_write = database.and_then(|file| fs::metadata(file).ok()).map_or(0, |meta| meta.mtime());
    let advice = "Set the clock and keep it in step: JWTs, sealed keys and daily quotas follow it.";
    if now.secs() < WRITTEN || now.secs() + TOLERANCE < last_write {
        let found = format!("{} is earlier than what has happened already", now.to_rfc3339());
        return Check::no(NAME, found, advice);
    }
    Check::ok(NAME, now.to_rfc3339())
}

fn sockets(config: &Config) -> Vec<Check> {
    const NAME: &str = "socket";
    let paths = config.listeners.iter().filter_map(|listener| match &listener.bind {
        Bind::Unix(path) => Some(path),
        Bind::Tcp(_) => None,
    });
    paths
        .map(|path| {
            let folder = path.parent().unwrap_or(Path::new("/"));
            match (fs::metadata(folder), fs::symlink_metadata(path)) {
                (Err(_), _) => {
                    let found = format!("{} is not there", folder.display());
                    Check::no(NAME, found, "Make the folder; RuntimeDirectory= in the unit does.")
                }
                (Ok(meta), _) if meta.mode() & 0o022 != 0 => Check::no(
                    NAME,
                    shown(folder, &meta),
                    "chmod 755: others may put a socket of their own in the place of the gateway's.",
                ),
                (_, Ok(meta)) if !meta.file_type().is_socket() => Check::no(
                    NAME,
                    format!("{} is no socket", path.display()),
                    "Remove it: the gateway replaces nothing but a socket.",
                ),
                (_, Ok(meta)) if open_to_others(&meta) => Check::warn(
                    NAME,
                    shown(path, &meta),
                    "Others may connect; the gateway makes it with mode 0600.",
                ),
                (_, Ok(meta)) => Check::ok(NAME, shown(path, &meta)),
                (_, Err(_)) => Check::ok(NAME, "not there now"),
            }
        })
        .collect()
}

fn certificates(config: &Config) -> Vec<Check> {
    const NAME: &str = "certificate_key";
    let keys = config.listeners.iter().filter_map(|listener| listener.tls.as_ref());
    keys.map(|tls| match fs::metadata(&tls.key) {
        Ok(meta) if meta.mode() & 0o007 != 0 => {
            Check::warn(NAME, shown(&tls.key, &meta), "chmod 640, with a group that only the gateway is in.")
        }
        Ok(meta) => Check::ok(NAME, shown(&tls.key, &meta)),
        Err(_) => {
            let found = format!("{} cannot be seen", tls.key.display());
            Check::no(NAME, found, "Name the private key in `listeners[].tls.key`.")
        }
    })
    .collect()
}

/// Whether the database answers. What it holds is not opened: that may take a call to a KMS.
async fn database(config: &Config) -> Check {
    const NAME: &str = "database";
    if not_made(config) {
        return Check::ok(NAME, NOT_YET);
    }
    let head = async {
        let store = keyferry_storage::open(&config.storage).await?;
        let head = store.audit_head().await;
        store.close().await;
        head
    };
    match head.await {
        Ok(Some(head)) => Check::ok(NAME, format!("it answers; the audit log has {} rows", head.seq)),
        Ok(None) => Check::no(
            NAME,
            "it answers, but the audit log has lost its head",
            "Somebody took it: compare with the last `keyferry audit export`.",
        ),
        Err(error) => Check::no(NAME, error.to_string(), "See the failures in docs/operations.md."),
    }
}
