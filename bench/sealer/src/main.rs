//! Seals one key many times, as a client that seals anew for each request does: a line is one `X-Sealed-Key` header.
//!
//! `sealer --keys FILE --tenant TENANT --provider PROVIDER --key KEY --count N`, where the file is what
//! `GET /api/v1/sealing-keys` answered.

use std::{
    fs,
    io::{self, BufWriter, Write as _},
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, anyhow};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bench_tools::flags::Flags;
use keyferry_envelope::{
    ApiKey, Kem, Kid, SealFor, SealPurpose, SealingPublicKey, SecretBytes, SystemEntropy, seal_key,
};
use serde_json::Value;

fn main() -> anyhow::Result<()> {
    let flags = Flags::read(&["keys", "tenant", "provider", "key", "count"])?;
    let list: Value = serde_json::from_slice(&fs::read(flags.need::<String>("keys")?)?)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let (kid, public) = first_x25519(&list)?;
    let (tenant, provider): (String, String) = (flags.need("tenant")?, flags.need("provider")?);
    let sealed_for = SealFor { purpose: SealPurpose::Request, tenant: &tenant, provider: &provider, ts: now };
    let key = ApiKey::parse(SecretBytes::new(flags.need::<String>("key")?.into_bytes()))?;
    let mut out = BufWriter::new(io::stdout().lock());
    for _ in 0..flags.need::<u32>("count")? {
        let text = seal_key(&public, &kid, &sealed_for, &key, &SystemEntropy)?;
        writeln!(out, "x-sealed-key: {text}")?;
    }
    Ok(out.flush()?)
}

/// The first key of the list whose kind is the cheap one for clients.
fn first_x25519(list: &Value) -> anyhow::Result<(Kid, SealingPublicKey)> {
    let keys = list["keys"].as_array().context("no list")?;
    let found =
        keys.iter().find(|key| key["kem"] == 0x20).ok_or_else(|| anyhow!("no X25519 key in {list}"))?;
    let text = |member: &str| found[member].as_str().with_context(|| format!("no {member}"));
    let public = URL_SAFE_NO_PAD.decode(text("public_key")?)?;
    Ok((Kid::parse(text("kid")?)?, SealingPublicKey::from_bytes(Kem::X25519, &public)?))
}
