//! `keyferry sealing-key …`: works on the store, beside a running gateway too; `sign` on nothing but a
//! list and the operator's offline key.

use std::{
    io::Read,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail, ensure};
use keyferry_core::{
    clock::Clock,
    sealing::{SKEW_SECS, SealingKeyList},
};
use keyferry_envelope::{Kem, SigningKey};
use serde_json::json;

use super::{ConfigFile, output, runtime, seal::operator, store};
use crate::{
    config::{self, Config},
    custody::{EVERY_SECS, SealingKeys},
};

/// Make, sign and replace the keys that clients seal to.
#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// Show the keys there are.
    List {
        #[command(flatten)]
        config: ConfigFile,
        /// Print JSON: the text that is signed.
        #[arg(long)]
        json: bool,
    },
    /// Make the keys of days to come, to be signed together.
    Make {
        #[command(flatten)]
        config: ConfigFile,
        /// For how many days.
        #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u16).range(1..=30))]
        days: u16,
    },
    /// Make a new key of each kind now.
    Rotate {
        #[command(flatten)]
        config: ConfigFile,
        /// Destroy all others at once: what was sealed to them opens nowhere any more.
        #[arg(long)]
        destroy_old: bool,
    },
    /// Sign a list with the operator's offline key, and print the signature.
    Sign {
        /// The private key: PEM, as `openssl genpkey -algorithm ed25519` writes it.
        #[arg(long, value_name = "FILE")]
        signing_key: PathBuf,
        /// The list, as `sealing-key list` prints it in JSON. Without it: standard input.
        list: Option<PathBuf>,
    },
    /// Publish a signed list.
    Publish {
        #[command(flatten)]
        config: ConfigFile,
        /// The operator's public key (PEM) that the signature must fit.
        #[arg(long, value_name = "FILE", required_unless_present = "unsigned")]
        signed_by: Option<PathBuf>,
        /// Go back to an unsigned list, whose keys the gateway makes by itself.
        #[arg(long, conflicts_with_all = ["signed_by", "jws"])]
        unsigned: bool,
        /// What `sealing-key sign` printed. Without it: standard input.
        jws: Option<PathBuf>,
    },
}

impl Command {
    pub(super) fn run(self) -> anyhow::Result<()> {
        match self {
            Self::List { config, json } => with_keys(&config, async move |keys, _| list(&keys, json).await),
            Self::Make { config, days } => {
                with_keys(&config, async move |keys, clock| make(&keys, &*clock, days).await)
            }
            Self::Rotate { config, destroy_old } => {
                with_keys(&config, async move |keys, clock| rotate(&keys, &*clock, destroy_old).await)
            }
            Self::Sign { signing_key, list } => sign(&signing_key, list.as_deref()),
            // Without the operator's key it is `--unsigned`.
            Self::Publish { config, signed_by, unsigned: _, jws } => {
                let jws = signed_by.map(|key| signed(&key, jws.as_deref())).transpose()?;
                with_keys(&config, async move |keys, _| publish(&keys, jws.as_deref()).await)
            }
        }
    }
}

fn with_keys(
    config: &ConfigFile,
    run: impl AsyncFnOnce(SealingKeys, std::sync::Arc<dyn Clock>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let config: Config = config::load(config.config.as_deref())?;
    runtime()?.block_on(async {
        let (ground, _) = store::open(&config).await?;
        let clock = std::sync::Arc::clone(&ground.clock);
        run(ground.sealing_keys(), clock).await
    })
}

const SOURCE: &str = "keyferry sealing-key";

async fn list(keys: &SealingKeys, as_json: bool) -> anyhow::Result<()> {
    let list = keys.all().await?;
    if as_json {
        output::line(&list.to_json());
        return Ok(());
    }
    let rows = json!({"data": list.keys});
    output::table(&rows, &["kid", "kem", "not_before", "not_after"], false);
    Ok(())
}

async fn make(keys: &SealingKeys, clock: &dyn Clock, days: u16) -> anyhow::Result<()> {
    let now = clock.now();
    for kem in Kem::ALL {
        let there = keys.all().await?;
        let newest = there.keys.iter().filter(|key| key.kem == kem.id()).map(|key| key.not_before).max();
        let mut begin = newest.map_or(now, |newest| newest.plus_secs(EVERY_SECS).max(now));
        let end = now.plus_secs(i64::from(days) * EVERY_SECS - EVERY_SECS / 2);
        while begin < end {
            keys.make(kem, begin, None, "operator", SOURCE).await?;
            begin = begin.plus_secs(EVERY_SECS);
        }
    }
    list(keys, false).await?;
    output::error_line(
        "Sign them: keyferry sealing-key list --json | keyferry sealing-key sign --signing-key FILE",
    );
    Ok(())
}

async fn rotate(keys: &SealingKeys, clock: &dyn Clock, destroy_old: bool) -> anyhow::Result<()> {
    if destroy_old {
        keys.destroy_all().await?;
        keys.publish(None, SOURCE).await?;
    }
    for kem in Kem::ALL {
        let begin = clock.now().plus_secs(-SKEW_SECS);
        keys.make(kem, begin, None, "operator", SOURCE).await?;
    }
    list(keys, false).await
}

fn sign(signing_key: &Path, list: Option<&Path>) -> anyhow::Result<()> {
    let pem = super::secret::from_file(signing_key)?;
    // The end of the last line was trimmed, and a PEM file has one.
    let key = SigningKey::from_pem(pem.expose())?;
    let list = SealingKeyList::parse(text(list)?.trim().as_bytes())?;
    ensure!(!list.keys.is_empty(), "the list has no key");
    output::line(&list.sign(&key));
    Ok(())
}

/// A list that the operator has signed.
fn signed(signed_by: &Path, jws: Option<&Path>) -> anyhow::Result<String> {
    let jws = text(jws)?.trim().to_owned();
    SealingKeyList::verify(&jws, &operator(signed_by)?)?;
    Ok(jws)
}

async fn publish(keys: &SealingKeys, jws: Option<&str>) -> anyhow::Result<()> {
    if let Some(jws) = jws {
        let list = SealingKeyList::payload_of(jws).context("this is no signed list of sealing keys")?;
        let there = keys.all().await?;
        if let Some(unknown) = list.keys.iter().find(|key| !there.keys.contains(key)) {
            bail!("the list has the key {}, which is not in the store as it stands there", unknown.kid);
        }
        ensure!(!list.keys.is_empty(), "the list has no key");
    }
    keys.publish(jws, SOURCE).await?;
    output::line("Published: a gateway shows it within 30 seconds.");
    Ok(())
}

/// The longest list that is read.
const MAX: u64 = 256 * 1024;

fn text(path: Option<&Path>) -> anyhow::Result<String> {
    let mut text = String::new();
    match path {
        Some(path) => std::fs::File::open(path)
            .with_context(|| format!("cannot read {}", path.display()))?
            .take(MAX)
            .read_to_string(&mut text)?,
        None => std::io::stdin().take(MAX).read_to_string(&mut text)?,
    };
    Ok(text)
}
