//! `keyferry tenant …`

use http::Method;
use keyferry_core::{fallback::Failure, tenant::Ceiling};
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
    /// Whether the platform's key may serve in a case: missing, unauthorized, rate_limited, no_credit or server_error; may
    /// be given several times.
    #[arg(long, value_name = "CASE=true|false", value_parser = switch)]
    fallback: Vec<(String, bool)>,
    /// What the platform may pay, in millionths of a US dollar; `none`: nothing.
    #[arg(long, value_name = "N|none", value_parser = ceiling)]
    budget_micro_usd: Option<Ceiling>,
    /// What that counts over: a month of UTC, or all time.
    #[arg(long, value_parser = ["month", "total"])]
    budget_period: Option<String>,
}

/// One of the cases in which the platform's key may serve, on or off.
fn switch(text: &str) -> Result<(String, bool), String> {
    let cases = Failure::ALL.map(Failure::as_str);
    let (case, on) = text.split_once('=').ok_or("expected CASE=true or CASE=false")?;
    if !cases.contains(&case) {
        return Err(format!("the cases are {}", cases.join(", ")));
    }
    let on = on.parse().map_err(|_| "a case is on (true) or off (false)")?;
    Ok((case.to_owned(), on))
}

/// `none` is a value as well: it takes a ceiling away.
fn ceiling(text: &str) -> Result<Ceiling, String> {
    if text == "none" {
        return Ok(Ceiling(None));
    }
    text.parse()
        .map(|number| Ceiling(Some(number)))
        .map_err(|_| "expected a whole number, or none".to_owned())
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
        let switches: Map<_, _> = self.fallback.into_iter().map(|(case, on)| (case, on.into())).collect();
        set("fallback", (!switches.is_empty()).then(|| switches.into()));
        set("budget_micro_usd", self.budget_micro_usd.map(|ceiling| json!(ceiling.0)));
        set("budget_period", self.budget_period.map(Value::from));
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
