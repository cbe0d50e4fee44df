//! The service secret: drawn at the first start, kept wrapped in the store, opened at each start.

use keyferry_core::{
    port::{
        root::{Root, RootError},
        store::{Store, StoreError},
    },
    time::Timestamp,
    wrapped::WrappedKey,
};
use keyferry_envelope::{Entropy, KeyPurpose, ServiceSecret};

use super::keyring::Keyring;

/// Its name in the store.
const NAME: &str = "service";

/// Why there is no service secret.
#[derive(Debug, thiserror::Error)]
pub enum ServiceSecretError {
    /// It cannot be read or written.
    #[error("storage")]
    Store(#[from] StoreError),
    /// No configured root wrapped it.
    #[error(
        "kms: this store was made under the root {0}, and that is not the one that is configured. \
         Bring it back, or name it in kms.previous: without it no stored key opens, and the audit log \
         would break"
    )]
    ForeignRoot(String),
    /// The root does not open it.
    #[error("kms: the root {0} does not open this store")]
    Root(String, #[source] RootError),
    /// The root opened something else.
    #[error("kms: what the root {0} opened is no service secret")]
    NoSecret(String),
}

/// Opens the secret, or draws it for a new store.
pub async fn open_or_make(
    store: &dyn Store,
    keyring: &Keyring,
    now: Timestamp,
    entropy: &dyn Entropy,
) -> Result<ServiceSecret, ServiceSecretError> {
    let stored = match store.wrapped_key(KeyPurpose::Service, "").await? {
        Some(stored) => stored,
        None => store.init_wrapped_key(&draw(keyring.primary(), now, entropy).await?).await?,
    };
    open(keyring, &stored).await
}

/// Opens the secret of a store that has one.
pub async fn open_existing(
    store: &dyn Store,
    keyring: &Keyring,
) -> Result<ServiceSecret, ServiceSecretError> {
    match store.wrapped_key(KeyPurpose::Service, "").await? {
        Some(stored) => open(keyring, &stored).await,
        None => Err(StoreError::NotFound("service secret: no gateway ever started on this store").into()),
    }
}

async fn draw(
    root: &dyn Root,
    now: Timestamp,
    entropy: &dyn Entropy,
) -> Result<WrappedKey, ServiceSecretError> {
    let secret = ServiceSecret::generate(entropy);
    let mut key = WrappedKey {
        purpose: KeyPurpose::Service,
        owner: String::new(),
        id: NAME.to_owned(),
        root: root.id().to_owned(),
        wrapped: Vec::new(),
        created_at: now,
        retired_at: None,
    };
    let wrapped = root.wrap(&key.context(), secret.secret()).await;
    key.wrapped = wrapped.map_err(|error| ServiceSecretError::Root(key.root.clone(), error))?;
    Ok(key)
}

async fn open(keyring: &Keyring, stored: &WrappedKey) -> Result<ServiceSecret, ServiceSecretError> {
    if keyring.root_of(stored).is_none() {
        return Err(ServiceSecretError::ForeignRoot(stored.root.clone()));
    }
    let secret = keyring.unwrap(stored).await;
    let secret = secret.map_err(|error| ServiceSecretError::Root(stored.root.clone(), error))?;
    ServiceSecret::from_secret(secret).map_err(|_| ServiceSecretError::NoSecret(stored.root.clone()))
}
