//! `keyferry serve`

use std::{num::NonZeroUsize, sync::Arc};

use anyhow::Context;
use clap::builder::RangedU64ValueParser;
use keyferry_core::clock::SystemClock;
use keyferry_envelope::SystemEntropy;

use super::{ConfigFile, output, processors, runtime, secret};
use crate::{
    config,
    harden::{Grants, Swap, confine},
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
    /// Threads that serve requests. Without it: one for each processor.
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<usize>::new().range(1..=1024), env = "KEYFERRY_WORKERS")]
    workers: Option<usize>,
}

impl Serve {
    pub(super) fn run(self) -> anyhow::Result<()> {
        logs::start(self.log_format, self.log_level);
        logs::of_panics();
        let config = config::load(self.config.config.as_deref()).context("the configuration is wrong")?;
        let around = Surroundings {
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy),
            operator_token: secret::from_env("KEYFERRY_OPERATOR_TOKEN")?,
            metrics: metrics::start().context("metrics cannot be recorded")?,
            workers: self.workers.and_then(NonZeroUsize::new).unwrap_or_else(processors),
        };
        if Swap::of("self") == Swap::On {
            tracing::warn!(event = "swap_is_on", "memory may be written to a disk");
        }
        // What is granted must be there. And no thread may be there yet: it would stay outside.
        make_folder(&config)?;
        confine(&Grants::of_gateway(&config))?.log();
        logs::let_lines_wait();
        let ended = runtime()?.block_on(async {
            let Started { running, new_operator_token } = start(config, around).await?;
            if let Some(token) = new_operator_token {
                output::error_line(&format!("Operator token, shown this once: {}", String::from_utf8_lossy(token.expose())));
            }
            tracing::info!(event = "started", version = env!("CARGO_PKG_VERSION"), listeners = ?running.addresses);
            Ok(running.until_signal().await?)
        });
        logs::flush();
        ended
    }
}
