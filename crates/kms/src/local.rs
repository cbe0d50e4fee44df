//! A master secret in a file as a root.

use std::sync::Arc;

use async_trait::async_trait;
use keyferry_core::port::root::{KeyVersions, Root, RootError};
use keyferry_envelope::{Entropy, KeyContext, LocalRoot, SecretBytes};

/// The root in this process.
pub struct Local {
    id: String,
    root: LocalRoot,
    entropy: Arc<dyn Entropy>,
}

impl Local {
    /// Over a master secret.
    pub fn new(root: LocalRoot, entropy: Arc<dyn Entropy>) -> Self {
        Self { id: root.id(), root, entropy }
    }
}

#[async_trait]
impl Root for Local {
    fn id(&self) -> &str {
        &self.id
    }

    async fn wrap(&self, context: &KeyContext<'_>, key: &SecretBytes) -> Result<Vec<u8>, RootError> {
        self.root.wrap(context, key, &*self.entropy).map_err(|_| RootError::Garbage("no wrapped key"))
    }

    async fn unwrap(&self, context: &KeyContext<'_>, wrapped: &[u8]) -> Result<SecretBytes, RootError> {
        self.root.unwrap(context, wrapped).map_err(|_| RootError::Refused)
    }

    /// A master secret has one version.
    async fn renew(&self, _: &KeyContext<'_>, _: &[u8]) -> Result<Option<Vec<u8>>, RootError> {
        Ok(None)
    }

    async fn versions(&self) -> Result<KeyVersions, RootError> {
        Ok(KeyVersions::One)
    }
}
