//! `keyferry issuer …`

use std::path::PathBuf;

use anyhow::Context;
use http::Method;
use serde_json::{Value, json};

use super::{
    api::{Gateway, segment},
    output,
};

/// Manage the issuers whose JWTs a tenant accepts.
#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// Register an issuer.
    Add {
        /// Whose.
        #[arg(long)]
        tenant: String,
        /// The claim `iss`.
        #[arg(long)]
        issuer: String,
        /// The claim `aud`.
        #[arg(long)]
        audience: String,
        /// The one accepted algorithm: ES256, EdDSA or RS256.
        #[arg(long)]
        algorithm: String,
        /// A file with its public keys (JSON Web Key Set).
        #[arg(long, value_name = "FILE", conflicts_with = "jwks_url", required_unless_present = "jwks_url")]
        jwks_file: Option<PathBuf>,
        /// An HTTPS address its public keys are fetched from.
        #[arg(long, value_name = "URL")]
        jwks_url: Option<String>,
        #[command(flatten)]
        gateway: Gateway,
    },
    /// List a tenant's issuers.
    List {
        /// Whose.
        #[arg(long)]
        tenant: String,
        #[command(flatten)]
        gateway: Gateway,
    },
    /// Remove an issuer: its tokens are refused from the next request on.
    Remove {
        /// Whose.
        #[arg(long)]
        tenant: String,
        /// The issuer's id.
        id: String,
        #[command(flatten)]
        gateway: Gateway,
    },
}

const COLUMNS: &[&str] = &["id", "issuer", "audience", "algorithm", "jwks_url", "created_at", "created_by"];

impl Command {
    pub(super) fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Add { tenant, issuer, audience, algorithm, jwks_file, jwks_url, gateway } => {
                let path = format!("/tenants/{}/issuers", segment(&tenant)?);
                let mut body = json!({"issuer": issuer, "audience": audience, "algorithm": algorithm});
                if let Some(file) = jwks_file {
                    let text =
                        std::fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
                    let set: Value = serde_json::from_slice(&text)
                        .map_err(|_| anyhow::anyhow!("{} is not JSON", file.display()))?;
                    body["jwks"] = set;
                }
                if let Some(url) = jwks_url {
                    body["jwks_url"] = json!(url);
                }
                output::object(&gateway.call(Method::POST, &path, Some(&body))?, gateway.json);
            }
            Self::List { tenant, gateway } => {
                let path = format!("/tenants/{}/issuers", segment(&tenant)?);
                output::table(&gateway.call(Method::GET, &path, None)?, COLUMNS, gateway.json);
            }
            Self::Remove { tenant, id, gateway } => {
                let path = format!("/tenants/{}/issuers/{}", segment(&tenant)?, segment(&id)?);
                gateway.call(Method::DELETE, &path, None)?;
            }
        }
        Ok(())
    }
}
