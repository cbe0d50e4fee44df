//! Transit of HashiCorp Vault or OpenBao as a root: the key that wraps never leaves the server.
//!
//! What is wrapped is bound to its context as associated data, and a key with `derived=true` is
//! derived from the same bytes. The server's own `rewrap` knows no associated data (it answers as to
//! a changed ciphertext), so renewing is to unwrap and to wrap again.

#[cfg(fuzzing)]
pub mod fuzzing;
mod place;
mod renewal;
mod reply;
mod request;
mod token;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use keyferry_core::port::root::{KeyVersions, Root, RootError};
use keyferry_envelope::{Entropy, KeyContext, KeyPurpose, SecretBytes};
use tokio::sync::OnceCell;

pub use self::token::{TokenFileError, is_open_to_others};
use self::{
    place::Place,
    request::Field,
    token::{Token, TokenFile},
};
use crate::{
    VaultConfig,
    http::{self as endpoint, Answer, Call, Endpoint, EndpointError},
};

const TOKEN: HeaderName = HeaderName::from_static("x-vault-token");
const NAMESPACE: HeaderName = HeaderName::from_static("x-vault-namespace");
/// Without it an agent in between may refuse: it tells a client from a forged request of a browser.
const REQUEST: HeaderName = HeaderName::from_static("x-vault-request");

/// Why a configuration makes no root.
#[derive(Debug, thiserror::Error)]
pub enum VaultConfigError {
    /// `address`, or `ca`.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// `mount`.
    #[error("expected the path where Transit is mounted, of letters, digits, `_`, `-`, `.` and `/`")]
    Mount,
    /// `key`.
    #[error("expected the name of a Transit key, of letters, digits, `_`, `-` and `.`")]
    Key,
    /// `namespace`.
    #[error("expected a namespace, of letters, digits, `_`, `-`, `.` and `/`")]
    Namespace,
    /// `token_file`.
    #[error(transparent)]
    TokenFile(#[from] TokenFileError),
}

impl VaultConfigError {
    /// The value that is wrong.
    pub const fn field(&self) -> &'static str {
        match self {
            Self::Endpoint(error) if error.is_about_ca() => "ca",
            Self::Endpoint(_) => "address",
            Self::Mount => "mount",
            Self::Key => "key",
            Self::Namespace => "namespace",
            Self::TokenFile(_) => "token_file",
        }
    }
}

/// What we were denied for.
enum Denied {
    /// The file gave no token.
    File,
    /// The server took this token for none, or for one that may not.
    Token(Token),
}

/// A Transit key.
pub struct Vault {
    id: String,
    place: Place,
    endpoint: Endpoint,
    token: TokenFile,
    denied: Mutex<Option<Denied>>,
    /// Set once the server has shown that it binds what it wraps.
    binds: OnceCell<()>,
    entropy: Arc<dyn Entropy>,
}

impl Vault {
    /// Judges what stands in the configuration, without opening the files that it names.
    pub fn judge(config: &VaultConfig) -> Result<(), VaultConfigError> {
        Place::new(config)?;
        Ok(endpoint::judge(&config.address, config.ca.as_deref())?)
    }

    /// Judges the configuration and reads the token. The server is not asked.
    pub fn new(config: &VaultConfig, entropy: Arc<dyn Entropy>) -> Result<Self, VaultConfigError> {
        Self::judge(config)?;
        let place = Place::new(config)?;
        Ok(Self {
            id: place.id(),
            place,
            endpoint: Endpoint::new(&config.address, config.ca.as_deref())?,
            token: TokenFile::new(&config.token_file)?,
            denied: Mutex::default(),
            binds: OnceCell::new(),
            entropy,
        })
    }

