//! `keyferry seal`: makes a sealed key of a key, for scripts.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::ValueEnum;
use http::{Method, Request};
use keyferry_core::{
    clock::{Clock, SystemClock},
    id::{ProviderId, TenantId},
};
use keyferry_envelope::{SealPurpose, SystemEntropy, VerifyingKey};
use serde_json::{Value, json};

use super::{api, output, runtime, secret};
use crate::{
    custody::provider_key,
    sidecar::seal::{SealFor, published, seal},
};

/// Seal a provider key to the gateway, so that nothing in between can read it.
#[derive(clap::Args)]
pub(super) struct Seal {
    /// Whose key it is.
    #[arg(long)]
    tenant: TenantId,
    /// Which provider it opens: openai, anthropic, gemini or a configured one.
    #[arg(long)]
    provider: ProviderId,
    /// What for: to come with a request in X-Sealed-Key, or to be stored as `sealed_key`.
    #[arg(long, value_enum, default_value_t)]
    purpose: Purpose,
    /// The gateway's address.
    #[arg(long, env = "KEYFERRY_URL", default_value = "http://127.0.0.1:8484", value_name = "URL")]
    url: String,
    /// The list of sealing keys in a file, instead of asking the gateway.
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
    /// The operator's public key (PEM): only a list that it signed is used.
    #[arg(long, value_name = "FILE")]
    signed_by: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Purpose {
    /// For one request.
    #[default]
    Request,
    /// To be stored.
    Store,
}

impl Seal {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let operator = self.signed_by.as_deref().map(operator).transpose()?;
        let answer: Value = match &self.keys {
            Some(file) => {
                let text = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
                serde_json::from_slice(&text).context("--keys: this is no JSON")?
            }
            None => runtime()?.block_on(async {
                let request = Request::builder().method(Method::GET).uri("/api/v1/sealing-keys");
                api::read(api::send(&self.url, None, request, bytes::Bytes::new()).await?).await
            })?,
        };
        let list = published(&answer, operator.as_ref())?;
        let key = provider_key(secret::read("Provider key")?)?;
        let sealed_for = SealFor {
            purpose: match self.purpose {
                Purpose::Request => SealPurpose::Request,
                Purpose::Store => SealPurpose::Store,
            },
            tenant: &self.tenant,
            provider: &self.provider,
            now: SystemClock.now(),
        };
        let sealed = seal(&list, sealed_for, &key, &SystemEntropy)?;
        if self.json {
            output::json(&json!({"sealed_key": sealed}));
        } else {
            output::line(&sealed);
        }
        Ok(())
    }
}

/// The operator's public key.
pub(super) fn operator(path: &Path) -> anyhow::Result<VerifyingKey> {
    let pem = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(VerifyingKey::from_pem(&pem)?)
}
