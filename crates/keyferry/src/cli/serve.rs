//! `keyferry serve`

use std::{panic, sync::Arc};

use anyhow::Context;
use keyferry_core::clock::SystemClock;
use keyferry_envelope::SystemEntropy;

use super::{ConfigFile, output, runtime, secret};
use crate::{
    config,
    harden::{Grants, confine, harden},
    start::{Started, Surroundings, make_folder, start},
    telemetry::{
        logs::{self, LogFormat, LogLevel},
        metrics,
    },
};

/// Run the gateway.
#[derive(clap::Args)]
pub(super) struct Serve {
    #[command(flatten)]
    config: ConfigFile,
    /// How log lines look.
    #[arg(long, value_enum, default_value_t, env = "KEYFERRY_LOG_FORMAT")]
    log_format: LogFormat,
    /// How much is logged.
    #[arg(long, value_enum, default_value_t, env = "KEYFERRY_LOG_LEVEL")]
    log_level: LogLevel,
}

impl Serve {
    pub(super) fn run(self) -> anyhow::Result<()> {
        logs::start(self.log_format, self.log_level);
        harden()?;
        log_panics();
        let config = config::load(self.config.config.as_deref()).context("the configuration is wrong")?;
        let around = Surroundings {
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy),
            operator_token: secret::from_env("KEYFERRY_OPERATOR_TOKEN")?,
            metrics: metrics::start().context("metrics cannot be recorded")?,
        };
        // What is granted must be there. And no thread may be there yet: it would stay outside.
        make_folder(&config)?;
        confine(&Grants::of_gateway(&config))?.log();
        runtime()?.block_on(async {
            let Started { running, new_operator_token } = start(config, around).await?;
            if let Some(token) = new_operator_token {
                output::error_line(&format!("Operator token, shown this once: {}", String::from_utf8_lossy(token.expose())));
            }
            tracing::info!(event = "started", version = env!("CARGO_PKG_VERSION"), listeners = ?running.addresses);
            Ok(running.until_signal().await?)
        })
    }
}

/// A panic is logged with its place. What it says is not: it may quote what it was working on.
fn log_panics() {
    panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        tracing::error!(event = "panic", place = place.as_deref());
    }));
}
