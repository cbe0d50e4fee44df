//! `keyferry token …`

use http::Method;
use serde_json::json;

use super::{
    api::{Gateway, segment},
    output,
};

/// Manage the gateway tokens of a tenant.
#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// Make a token. It is shown this once.
    Create {
        /// Whose.
        #[arg(long)]
        tenant: String,
        /// What its bearer may do: `caller` or `tenant_admin`.
        #[arg(long, default_value = "caller")]
        role: String,
        /// For people.
        #[arg(long)]
        name: Option<String>,
        /// When it stops working by itself (RFC 3339).
        #[arg(long, value_name = "TIME")]
        expires_at: Option<String>,
        /// The only models it may use; may be given several times.
        #[arg(long = "model", value_name = "MODEL")]
        models: Vec<String>,
        /// A rate of its own, such as 10/s.
        #[arg(long)]
        rate: Option<String>,
        #[command(flatten)]
        gateway: Gateway,
    },
    /// List a tenant's tokens, without their secrets.
    List {
        /// Whose.
        #[arg(long)]
        tenant: String,
        #[command(flatten)]
        gateway: Gateway,
    },
    /// Revoke a token: refused from the next request on.
    Revoke {
        /// Whose.
        #[arg(long)]
        tenant: String,
        /// The token's id: the part after `sk-kf-`.
        id: String,
        #[command(flatten)]
        gateway: Gateway,
    },
}

const COLUMNS: &[&str] = &["id", "role", "name", "expires_at", "revoked_at", "created_at", "created_by"];

impl Command {
    pub(super) fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Create { tenant, role, name, expires_at, models, rate, gateway } => {
                let path = format!("/tenants/{}/tokens", segment(&tenant)?);
                let mut body = json!({"role": role});
                for (field, value) in [("name", name), ("expires_at", expires_at), ("rate", rate)] {
                    if let Some(value) = value {
                        body[field] = json!(value);
                    }
                }
                if !models.is_empty() {
                    body["models"] = json!(models);
                }
                output::object(&gateway.call(Method::POST, &path, Some(&body))?, gateway.json);
            }
            Self::List { tenant, gateway } => {
                let path = format!("/tenants/{}/tokens", segment(&tenant)?);
                output::table(&gateway.call(Method::GET, &path, None)?, COLUMNS, gateway.json);
            }
            Self::Revoke { tenant, id, gateway } => {
                let path = format!("/tenants/{}/tokens/{}", segment(&tenant)?, segment(&id)?);
                gateway.call(Method::DELETE, &path, None)?;
            }
        }
        Ok(())
    }
}
