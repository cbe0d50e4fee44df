//! A hardware module behind PKCS#11 as a root: AES-256-GCM inside the token, with a key that never
//! leaves it.
//!
//! | module | one idea |
//! |---|---|
//! | `module` | the shared library, loaded once a process |
//! | `worker` | the one thread that may call it, since every call blocks |
//! | `token` | session, login and key, opened anew after a failure |
//! | `pin` | the file with the user's PIN |
//! | `gcm` | the cipher, and how a wrapped key is written down |

#[cfg(fuzzing)]
pub mod fuzzing;
mod gcm;
mod module;
mod pin;
mod token;
mod worker;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use keyferry_core::port::root::{KeyVersions, Root, RootError};
use keyferry_envelope::{Entropy, KeyContext, SecretBytes};

use self::{
    gcm::Blame,
    module::Module,
    token::{Token, failed},
    worker::Worker,
};
pub use self::{module::InvalidModule, pin::InvalidPinFile};
use crate::Pkcs11Config;

/// How long a call may take. Less than the five seconds that are promised, so that they are kept.
const PATIENCE: Duration = Duration::from_millis(4_800);

/// Why there is no such root.
#[derive(Debug, thiserror::Error)]
pub enum InvalidPkcs11 {
    /// `module`.
    #[error(transparent)]
    Module(#[from] InvalidModule),
    /// `pin_file`.
    #[error(transparent)]
    PinFile(#[from] InvalidPinFile),
}

impl InvalidPkcs11 {
    /// The value that is wrong.
    pub const fn field(&self) -> &'static str {
        match self {
            Self::Module(_) => "module",
            Self::PinFile(_) => "pin_file",
        }
    }
}

/// The root on a token.
pub struct Pkcs11 {
    id: String,
    module: Arc<Worker<Module>>,
    token: Arc<Token>,
}

impl Pkcs11 {
    /// Loads the module and looks at the PIN's file. The token is looked for at the first call: it may
    /// be away at the start as it may be later.
    pub fn new(config: &Pkcs11Config, entropy: Arc<dyn Entropy>) -> Result<Self, InvalidPkcs11> {
        pin::read(&config.pin_file)?;
        Ok(Self {
            id: format!("pkcs11:{}/{}", config.token_label, config.key_label),
            module: module::module(&config.module)?,
            token: Arc::new(Token::new(config.clone(), entropy)),
        })
    }

    async fn run<R: Send + 'static>(
        &self,
        job: impl FnOnce(&Token, &mut Module) -> Result<R, RootError> + Send + 'static,
    ) -> Result<R, RootError> {
        let token = Arc::clone(&self.token);
        let run = self.module.run(PATIENCE, move |module| job(&token, module));
        run.await.map_err(|unserved| RootError::Away(unserved.to_string()))?
    }
}

#[async_trait]
impl Root for Pkcs11 {
    fn id(&self) -> &str {
        &self.id
    }

    async fn wrap(&self, context: &KeyContext<'_>, key: &SecretBytes) -> Result<Vec<u8>, RootError> {
        let aad = context.aad();
        let key = SecretBytes::init(key.expose().len(), |bytes| bytes.copy_from_slice(key.expose()));
        let wrap = move |token: &Token, module: &mut Module| {
            token.with_key(module, |session, handle| {
                let (iv, sealed) =
                    gcm::encrypt(session, handle, &aad, key.expose(), &*token.entropy).map_err(failed)?;
                gcm::write(&iv, &sealed).ok_or(RootError::Garbage("a ciphertext of another size"))
            })
        };
        self.run(wrap).await
    }

    async fn unwrap(&self, context: &KeyContext<'_>, wrapped: &[u8]) -> Result<SecretBytes, RootError> {
        let aad = context.aad();
        let (iv, sealed) = gcm::read(wrapped).ok_or(RootError::Refused)?;
        let sealed = sealed.to_vec();
        let unwrap = move |token: &Token, module: &mut Module| {
            token.with_key(module, |session, handle| {
                let decrypt = || gcm::decrypt(session, handle, &aad, iv, &sealed);
                let error = match decrypt() {
                    Ok(key) => return whole(key),
                    Err(error) => error,
                };
                match gcm::blame(&error) {
                    Blame::Data => return Err(RootError::Refused),
                    Blame::Token => return Err(failed(error)),
                    Blame::Unclear => {}
                }
                // "No" is for good, so the token must be well when it says it, and say it twice.
                if !token.works(session, handle) {
                    return Err(failed(error));
                }
                match decrypt() {
                    Ok(key) => whole(key),
                    Err(error) if gcm::blame(&error) == Blame::Token => Err(failed(error)),
                    Err(_) => Err(RootError::Refused),
                }
            })
        };
        self.run(unwrap).await
    }

    /// A key on a token has one version.
    async fn renew(&self, _: &KeyContext<'_>, _: &[u8]) -> Result<Option<Vec<u8>>, RootError> {
        Ok(None)
    }

    async fn versions(&self) -> Result<KeyVersions, RootError> {
        Ok(KeyVersions::One)
    }
}

fn whole(key: SecretBytes) -> Result<SecretBytes, RootError> {
    if key.expose().len() == 32 { Ok(key) } else { Err(RootError::Garbage("a key of another size")) }
}
