//! Where a root is and how to prove oneself to it.

use std::path::PathBuf;

/// Transit of HashiCorp Vault or OpenBao.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VaultConfig {
    /// `https://host:port`; `http://` only on loopback.
    pub address: String,
    /// Where the Transit engine is mounted.
    pub mount: String,
    /// The name of the Transit key.
    pub key: String,
    /// A file with the token; read again when it changes.
    pub token_file: PathBuf,
    /// The namespace.
    pub namespace: Option<String>,
    /// The only certificate authority to trust, PEM. Without it: the public ones.
    pub ca: Option<PathBuf>,
}

/// AWS KMS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AwsConfig {
    /// The key's id or ARN.
    pub key_id: String,
    /// The region.
    pub region: String,
    /// An endpoint instead of the region's own; `http://` only on loopback.
    pub endpoint: Option<String>,
    /// The only certificate authority to trust, PEM. Without it: the public ones.
    pub ca: Option<PathBuf>,
}

/// A hardware module behind PKCS#11.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pkcs11Config {
    /// The module, a shared library.
    pub module: PathBuf,
    /// The label of the token.
    pub token_label: String,
    /// The label of the AES-256 key on it.
    pub key_label: String,
    /// A file with the user's PIN.
    pub pin_file: PathBuf,
}
