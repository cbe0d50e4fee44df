//! `keyferry audit verify|export`: works on the store, beside a running gateway too.

use std::{io::BufRead, path::PathBuf};

use anyhow::{Context, bail, ensure};
use keyferry_core::audit::{AuditHead, AuditRow};
use serde_json::json;

use super::{ConfigFile, output, runtime, store};
use crate::{
    config::{self, Config},
    custody::Ground,
};

/// Check or export the audit log.
#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// Check that no row was deleted, changed or moved. Names the first row that was.
    Verify {
        #[command(flatten)]
        config: ConfigFile,
        /// Check this export (JSON lines) instead of the store.
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print all rows, oldest first, as JSON lines; the last line is the log's head.
    Export {
        #[command(flatten)]
        config: ConfigFile,
    },
}

impl Command {
    pub(super) fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Verify { config, file, json } => {
                let config = config::load(config.config.as_deref())?;
                let checked = match file {
                    Some(file) => runtime()?.block_on(verify_file(&config, &file)),
                    None => runtime()?.block_on(verify_store(&config)),
                };
                report(checked, json)
            }
            Self::Export { config } => {
                let config = config::load(config.config.as_deref())?;
                runtime()?.block_on(export(&config))
            }
        }
    }
}

const BATCH: u32 = 1000;

/// The last line of an export.
#[derive(serde::Serialize, serde::Deserialize)]
struct Head {
    head: AuditHead,
}

fn report(checked: anyhow::Result<i64>, as_json: bool) -> anyhow::Result<()> {
    if as_json {
        output::json(&match &checked {
            Ok(rows) => json!({"whole": true, "rows": rows}),
            Err(error) => json!({"whole": false, "error": format!("{error:#}")}),
        });
    }
    let rows = checked?;
    if !as_json {
        output::line(&format!("The audit log is whole: {rows} rows."));
    }
    Ok(())
}

pub(super) async fn verify_store(config: &Config) -> anyhow::Result<i64> {
    let (Ground { store, .. }, chain) = store::open(config).await?;
    let mut verification = chain.verify();
    // Rows may be added while we read: the head is read first, and rows after it wait.
    let head = store.audit_head().await?;
    let end = head.as_ref().map_or(i64::MAX, |head| head.seq);
    let mut last = 0;
    loop {
        let rows = store.audit_after(last, BATCH).await?;
        let Some(newest) = rows.last() else { break };
        last = newest.seq;
        for row in rows.iter().take_while(|row| row.seq <= end) {
            verification.row(row)?;
        }
        if last >= end {
            break;
        }
    }
    Ok(verification.finish(head.as_ref())?)
}

async fn verify_file(config: &Config, file: &std::path::Path) -> anyhow::Result<i64> {
    let (_, chain) = store::open(config).await?;
    let mut verification = chain.verify();
    let reader = std::fs::File::open(file).with_context(|| format!("cannot read {}", file.display()))?;
    let mut head: Option<Head> = None;
    for (number, line) in std::io::BufReader::new(reader).lines().enumerate() {
        let line = line?;
        ensure!(head.is_none(), "line {} stands behind the head, which is the last line", number + 1);
        if let Ok(row) = serde_json::from_str::<AuditRow>(&line) {
            verification.row(&row)?;
        } else if let Ok(end) = serde_json::from_str(&line) {
            head = Some(end);
        } else {
            bail!("line {} is neither a row nor the head of an audit export", number + 1);
        }
    }
    let head = head.context("the export has no head: lines are missing at its end")?;
    Ok(verification.finish(Some(&head.head))?)
}

async fn export(config: &Config) -> anyhow::Result<()> {
    let (Ground { store, .. }, _) = store::open(config).await?;
    // Rows may be added while we read: the export ends where the log ended when it began.
    let head = store.audit_head().await?.context("the audit log has lost its head")?;
    let mut last = 0;
    while last < head.seq {
        let rows = store.audit_after(last, BATCH).await?;
        let Some(newest) = rows.last() else { break };
        last = newest.seq;
        for row in rows.iter().take_while(|row| row.seq <= head.seq) {
            output::line(&serde_json::to_string(row)?);
        }
    }
    output::line(&serde_json::to_string(&Head { head })?);
    Ok(())
}