    /// One call, and once more if the token was refused and the file has another by now.
    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: impl Fn() -> SecretBytes + Send,
    ) -> Result<Answer, RootError> {
        let no_token = |_: &RootError| *self.denied() = Some(Denied::File);
        let mut token = self.token.current().await.inspect_err(no_token)?;
        let mut answer = self.endpoint.call(self.call(&method, path, body(), &token)?).await?;
        if answer.status == http::StatusCode::FORBIDDEN
            && let Some(newer) = self.token.read_again(&token).await.inspect_err(no_token)?
        {
            token = newer;
            answer = self.endpoint.call(self.call(&method, path, body(), &token)?).await?;
        }
        if answer.status == http::StatusCode::FORBIDDEN {
            *self.denied() = Some(Denied::Token(token));
        }
        Ok(answer)
    }

    fn denied(&self) -> MutexGuard<'_, Option<Denied>> {
        self.denied.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn call<'a>(
        &self,
        method: &Method,
        path: &'a str,
        body: SecretBytes,
        token: &Token,
    ) -> Result<Call<'a>, RootError> {
        let mut headers = HeaderMap::with_capacity(3);
        headers.insert(TOKEN, token.header()?);
        headers.insert(REQUEST, HeaderValue::from_static("true"));
        if let Some(namespace) = self.place.namespace() {
            headers.insert(NAMESPACE, namespace.clone());
        }
        Ok(Call { method: method.clone(), path, headers, body })
    }

    async fn encrypt(&self, context: &KeyContext<'_>, key: &SecretBytes) -> Result<Vec<u8>, RootError> {
        let aad = context.aad();
        let body = || {
            request::body(&[
                Field::Encoded("plaintext", key.expose()),
                Field::Encoded("associated_data", &aad),
                Field::Encoded("context", &aad),
            ])
        };
        let answer = self.ask(Method::POST, self.place.encrypt(), body).await?;
        let wrapped = reply::wrapped(&answer)?;
        self.binds.get_or_try_init(|| self.prove_that_it_binds(&wrapped, aad)).await?;
        Ok(wrapped)
    }

    /// A server from before associated data ignores what it does not know, and would open every key
    /// for everybody. So the first key that is wrapped must not open for another context.
    async fn prove_that_it_binds(&self, wrapped: &[u8], mut aad: Vec<u8>) -> Result<(), RootError> {
        aad.push(0);
        match self.decrypt(&aad, wrapped).await {
            Err(RootError::Refused) => Ok(()),
            Err(error) => Err(error),
            Ok(_) => Err(RootError::Denied("this server ignores associated data: it is too old".to_owned())),
        }
    }

    async fn decrypt(&self, aad: &[u8], wrapped: &[u8]) -> Result<SecretBytes, RootError> {
        // What this server cannot have written is not sent; what it can has nothing to escape in JSON.
        let ciphertext = reply::Ciphertext::read(wrapped).ok_or(RootError::Refused)?;
        let body = || {
            request::body(&[
                Field::Plain("ciphertext", ciphertext.text()),
                Field::Encoded("associated_data", aad),
                Field::Encoded("context", aad),
            ])
        };
        let answer = self.ask(Method::POST, self.place.decrypt(), body).await?;
        reply::key(&answer)
    }
}

#[async_trait]
impl Root for Vault {
    fn id(&self) -> &str {
        &self.id
    }

    async fn wrap(&self, context: &KeyContext<'_>, key: &SecretBytes) -> Result<Vec<u8>, RootError> {
        endpoint::in_time(self.encrypt(context, key)).await
    }

    async fn unwrap(&self, context: &KeyContext<'_>, wrapped: &[u8]) -> Result<SecretBytes, RootError> {
        endpoint::in_time(self.decrypt(&context.aad(), wrapped)).await
    }

    /// The server does not say which version is the newest to a token that may only encrypt and
    /// decrypt, but what it writes does.
    async fn renew(&self, context: &KeyContext<'_>, wrapped: &[u8]) -> Result<Option<Vec<u8>>, RootError> {
        endpoint::in_time(async {
            let key = self.decrypt(&context.aad(), wrapped).await?;
            let again = self.encrypt(context, &key).await?;
            Ok((self.version_of(&again) != self.version_of(wrapped)).then_some(again))
        })
        .await
    }

    /// So a key that nobody needs is wrapped, to see under what.
    async fn versions(&self) -> Result<KeyVersions, RootError> {
        let context = KeyContext { purpose: KeyPurpose::Service, owner: "", id: "version" };
        let unneeded = SecretBytes::init(32, |key| self.entropy.fill(key));
        let wrapped = self.wrap(&context, &unneeded).await?;
        let version = self.version_of(&wrapped).ok_or(RootError::Garbage("no ciphertext of Transit"))?;
        Ok(KeyVersions::Newest(version))
    }

    fn version_of(&self, wrapped: &[u8]) -> Option<u32> {
        reply::Ciphertext::read(wrapped).map(|ciphertext| ciphertext.version())
    }

    async fn has_other_credentials(&self) -> bool {
        if self.denied().is_none() {
            return false;
        }
        let Ok(now) = self.token.current().await else { return false };
        let mut denied = self.denied();
        let is_other = match &*denied {
            Some(Denied::Token(then)) => !then.is(&now),
            Some(Denied::File) => true,
            None => false,
        };
        if is_other {
            *denied = None;
        }
        is_other
    }
}
