//! `keyferry upstream check`: the judgement of the configuration and of the dialler, without either.

use std::io::BufRead;

use clap::ValueEnum;
use keyferry_core::net::{
    address, base_url,
    host::{self, HostSet},
};
use serde_json::{Value, json};

use super::{ConfigFile, output};
use crate::config;

/// Look at what may be called.
#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// Judge candidates: a JSON string a line on standard input, a JSON object a line back.
    Check {
        #[command(flatten)]
        config: ConfigFile,
        /// What the candidates are.
        #[arg(long, value_enum, default_value_t)]
        kind: Kind,
    },
}

/// What a candidate is.
#[derive(Clone, Copy, Default, ValueEnum)]
pub(super) enum Kind {
    /// A base URL: may a provider be configured with it, given the hosts of the configured ones?
    #[default]
    BaseUrl,
    /// A host: may it be a provider's?
    Host,
    /// An address: may it be dialled?
    Address,
}

impl Command {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let Self::Check { config, kind } = self;
        let config = config::load(config.config.as_deref())?;
        let allowed: HostSet = config.providers.iter().map(|provider| provider.host().clone()).collect();
        for line in std::io::stdin().lock().split(b'\n') {
            let line = line?;
            if !line.trim_ascii().is_empty() {
                output::json_line(&judge(kind, &line, &allowed));
            }
        }
        Ok(())
    }
}

fn judge(kind: Kind, line: &[u8], allowed: &HostSet) -> Value {
    let Ok(candidate) = serde_json::from_slice::<Value>(line) else {
        let input = String::from_utf8_lossy(line);
        return json!({"input": input, "verdict": "deny", "reason": "is not JSON: write a JSON string a line"});
    };
    let refused = match kind {
        Kind::BaseUrl => base_url::judge(&candidate, allowed).err().map(|refused| refused.to_string()),
        Kind::Host => host::judge(&candidate).err().map(|refused| refused.to_string()),
        Kind::Address => address::judge(&candidate).err().map(|refused| refused.to_string()),
    };
    match refused {
        None => json!({"input": candidate, "verdict": "allow", "reason": "passes every rule"}),
        Some(reason) => json!({"input": candidate, "verdict": "deny", "reason": reason}),
    }
}
