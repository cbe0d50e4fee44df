//! From the configuration to roots.

use std::{path::Path, pin::Pin, sync::Arc};

use keyferry_core::{clock::Clock, port::root::Root};
use keyferry_envelope::Entropy;
use keyferry_kms::{
    aws::{Aws, AwsConfigError},
    local::Local,
    pkcs11::{InvalidPkcs11, Pkcs11},
    vault::{Vault, VaultConfigError},
};

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
    /// Transit.
    #[error("{0}")]
    Vault(String, #[source] VaultConfigError),
    /// AWS KMS.
    #[error("{0}")]
    Aws(String, #[source] AwsConfigError),
    /// A hardware module.
    #[error("{0}")]
    Pkcs11(String, #[source] InvalidPkcs11),
}

/// Whether what is missing may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Making {
    /// The gateway's first start makes the default key file.
    Allowed,
    /// A command that looks at a store must not: a new key would open nothing.
    Forbidden,
}

/// What a root needs done for as long as the gateway runs.
pub type Chore = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Opens all roots of a configuration; `database` tells whether this is a first start. No root is
/// asked anything yet.
pub fn open_roots(
    config: &Kms,
    database: Option<&Path>,
    making: Making,
    clock: &Arc<dyn Clock>,
    entropy: &Arc<dyn Entropy>,
) -> Result<(Keyring, Vec<Chore>), RootsError> {
    let opening = Opening { database, making, clock, entropy };
    let mut chores = Vec::new();
    let primary = opening.root(&config.primary, "kms", &mut chores)?;
    let mut previous = Vec::with_capacity(config.previous.len());
    for (index, root) in config.previous.iter().enumerate() {
        previous.push(opening.root(root, &format!("kms.previous[{index}]"), &mut chores)?);
    }
    Ok((Keyring::new(primary, previous, config.cache_ttl, clock), chores))
}

struct Opening<'a> {
    database: Option<&'a Path>,
    making: Making,
    clock: &'a Arc<dyn Clock>,
    entropy: &'a Arc<dyn Entropy>,
}

impl Opening<'_> {
    fn root(
        &self,
        root: &RootConfig,
        at: &str,
        chores: &mut Vec<Chore>,
    ) -> Result<Arc<dyn Root>, RootsError> {
        let entropy = Arc::clone(self.entropy);
        Ok(match root {
            RootConfig::Local(source) => {
                let source = match self.making {
                    Making::Allowed => source.clone(),
                    Making::Forbidden => MasterSecret::File(source.path().clone()),
                };
                let root = load_master_secret(&source, self.database, &*entropy)
                    .map_err(|error| RootsError::MasterSecret(at.to_owned(), error))?;
                Arc::new(Local::new(root, entropy))
            }
            RootConfig::Vault(config) => {
                let vault = Vault::new(config, entropy)
                    .map_err(|error| RootsError::Vault(format!("{at}.{}", error.field()), error))?;
                let vault = Arc::new(vault);
                chores.push(Box::pin(Arc::clone(&vault).keep_token()));
                vault
            }
            RootConfig::Pkcs11(config) => {
                let module = Pkcs11::new(config, entropy);
                Arc::new(
                    module.map_err(|error| RootsError::Pkcs11(format!("{at}.{}", error.field()), error))?,
                )
            }
            RootConfig::Aws(config) => {
                let env = Arc::new(|name: &str| std::env::var(name).ok());
                let aws = Aws::new(config, Arc::clone(self.clock), env)
                    .map_err(|error| RootsError::Aws(format!("{at}.{}", error.field()), error))?;
                Arc::new(aws)
            }
        })
    }
}
