//! `keyferry demo`: the main job on embedded defaults, step by step, against a provider inside the
//! program. Each step asks the running gateway over HTTP and checks what comes back; the first one
//! that does not hold ends the demo with exit code 1.

mod custody;
mod folder;
mod jwt;
mod provider;
mod stage;
mod steps;

use std::sync::Arc;

use anyhow::Context;
use keyferry_core::{clock::SystemClock, net::host::ProviderHost, provider::BUILT_IN};
use keyferry_envelope::{Entropy, SecretBytes, SystemEntropy};

use self::{folder::Folder, provider::Simulated, stage::Stage};
use super::{processors, runtime};
use crate::{
    config::{self, Bind, Config, ConfigError, Dial, Listener, Resources},
    lifecycle,
    start::{Surroundings, start},
    telemetry::metrics,
};

/// Show the main job, step by step, against a provider inside the program.
#[derive(clap::Args)]
pub(super) struct Demo {
    /// Keep the data folder, to look into it afterwards.
    #[arg(long)]
    keep: bool,
}

impl Demo {
    pub(super) fn run(self) -> anyhow::Result<()> {
        runtime()?.block_on(self.play())
    }

    async fn play(self) -> anyhow::Result<()> {
        let mut stage = Stage::new();
        stage.title();
        let mut folder = Folder::new(&SystemEntropy)?;
        let provider = Simulated::start().await.context("the simulated provider does not start")?;
        let operator = random_text(24);
        let around = Surroundings {
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy),
            operator_token: Some(SecretBytes::new(operator.clone().into_bytes())),
            metrics: metrics::start().context("metrics cannot be recorded")?,
            workers: processors(),
        };
        let started = start(configuration(&folder, &provider)?, around).await?;
        let url = started.running.addresses.first().cloned().unwrap_or_default();
        stage.note(&format!("gateway   {url}   data in {}", folder.path().display()));
        stage.note(&format!(
            "provider  http://{}   simulated, speaks OpenAI, Anthropic and Gemini",
            provider.address
        ));

        let scene = steps::Scene {
            url,
            operator: SecretBytes::new(operator.into_bytes()),
            provider,
            config: configuration(&folder, &Simulated::nowhere())?,
        };
        let outcome = steps::play(&mut stage, &scene).await;
        started.running.drain(lifecycle::GRACE).await;
        if self.keep {
            folder.keep();
            stage.note(&format!("kept {}", folder.path().display()));
        }
        outcome?;
        stage.end();
        Ok(())
    }
}

/// Embedded defaults in a folder of their own, with the providers' hosts on loopback.
fn configuration(folder: &Folder, provider: &Simulated) -> Result<Config, ConfigError> {
    let file = config::file::File { data_dir: Some(folder.path().to_owned()), ..Default::default() };
    let mut config = config::check(file)?;
    config.listeners = vec![Listener {
        bind: Bind::Tcp(([127, 0, 0, 1], 0).into()),
        tls: None,
        resources: Resources { gateway: true, admin: true, health: true, metrics: true },
    }];
    config.upstream.dial = BUILT_IN
        .iter()
        .filter_map(|(_, _, base)| {
            ProviderHost::parse(base.trim_start_matches("https://").split('/').next()?).ok()
        })
        .map(|host| Dial { host, address: provider.address, plaintext: true })
        .collect();
    Ok(config)
}

/// So many random letters and digits.
fn random_text(len: usize) -> String {
    let mut bytes = vec![0; len];
    SystemEntropy.fill(&mut bytes);
    bytes.iter().map(|byte| char::from(b"abcdefghijklmnopqrstuvwxyz234567"[usize::from(byte & 31)])).collect()
}
