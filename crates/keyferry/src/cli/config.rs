//! `keyferry config check|schema`

use super::{ConfigFile, output};
use crate::config::{self, file::File};

/// Look at a configuration.
#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// Check a configuration without starting anything.
    Check {
        #[command(flatten)]
        config: ConfigFile,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print the JSON Schema of the configuration.
    Schema,
}

impl Command {
    pub(super) fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Check { config, json } => check(&config, json),
            Self::Schema => {
                output::json(schemars::schema_for!(File).as_value());
                Ok(())
            }
        }
    }
}

fn check(file: &ConfigFile, json: bool) -> anyhow::Result<()> {
    match config::load(file.config.as_deref()) {
        Ok(_) if json => {
            output::json(&serde_json::json!({"valid": true}));
            Ok(())
        }
        Ok(_) => {
            output::line("The configuration is valid.");
            Ok(())
        }
        Err(error) => {
            if json {
                output::json(
                    &serde_json::json!({"valid": false, "path": error.path, "message": error.message}),
                );
            }
            Err(anyhow::Error::new(error).context("the configuration is wrong"))
        }
    }
}
