//! From the configuration to roots.

use std::{path::Path, sync::Arc};

use keyferry_core::{clock::Clock, port::root::Root};
use keyferry_envelope::Entropy;
use keyferry_kms::local::Local;

use super::{
    keyring::Keyring,
    master_secret::{MasterSecretError, load_master_secret},
};
use crate::config::{Kms, MasterSecret, RootConfig};

/// Why a root cannot be used. The path of the value comes first.
#[derive(Debug, thiserror::Error)]
pub enum RootsError {
    /// The master secret.
    #[error("{0}")]
    MasterSecret(String, #[source] MasterSecretError),
}

/// Whether what is missing may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Making {
    /// The gateway's first start makes the default key file.
    Allowed,
    /// A command that looks at a store must not: a new key would open nothing.
    Forbidden,
}

/// Opens all roots of a configuration. `database` tells whether this is a first start.
pub fn open_roots(
    config: &Kms,
    database: &Path,
    making: Making,
    clock: &Arc<dyn Clock>,
    entropy: &Arc<dyn Entropy>,
) -> Result<Keyring, RootsError> {
    let open = |root: &RootConfig, at: String| open_root(root, at, database, making, entropy);
    let primary = open(&config.primary, "kms".to_owned())?;
    let previous = config
        .previous
        .iter()
        .enumerate()
        .map(|(index, root)| open(root, format!("kms.previous[{index}]")))
        .collect::<Result<_, _>>()?;
    Ok(Keyring::new(primary, previous, config.cache_ttl, clock))
}

fn open_root(
    config: &RootConfig,
    at: String,
    database: &Path,
    making: Making,
    entropy: &Arc<dyn Entropy>,
) -> Result<Arc<dyn Root>, RootsError> {
    Ok(match config {
        RootConfig::Local(source) => {
            let source = match making {
                Making::Allowed => source.clone(),
                Making::Forbidden => MasterSecret::File(source.path().clone()),
            };
            let root = load_master_secret(&source, database, &**entropy)
                .map_err(|error| RootsError::MasterSecret(at, error))?;
            Arc::new(Local::new(root, Arc::clone(entropy)))
        }
        RootConfig::Vault(_) | RootConfig::Aws(_) | RootConfig::Pkcs11(_) => {
            return Err(RootsError::MasterSecret(at, MasterSecretError::Missing("in work".to_owned())));
        }
    })
}
