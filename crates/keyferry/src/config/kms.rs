//! The section `kms`: one root to wrap with, and others to read from.

use std::{path::PathBuf, time::Duration};

use keyferry_kms::{AwsConfig, Pkcs11Config, VaultConfig, aws::Aws, vault::Vault};

use super::{
    ConfigError,
    file::{self, KmsKind},
};

/// The longest that an opened tenant key may serve.
const MAX_CACHE_TTL: Duration = Duration::from_secs(300);

/// The roots.
#[derive(Clone, Debug)]
pub struct Kms {
    /// What wraps.
    pub primary: RootConfig,
    /// What may still be read from.
    pub previous: Vec<RootConfig>,
    /// How long an opened tenant key serves.
    pub cache_ttl: Duration,
}

impl Kms {
    /// All roots, the one that wraps first.
    pub fn roots(&self) -> impl Iterator<Item = &RootConfig> {
        std::iter::once(&self.primary).chain(&self.previous)
    }
}

/// One root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RootConfig {
    /// A master secret in a file.
    Local(MasterSecret),
    /// Transit of HashiCorp Vault or OpenBao.
    Vault(VaultConfig),
    /// AWS KMS.
    Aws(AwsConfig),
    /// A hardware module.
    Pkcs11(Pkcs11Config),
}

/// Where the master secret comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MasterSecret {
    /// The default file in the data folder, made at the first start.
    Default(PathBuf),
    /// A file that must be there.
    File(PathBuf),
}

impl MasterSecret {
    /// The file.
    pub fn path(&self) -> &PathBuf {
        match self {
            Self::Default(path) | Self::File(path) => path,
        }
    }
}

/// Checks the section; `default_secret` is the file that is used when none is named.
pub(super) fn kms(written: &file::Kms, default_secret: PathBuf) -> Result<Kms, ConfigError> {
    let cache_ttl = written.cache_ttl.map_or(MAX_CACHE_TTL, |span| span.0);
    if cache_ttl > MAX_CACHE_TTL || cache_ttl.is_zero() {
        return Err(ConfigError::at("kms.cache_ttl", "expected more than 0 and at most 300s"));
    }
    let primary = root(written, "kms", Some(default_secret))?;
    let mut previous = Vec::with_capacity(written.previous.len());
    for (index, one) in written.previous.iter().enumerate() {
        let at = format!("kms.previous[{index}]");
        if one.cache_ttl.is_some() || !one.previous.is_empty() {
            return Err(ConfigError::at(at, "`cache_ttl` and `previous` belong to `kms` itself"));
        }
        let root = root(one, &at, None)?;
        if root == primary || previous.contains(&root) {
            return Err(ConfigError::at(at, "stands here twice"));
        }
        previous.push(root);
    }
    Ok(Kms { primary, previous, cache_ttl })
}

fn root(written: &file::Kms, at: &str, default_secret: Option<PathBuf>) -> Result<RootConfig, ConfigError> {
    only_fields_of_the_kind(written, at)?;
    let text = |value: &Option<String>, name| required(value.as_ref(), at, name);
    let path = |value: &Option<PathBuf>, name| required(value.as_ref(), at, name);
    let root = match written.kind {
        KmsKind::Local => RootConfig::Local(match (&written.master_secret_file, default_secret) {
            (Some(file), _) => MasterSecret::File(file.clone()),
            (None, Some(default)) => MasterSecret::Default(default),
            (None, None) => return Err(missing(at, "master_secret_file")),
        }),
        KmsKind::Vault => RootConfig::Vault(VaultConfig {
            address: text(&written.address, "address")?,
            mount: written.mount.clone().unwrap_or_else(|| "transit".to_owned()),
            key: written.key.clone().unwrap_or_else(|| "keyferry".to_owned()),
            token_file: path(&written.token_file, "token_file")?,
            namespace: written.namespace.clone(),
            ca: written.ca.clone(),
        }),
        KmsKind::Aws => RootConfig::Aws(AwsConfig {
            key_id: text(&written.key_id, "key_id")?,
            region: text(&written.region, "region")?,
            endpoint: written.endpoint.clone(),
            ca: written.ca.clone(),
        }),
        KmsKind::Pkcs11 => RootConfig::Pkcs11(Pkcs11Config {
            module: path(&written.module, "module")?,
            token_label: text(&written.token_label, "token_label")?,
            key_label: text(&written.key_label, "key_label")?,
            pin_file: path(&written.pin_file, "pin_file")?,
        }),
    };
    judge(&root, at)?;
    Ok(root)
}

/// What the backends refuse, by their own rules, before a file is opened.
fn judge(root: &RootConfig, at: &str) -> Result<(), ConfigError> {
    match root {
        RootConfig::Vault(vault) => {
            Vault::judge(vault).map_err(|error| ConfigError::at(format!("{at}.{}", error.field()), error))
        }
        RootConfig::Aws(aws) => {
            Aws::judge(aws).map_err(|error| ConfigError::at(format!("{at}.{}", error.field()), error))
        }
        RootConfig::Local(_) | RootConfig::Pkcs11(_) => Ok(()),
    }
}

/// A field of another kind would be silently without effect.
fn only_fields_of_the_kind(written: &file::Kms, at: &str) -> Result<(), ConfigError> {
    use KmsKind::{Aws, Local, Pkcs11, Vault};
    let fields: [(&str, bool, &[KmsKind]); 14] = [
        ("master_secret_file", written.master_secret_file.is_some(), &[Local]),
        ("address", written.address.is_some(), &[Vault]),
        ("mount", written.mount.is_some(), &[Vault]),
        ("key", written.key.is_some(), &[Vault]),
        ("token_file", written.token_file.is_some(), &[Vault]),
        ("namespace", written.namespace.is_some(), &[Vault]),
        ("ca", written.ca.is_some(), &[Vault, Aws]),
        ("key_id", written.key_id.is_some(), &[Aws]),
        ("region", written.region.is_some(), &[Aws]),
        ("endpoint", written.endpoint.is_some(), &[Aws]),
        ("module", written.module.is_some(), &[Pkcs11]),
        ("token_label", written.token_label.is_some(), &[Pkcs11]),
        ("key_label", written.key_label.is_some(), &[Pkcs11]),
        ("pin_file", written.pin_file.is_some(), &[Pkcs11]),
    ];
    for (name, is_written, kinds) in fields {
        if is_written && !kinds.contains(&written.kind) {
            return Err(ConfigError::at(format!("{at}.{name}"), "does not belong to this kind"));
        }
    }
    Ok(())
}

fn required<T: Clone>(value: Option<&T>, at: &str, name: &str) -> Result<T, ConfigError> {
    value.cloned().ok_or_else(|| missing(at, name))
}

fn missing(at: &str, name: &str) -> ConfigError {
    ConfigError::at(format!("{at}.{name}"), "is missing")
}
