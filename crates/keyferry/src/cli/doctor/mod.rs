//! `keyferry doctor`: looks at the machine, the configuration and a running gateway, and says what
//! would keep keys safe and does not hold. It changes nothing and calls nobody.

mod check;
mod deployment;
mod journal;
mod machine;
mod process;
mod trial;

use anyhow::bail;
use serde_json::json;

use self::check::{Check, Verdict};
use super::{ConfigFile, output};
use crate::{config, harden::harden};

/// Look at what keeps keys safe here, and say what does not hold.
#[derive(clap::Args)]
pub(super) struct Doctor {
    #[command(flatten)]
    config: ConfigFile,
    /// The process of a running gateway. Without it, the one that serves the configured database.
    #[arg(long, value_name = "PID")]
    pid: Option<u32>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Doctor {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let config = config::load(self.config.config.as_deref());
        let mut checks = machine::look();
        // Before this process gives up the right to look into others.
        checks.extend(process::look(self.pid, config.as_ref().ok()));
        harden()?;
        checks.extend(deployment::look(config)?);
        let failed = checks.iter().filter(|check| check.status == Verdict::No).count();
        if self.json {
            output::json(&json!({"ok": failed == 0, "checks": checks}));
        } else {
            print(&checks);
        }
        match failed {
            0 => Ok(()),
            1 => bail!("one thing does not hold"),
            more => bail!("{more} things do not hold"),
        }
    }
}

fn print(checks: &[Check]) {
    let width = checks.iter().map(|check| check.name.len()).max().unwrap_or(0);
    for Check { name, status, found, advice } in checks {
        let status = match status {
            Verdict::Ok => "ok",
            Verdict::Warn => "warn",
            Verdict::No => "no",
        };
        // Paths and other people's names: a terminal must not obey them.
        let found: String = found.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
        output::line(&format!("{status:4}  {name:width$}  {found}"));
        if let Some(advice) = advice {
            output::line(&format!("{:4}  {:width$}  → {advice}", "", ""));
        }
    }
}
