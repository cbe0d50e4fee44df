//! `keyferry credential …`: keys come from standard input or a prompt.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use http::Method;
use keyferry_envelope::SecretBytes;
use serde_json::json;

use super::{
    api::{Gateway, segment},
    output, secret,
};
use crate::sidecar::ask::ask;

/// Manage the provider keys of a tenant.
#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// Store a key, read from standard input or a prompt.
    #[command(alias = "store")]
    Add {
        /// Whose.
        #[arg(long)]
        tenant: String,
        /// Which provider it opens: openai, anthropic, gemini or a configured one.
        #[arg(long)]
        provider: String,
        /// To tell keys of one provider apart.
        #[arg(long)]
        label: Option<String>,
        /// Send it through the sidecar at this socket, which seals the key.
        #[arg(long, value_name = "SOCKET")]
        sidecar: Option<PathBuf>,
        #[command(flatten)]
        gateway: Gateway,
    },
    /// List a tenant's keys, active and revoked.
    List {
        /// Whose.
        #[arg(long)]
        tenant: String,
        #[command(flatten)]
        gateway: Gateway,
    },
    /// Ask the provider whether a stored key works. Costs nothing.
    Test {
        /// Whose.
        #[arg(long)]
        tenant: String,
        /// The credential's id.
        id: String,
        /// Send it through the sidecar at this socket, as its user.
        #[arg(long, value_name = "SOCKET")]
        sidecar: Option<PathBuf>,
        #[command(flatten)]
        gateway: Gateway,
    },
    /// Put a new key, read from standard input or a prompt, in the place of the old one.
    Rotate {
        /// Whose.
        #[arg(long)]
        tenant: String,
        /// The credential's id.
        id: String,
        /// Destroy the old key this many seconds later instead of at once.
        #[arg(long, value_name = "SECONDS")]
        overlap_seconds: Option<u32>,
        /// Send it through the sidecar at this socket, which seals the key.
        #[arg(long, value_name = "SOCKET")]
        sidecar: Option<PathBuf>,
        #[command(flatten)]
        gateway: Gateway,
    },
    /// Destroy a key. Nobody can open it again.
    Revoke {
        /// Whose.
        #[arg(long)]
        tenant: String,
        /// The credential's id.
        id: String,
        #[command(flatten)]
        gateway: Gateway,
    },
}

const COLUMNS: &[&str] = &[
    "id",
    "provider",
    "label",
    "version",
    "state",
    "last4",
    "fingerprint",
    "test",
    "last_used_at",
    "created_at",
];

impl Command {
    pub(super) fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Add { tenant, provider, label, sidecar, gateway } => {
                if let Some(socket) = sidecar {
                    let mut body = json!({"op": "store", "tenant": tenant, "provider": provider});
                    if let Some(label) = label {
                        body["label"] = json!(label);
                    }
                    let body = with_key(&body, &secret::read("Provider key")?)?;
                    return through(&socket, &body, gateway.json);
                }
                let path = format!("/tenants/{}/credentials", segment(&tenant)?);
                let mut body = json!({"provider": provider});
                if let Some(label) = label {
                    body["label"] = json!(label);
                }
                let body = with_key(&body, &secret::read("Provider key")?)?;
                output::object(&gateway.call_with(Method::POST, &path, body)?, gateway.json);
            }
            Self::List { tenant, gateway } => {
                let path = format!("/tenants/{}/credentials", segment(&tenant)?);
                output::table(&gateway.call(Method::GET, &path, None)?, COLUMNS, gateway.json);
            }
            Self::Test { tenant, id, sidecar, gateway } => {
                if let Some(socket) = sidecar {
                    let body = json!({"op": "test", "tenant": tenant, "credential": id});
                    return through(&socket, &SecretBytes::new(body.to_string().into_bytes()), gateway.json);
                }
                let path = format!("/tenants/{}/credentials/{}/test", segment(&tenant)?, segment(&id)?);
                output::object(&gateway.call(Method::POST, &path, None)?, gateway.json);
            }
            Self::Rotate { tenant, id, overlap_seconds, sidecar, gateway } => {
                if let Some(socket) = sidecar {
                    let mut body = json!({"op": "rotate", "tenant": tenant, "credential": id});
                    body["overlap_seconds"] = json!(overlap_seconds.unwrap_or(0));
                    let body = with_key(&body, &secret::read("New provider key")?)?;
                    return through(&socket, &body, gateway.json);
                }
                let path = format!("/tenants/{}/credentials/{}/rotate", segment(&tenant)?, segment(&id)?);
                let body = json!({"overlap_seconds": overlap_seconds.unwrap_or(0)});
                let body = with_key(&body, &secret::read("New provider key")?)?;
                output::object(&gateway.call_with(Method::POST, &path, body)?, gateway.json);
            }
            Self::Revoke { tenant, id, gateway } => {
                let path = format!("/tenants/{}/credentials/{}", segment(&tenant)?, segment(&id)?);
                gateway.call(Method::DELETE, &path, None)?;
            }
        }
        Ok(())
    }
}

/// Sends a request through a sidecar and prints what it answers.
fn through(socket: &Path, request: &SecretBytes, as_json: bool) -> anyhow::Result<()> {
    let asked = ask(socket, request);
    let mut answer = asked.with_context(|| format!("no sidecar answers at {}", socket.display()))?;
    if answer["ok"] != json!(true) {
        let text = |name: &str| answer[name].as_str().unwrap_or("no reason given").to_owned();
        bail!("{} ({})", text("detail"), text("code"));
    }
    if let Some(fields) = answer.as_object_mut() {
        fields.remove("ok");
    }
    output::object(&answer, as_json);
    Ok(())
}

/// A body with the key put in as its last field, so that only this one buffer holds it.
fn with_key(body: &serde_json::Value, key: &SecretBytes) -> anyhow::Result<SecretBytes> {
    let plain = |b: &u8| b.is_ascii_graphic() && !matches!(b, b'"' | b'\\');
    if !key.expose().iter().all(plain) {
        return Err(anyhow::anyhow!("it has characters that no provider's key has"))
            .context("what came on standard input is not a key");
    }
    let mut text = body.to_string().into_bytes();
    text.pop();
    text.reserve_exact(key.expose().len() + 16);
    text.extend_from_slice(b",\"api_key\":\"");
    text.extend_from_slice(key.expose());
    text.extend_from_slice(b"\"}");
    Ok(SecretBytes::new(text))
}
