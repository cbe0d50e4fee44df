//! The master secret's file: 64 hex characters that only their owner may read.

use std::{
    fs,
    io::{Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::Path,
};

use keyferry_envelope::{Entropy, InvalidMasterSecret, LocalRoot, SecretBytes};

use crate::config::MasterSecret;

/// Why there is no master secret.
#[derive(Debug, thiserror::Error)]
pub enum MasterSecretError {
    /// The file cannot be read or made.
    #[error("the master secret's file {0} cannot be used")]
    Io(String, #[source] std::io::Error),
    /// Others may read the file.
    #[error("the master secret's file {0} has mode {1:04o}: others may read it. Run: chmod 600 {0}")]
    Mode(String, u32),
    /// The file does not hold a master secret.
    #[error("the master secret's file {0} is wrong")]
    Invalid(String, #[source] InvalidMasterSecret),
    /// There is a database that an absent secret sealed.
    #[error(
        "the master secret's file {0} is missing, but there is a database. \
         Bring the file back: without it no stored key can be opened"
    )]
    Missing(String),
}

/// Reads the master secret. The default file is made when there is neither it nor a database.
pub fn load_master_secret(
    source: &MasterSecret,
    database: Option<&Path>,
    entropy: &dyn Entropy,
) -> Result<LocalRoot, MasterSecretError> {
    let path = source.path();
    let name = path.display().to_string();
    if let MasterSecret::Default(path) = source
        && !path.exists()
    {
        if database.is_none_or(Path::exists) {
            return Err(MasterSecretError::Missing(name));
        }
        return make(path, entropy).map_err(|error| MasterSecretError::Io(name, error));
    }
    let io = |error| MasterSecretError::Io(name.clone(), error);
    let mut file = fs::File::open(path).map_err(io)?;
    let meta = file.metadata().map_err(io)?;
    if meta.mode() & 0o077 != 0 {
        return Err(MasterSecretError::Mode(name, meta.permissions().mode() & 0o7777));
    }
    // One byte more than a valid file can have, read straight into locked memory.
    let mut len = 0;
    let secret = SecretBytes::try_init(66, |bytes| {
        while len < bytes.len() {
            match file.read(&mut bytes[len..])? {
                0 => break,
                n => len += n,
            }
        }
        Ok(())
    })
    .map_err(io)?;
    LocalRoot::from_hex(&secret.expose()[..len]).map_err(|error| MasterSecretError::Invalid(name, error))
}

fn make(path: &Path, entropy: &dyn Entropy) -> std::io::Result<LocalRoot> {
    if let Some(folder) = path.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let root = LocalRoot::generate(entropy);
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(root.to_hex_line().expose())?;
    file.sync_all()?;
    Ok(root)
}
