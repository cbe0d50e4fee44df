//! `keyferry migrate`: the tables of the store, brought up to date ahead of a release; and the way from SQLite to PostgreSQL.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use keyferry_storage::{Backend, Step, UsageJournal, copy, postgres::PostgresStore, sqlite::SqliteStore};
use serde_json::json;

use super::{ConfigFile, output, runtime};
use crate::config;

/// Bring the tables of the store up to date.
///
/// `keyferry serve` does the same at its start, where its user may change tables. Steps only add; the release before goes on
/// with what they leave.
#[derive(clap::Args)]
pub(super) struct Migrate {
    #[command(flatten)]
    config: ConfigFile,
    /// Only show which steps there are, and which of them were taken.
    #[arg(long, conflicts_with = "from")]
    status: bool,
    /// Copy everything from this SQLite file into the configured PostgreSQL, which must be empty. No gateway may serve either.
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Migrate {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let config = config::load(self.config.config.as_deref())?;
        runtime()?.block_on(async {
            match (&self.from, self.status) {
                (Some(from), _) => copied(from, &config.storage, self.json).await,
                (None, true) => {
                    show(&keyferry_storage::status(&config.storage).await.context("storage")?, self.json);
                    Ok(())
                }
                (None, false) => {
                    let taken = keyferry_storage::migrate(&config.storage).await.context("storage")?;
                    if taken.is_empty() && !self.json {
                        output::line("The tables are up to date.");
                    } else {
                        show(&taken, self.json);
                    }
                    Ok(())
                }
            }
        })
    }
}

fn show(steps: &[Step], as_json: bool) {
    let rows: Vec<_> = steps
        .iter()
        .map(|step| json!({"version": step.version, "name": step.name, "applied": step.applied}))
        .collect();
    output::table(&json!({"data": rows}), &["version", "name", "applied"], as_json);
}

async fn copied(from: &Path, to: &Backend, as_json: bool) -> anyhow::Result<()> {
    let Backend::Postgres(address) = to else {
        bail!("storage.url: everything is copied into PostgreSQL: name it there");
    };
    ensure!(from.exists(), "there is no database at {}", from.display());
    // A gateway with counters in memory holds it as long as it serves.
    let _alone = crate::single::alone(from)?;
    let old = SqliteStore::open(from).await.context("the old store")?;
    // Puts what a gateway that was killed has left into the store. As long as it is open, nobody else keeps rows there.
    let journal = UsageJournal::open(from, &old).await.context("the old store")?;
    ensure!(journal.is_some(), "another gateway serves {}: stop it first", from.display());
    let new = PostgresStore::open(address).await.context("storage")?;
    let mut tables = serde_json::Map::new();
    let done = copy(&old, &new, |table, rows| {
        if !as_json {
            output::error_line(&format!("{table}: {rows}"));
        }
        tables.insert(table.to_owned(), rows.into());
    })
    .await;
    done.context("nothing was copied")?;
    if as_json {
        output::json(&json!({"copied": tables}));
    } else {
        output::line(
            "Everything is copied. Keep the old file until `keyferry audit verify` holds on the new store.",
        );
    }
    Ok(())
}
