//! `keyferry tenant …`

use http::Method;
use serde_json::{Map, Value, json};

use super::{
    api::{Gateway, segment},
    output,
};

/// Manage tenants.
#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// Add a tenant.
    Create {
        /// Its id: never changes.
        id: String,
        /// For people.
        #[arg(long)]
        name: Option<String>,
        #[command(flatten)]
        settings: Settings,
        #[command(flatten)]
        gateway: Gateway,
    },
    /// List the tenants.
    List {
        #[command(flatten)]
        gateway: Gateway,
    },
    /// Show a tenant.
    Get {
        /// Its id.
        id: String,
        #[command(flatten)]
        gateway: Gateway,
    },
    /// Change a tenant: only what is given.
    Update {
        /// Its id.
        id: String,
        /// For people.
        #[arg(long)]
        name: Option<String>,
        #[command(flatten)]
        settings: Settings,
        #[command(flatten)]
        gateway: Gateway,
    },
    /// Remove a tenant and destroy its keys. Usage and audit rows stay.
    Delete {
        /// Its id.
        id: String,
        /// Yes, destroy its keys.
        #[arg(long, required = true)]
        yes: bool,
        #[command(flatten)]
        gateway: Gateway,
    },
}

/// What an operator sets.
#[derive(clap::Args)]
pub(super) struct Settings {
    /// Which entitlements apply.
    #[arg(long)]
    tier: Option<String>,
    /// Turn bring-your-own-key on or off.
    #[arg(long, value_name = "true|false")]
    byok_enabled: Option<bool>,
    /// Requests a UTC day.
    #[arg(long, value_name = "N")]
    daily_quota: Option<u64>,
}

const COLUMNS: &[&str] = &["id", "name", "tier", "byok_enabled", "daily_quota", "created_at"];

impl Settings {
    fn body(self, name: Option<String>) -> Map<String, Value> {
        let mut body = Map::new();
        let mut set = |key: &str, value: Option<Value>| {
            if let Some(value) = value {
                body.insert(key.to_owned(), value);
            }
        };
        set("name", name.map(Value::from));
        set("tier", self.tier.map(Value::from));
        set("byok_enabled", self.byok_enabled.map(Value::from));
        set("daily_quota", self.daily_quota.map(Value::from));
        body
    }
}

impl Command {
    pub(super) fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Create { id, name, settings, gateway } => {
                let mut body = settings.body(name);
                body.insert("id".to_owned(), json!(id));
                output::object(&gateway.call(Method::POST, "/tenants", Some(&body.into()))?, gateway.json);
            }
            Self::List { gateway } => {
                output::table(&gateway.call(Method::GET, "/tenants", None)?, COLUMNS, gateway.json);
            }
            Self::Get { id, gateway } => {
                let path = format!("/tenants/{}", segment(&id)?);
                output::object(&gateway.call(Method::GET, &path, None)?, gateway.json);
            }
            Self::Update { id, name, settings, gateway } => {
                let path = format!("/tenants/{}", segment(&id)?);
                let body = settings.body(name).into();
                output::object(&gateway.call(Method::PATCH, &path, Some(&body))?, gateway.json);
            }
            Self::Delete { id, gateway, .. } => {
                gateway.call(Method::DELETE, &format!("/tenants/{}", segment(&id)?), None)?;
            }
        }
        Ok(())
    }
}
