//! `keyferry kek status|rotate|rewrap`: works on the store, beside a running gateway too.

use std::io::IsTerminal;

use anyhow::{Context, ensure};
use keyferry_core::{
    id::TenantId,
    port::{
        root::{KeyVersions, Root, RootError},
        store::{PageRequest, Store, StoreError},
    },
    wrapped::{KekUse, WrappedKey},
};
use serde::Serialize;
use serde_json::json;

use super::{ConfigFile, output, runtime, store};
use crate::{
    config::{self, Config},
    custody::{KekError, Keyring, Outline, Progress, TenantKeks, for_rewrap},
};

/// Look at, replace and move to the keys that wrap the stored keys.
#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// Show the roots, and how many stored keys lie under which KEKs.
    Status {
        #[command(flatten)]
        config: ConfigFile,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Put a new KEK in use for each tenant.
    ///
    /// What is stored stays readable under the old ones until `kek rewrap` has moved it.
    Rotate {
        #[command(flatten)]
        config: ConfigFile,
        /// Only for this tenant.
        #[arg(long, value_name = "TENANT")]
        tenant: Option<TenantId>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Move all that is stored to the KEKs and the root in use.
    ///
    /// Traffic may run meanwhile. A move that was stopped goes on where it was. Exits with 1 if anything
    /// is left.
    Rewrap {
        #[command(flatten)]
        config: ConfigFile,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

impl Command {
    pub(super) fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Status { config, json } => {
                let config = config::load(config.config.as_deref())?;
                runtime()?.block_on(status(&config, json))
            }
            Self::Rotate { config, tenant, json } => {
                let config = config::load(config.config.as_deref())?;
                runtime()?.block_on(rotate(&config, tenant, json))
            }
            Self::Rewrap { config, json } => {
                let config = config::load(config.config.as_deref())?;
                runtime()?.block_on(rewrap(&config, json))
            }
        }
    }
}

#[derive(Serialize)]
struct RootStatus {
    id: String,
    /// Whether it wraps; the others are read from only.
    primary: bool,
    /// Tenants' KEKs under it.
    keks: usize,
    /// All keys under it: these, the service secret, and sealing keys.
    keys: usize,
}

#[derive(Serialize)]
struct Status {
    roots: Vec<RootStatus>,
    /// Tenants' KEKs in use, and those that were replaced.
    keks_in_use: usize,
    keks_retired: usize,
    /// Stored versions of keys that lie where they should, and those that `kek rewrap` would move.
    versions_in_place: u64,
    versions_to_move: u64,
    /// Those whose KEK the store has lost: they open nowhere.
    versions_without_kek: u64,
    /// Tenants' KEKs under another root than the one that wraps.
    keks_under_previous_roots: usize,
    /// All keys under such a root. Without any, `kms.previous` may go.
    keys_under_previous_roots: usize,
    /// The newest version of the key of the root that wraps, if it tells of versions.
    newest_version: Option<u32>,
    /// Keys under an older one. `None`: that cannot be known, and `older_unknown` says why.
    keys_under_older_versions: Option<usize>,
    older_unknown: Option<String>,
}

/// What lies under older versions of the key of the root that wraps.
struct Older {
    newest: Option<u32>,
    keys: Result<usize, String>,
}

impl Older {
    fn of(root: &dyn Root, told: Result<KeyVersions, RootError>, keys: &[WrappedKey]) -> Self {
        let none = |keys| Self { newest: None, keys };
        match told {
            Ok(KeyVersions::One) => none(Ok(0)),
            Ok(KeyVersions::Untold) => none(Err("it does not tell which wrapped what".to_owned())),
            Ok(KeyVersions::Newest(newest)) => {
                let is_older = |key: &&WrappedKey| {
                    key.root == root.id() && root.version_of(&key.wrapped) != Some(newest)
                };
                Self { newest: Some(newest), keys: Ok(keys.iter().filter(is_older).count()) }
            }
            Err(error) => none(Err(error.to_string())),
        }
    }
}

async fn status(config: &Config, as_json: bool) -> anyhow::Result<()> {
    let Outline { keyring, store } = store::look(config).await?;
    let (uses, lost) = (store.kek_uses().await?, store.versions_without_kek().await?);
    let keys = wrapped_keys(&*store).await?;
    let primary = keyring.primary();
    let older = Older::of(primary, primary.versions().await, &keys);
    let status = sum(&keyring, &uses, &keys, older, lost);
    if as_json {
        output::json(&serde_json::to_value(&status)?);
        return Ok(());
    }
    for root in &status.roots {
        let role = if root.primary { "wraps" } else { "read from only" };
        output::line(&format!("root {}: {role}, {} keys, {} of them KEKs", root.id, root.keys, root.keks));
    }
    output::line(&format!("KEKs: {} in use, {} retired", status.keks_in_use, status.keks_retired));
    output::line(&format!(
        "stored keys: {} in place, {} to move",
        status.versions_in_place, status.versions_to_move
    ));
    if status.versions_without_kek > 0 {
        output::line(&format!(
            "{} stored keys lie under KEKs that the store has lost. Restore the store from its backup, or \
             have their tenants store them again.",
            status.versions_without_kek
        ));
    }
    output::line(&status.of_root_versions());
    let older = status.keys_under_older_versions.unwrap_or(0);
    if status.versions_to_move > 0 || status.keys_under_previous_roots > 0 || older > 0 {
        output::line("Run `keyferry kek rewrap` to move them.");
    }
    Ok(())
}

impl Status {
    fn of_root_versions(&self) -> String {
        let previous = self.keys_under_previous_roots;
        match (self.keys_under_older_versions, &self.older_unknown) {
            (Some(older), _) => {
                let newest = self.newest_version.map(|newest| format!(" (the newest is {newest})"));
                let newest = newest.unwrap_or_default();
                format!("keys to move: {previous} under previous roots, {older} under older versions{newest}")
            }
            (None, why) => format!(
                "keys to move: {previous} under previous roots; under older versions of the root's key: \
                 unknown, {}",
                why.as_deref().unwrap_or_default()
            ),
        }
    }
}

/// Every key that is wrapped by a root.
async fn wrapped_keys(store: &dyn Store) -> Result<Vec<WrappedKey>, StoreError> {
    let (mut all, mut after) = (Vec::new(), 0);
    loop {
        let keys = store.wrapped_keys_after(after, 500).await?;
        let Some((last, _)) = keys.last() else { return Ok(all) };
        after = *last;
        all.extend(keys.into_iter().map(|(_, key)| key));
    }
}

fn sum(keyring: &Keyring, uses: &[KekUse], keys: &[WrappedKey], older: Older, lost: u64) -> Status {
    let primary = keyring.primary().id();
    let roots = keyring.roots().map(|root| RootStatus {
        id: root.id().to_owned(),
        primary: root.id() == primary,
        keks: uses.iter().filter(|kek| kek.root == root.id()).count(),
        keys: keys.iter().filter(|key| key.root == root.id()).count(),
    });
    let versions = |retired| uses.iter().filter(|k| k.retired == retired).map(|k| k.versions).sum();
    Status {
        roots: roots.collect(),
        keks_in_use: uses.iter().filter(|kek| !kek.retired).count(),
        keks_retired: uses.iter().filter(|kek| kek.retired).count(),
        versions_in_place: versions(false),
        versions_to_move: versions(true),
        versions_without_kek: lost,
        keks_under_previous_roots: uses.iter().filter(|kek| kek.root != primary).count(),
        keys_under_previous_roots: keys.iter().filter(|key| key.root != primary).count(),
        newest_version: older.newest,
        keys_under_older_versions: older.keys.as_ref().ok().copied(),
        older_unknown: older.keys.err(),
    }
}

async fn rotate(config: &Config, only: Option<TenantId>, as_json: bool) -> anyhow::Result<()> {
    let (ground, _) = store::open(config).await?;
    let keks = ground.keks();
    let mut rotated = 0_u64;
    if let Some(tenant) = only {
        ensure!(ground.store.tenant(&tenant).await?.is_some(), "there is no tenant {tenant}");
        keks.rotate(&tenant, "operator", "keyferry kek rotate").await?;
        rotated = 1;
    } else {
        let mut cursor = None;
        loop {
            let page = ground.store.tenants(&PageRequest { cursor, limit: 500 }).await?;
            for tenant in &page.data {
                rotated += u64::from(rotate_one(&keks, &tenant.id).await?);
            }
            tell(&format!("{rotated} tenants have a new KEK"));
            cursor = page.next_cursor;
            if cursor.is_none() {
                break;
            }
        }
    }
    if as_json {
        output::json(&json!({"rotated": rotated, "root": ground.keyring.primary().id()}));
    } else {
        output::line(&format!(
            "{rotated} tenants have a new KEK. Run `keyferry kek rewrap` to move their keys."
        ));
    }
    Ok(())
}

/// Whether a tenant has a new KEK; one that was deleted meanwhile has not.
async fn rotate_one(keks: &TenantKeks, tenant: &TenantId) -> Result<bool, KekError> {
    match keks.rotate(tenant, "operator", "keyferry kek rotate").await {
        Err(KekError::Store(StoreError::NotFound(_))) => Ok(false),
        rotated => rotated.map(|_| true),
    }
}

async fn rewrap(config: &Config, as_json: bool) -> anyhow::Result<()> {
    let (ground, _) = store::open(config).await?;
    let uses = ground.store.kek_uses().await?;
    let to_move: u64 = uses.iter().filter(|kek| kek.retired).map(|kek| kek.versions).sum();
    let moved = for_rewrap(&ground)
        .run(|Progress { keys, versions }| {
            tell(&format!("{keys} keys under roots renewed, {versions} of {to_move} stored keys moved"));
        })
        .await
        .inspect_err(|error| {
            if as_json {
                output::json(&json!({"error": error.to_string()}));
            }
        })
        .context("the move stopped; run it again, and it goes on where it was")?;
    if as_json {
        output::json(&serde_json::to_value(moved)?);
    } else {
        output::line(&format!(
            "{} keys under roots renewed, {} stored keys moved, {} KEKs destroyed, {} left",
            moved.moved.keys, moved.moved.versions, moved.destroyed, moved.left
        ));
    }
    ensure!(moved.left == 0, "{} could not be moved; the log lines above name them", moved.left);
    Ok(())
}

/// Progress, for people only.
fn tell(text: &str) {
    if std::io::stderr().is_terminal() {
        output::error_line(text);
    }
}
