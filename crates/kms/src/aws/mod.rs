//! AWS KMS as a root: three small requests over its JSON protocol, signed here.
//!
//! What is wrapped is bound to its context as KMS's encryption context, which also stands in the audit
//! log of the account.
//!
//! | module | one idea |
//! |---|---|
//! | `request`, `answer` | the JSON, in memory that is wiped |
//! | `sigv4` | the signature |
//! | `credentials` | who we are: where it is found, and until when it holds |

mod answer;
mod credentials;
#[cfg(fuzzing)]
pub mod fuzzing;
mod request;
mod sigv4;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header::AUTHORIZATION, header::CONTENT_TYPE};
use keyferry_core::{
    clock::Clock,
    port::root::{KeyVersions, Root, RootError},
};
use keyferry_envelope::{KeyContext, SecretBytes};

pub use self::credentials::Env;
use self::{
    answer::Failure,
    credentials::{Chain, Credentials},
    request::Operation,
    sigv4::Scope,
};
use crate::{
    AwsConfig,
    http::{self as endpoint, Answer, Call, Endpoint, EndpointError},
};

/// The longest that KMS decrypts.
const MAX_CIPHERTEXT: usize = 6144;
const JSON: &str = "application/x-amz-json-1.1";
const DATE: HeaderName = HeaderName::from_static("x-amz-date");
const SECURITY_TOKEN: HeaderName = HeaderName::from_static("x-amz-security-token");
const TARGET: HeaderName = HeaderName::from_static("x-amz-target");

/// Why a configuration makes no root.
#[derive(Debug, thiserror::Error)]
pub enum AwsConfigError {
    /// `endpoint`, or `ca`.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// `key_id`.
    #[error("expected the id, ARN or alias of a key")]
    KeyId,
    /// `region`.
    #[error("expected a region, such as eu-central-1")]
    Region,
}

impl AwsConfigError {
    /// The value that is wrong.
    pub const fn field(&self) -> &'static str {
        match self {
            Self::Endpoint(error) if error.is_about_ca() => "ca",
            Self::Endpoint(_) => "endpoint",
            Self::KeyId => "key_id",
            Self::Region => "region",
        }
    }
}

/// A key in KMS.
pub struct Aws {
    id: String,
    key_id: String,
    region: String,
    endpoint: Endpoint,
    credentials: Chain,
    clock: Arc<dyn Clock>,
}

impl Aws {
    /// Judges what stands in the configuration, without opening the file that it names.
    pub fn judge(config: &AwsConfig) -> Result<(), AwsConfigError> {
        // An authority is for STS too, whatever stands before KMS.
        Ok(endpoint::judge(&Self::address(config)?, None)?)
    }

    /// The endpoint's address, if key and region are what they should be.
    fn address(config: &AwsConfig) -> Result<String, AwsConfigError> {
        let (key_id, region) = (&config.key_id, &config.region);
        if key_id.is_empty() || key_id.len() > 2048 || !key_id.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(AwsConfigError::KeyId);
        }
        if region.is_empty() || !region.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            return Err(AwsConfigError::Region);
        }
        let usual = || format!("https://kms.{region}.{}", domain(region));
        Ok(config.endpoint.clone().unwrap_or_else(usual))
    }

    /// Judges the configuration. Nobody is asked, and credentials are looked for at the first call.
    /// `env` reads a variable of the environment.
    pub fn new(config: &AwsConfig, clock: Arc<dyn Clock>, env: Arc<Env>) -> Result<Self, AwsConfigError> {
        let address = Self::address(config)?;
        let (key_id, region, ca) = (&config.key_id, &config.region, config.ca.as_deref());
        Ok(Self {
            id: format!("aws:{key_id}"),
            key_id: key_id.clone(),
            region: region.clone(),
            endpoint: Endpoint::new(&address, ca)?,
            credentials: Chain::new(env, Arc::clone(&clock), region, ca),
            clock,
        })
    }

    /// One call, and once more if the credentials were refused and there are others by now.
    async fn ask<T>(
        &self,
        operation: Operation,
        context: &KeyContext<'_>,
        bytes: &[u8],
        read: impl Fn(&Answer) -> Result<T, Failure> + Send,
    ) -> Result<T, RootError> {
        let body = || request::body(operation, &self.key_id, context, bytes);
        let credentials = self.credentials.current().await?;
        let answer = self.endpoint.call(self.call(operation, body(), &credentials)?).await?;
        match read(&answer) {
            Err(Failure::Credentials(why)) => match self.credentials.instead_of(&credentials).await? {
                None => Err(RootError::Denied(why.to_owned())),
                Some(others) => {
                    let answer = self.endpoint.call(self.call(operation, body(), &others)?).await?;
                    Ok(read(&answer)?)
                }
            },
            done => Ok(done?),
        }
    }

    fn call(
        &self,
        operation: Operation,
        body: SecretBytes,
        credentials: &Credentials,
    ) -> Result<Call<'static>, RootError> {
        let date = sigv4::date(self.clock.now());
        let token = credentials.session_token.as_ref();
        let mut signed = vec![
            ("content-type", JSON.as_bytes()),
            ("host", self.endpoint.authority().as_bytes()),
            ("x-amz-date", date.as_bytes()),
        ];
        signed.extend(token.map(|token| ("x-amz-security-token", token.expose())));
        signed.push(("x-amz-target", operation.target().as_bytes()));
        let scope = Scope { region: &self.region, service: "kms", date: &date };
        let authorization = sigv4::authorization(credentials, &scope, &signed, body.expose());

        let unsendable = |_| RootError::Denied("the request cannot be written as HTTP".to_owned());
        let mut headers = HeaderMap::with_capacity(5);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
        headers.insert(TARGET, HeaderValue::from_static(operation.target()));
        headers.insert(DATE, HeaderValue::from_str(&date).map_err(unsendable)?);
        headers.insert(AUTHORIZATION, HeaderValue::from_str(&authorization).map_err(unsendable)?);
        if let Some(token) = token {
            let copy = SecretBytes::init(token.expose().len(), |copy| copy.copy_from_slice(token.expose()));
            let token = HeaderValue::from_maybe_shared(Bytes::from_owner(Wiped(copy)));
            let mut token = token.map_err(unsendable)?;
            token.set_sensitive(true);
            headers.insert(SECURITY_TOKEN, token);
        }
        Ok(Call { method: Method::POST, path: "/", headers, body })
    }
}

#[async_trait]
impl Root for Aws {
    fn id(&self) -> &str {
        &self.id
    }

    async fn wrap(&self, context: &KeyContext<'_>, key: &SecretBytes) -> Result<Vec<u8>, RootError> {
        let asking = self.ask(Operation::Encrypt, context, key.expose(), answer::wrapped);
        endpoint::in_time(asking).await
    }

    async fn unwrap(&self, context: &KeyContext<'_>, wrapped: &[u8]) -> Result<SecretBytes, RootError> {
        if wrapped.is_empty() || wrapped.len() > MAX_CIPHERTEXT {
            return Err(RootError::Refused);
        }
        endpoint::in_time(self.ask(Operation::Decrypt, context, wrapped, answer::key)).await
    }

    /// KMS rotates what is behind a key by itself, keeps the old, and does not tell which of them
    /// wrapped what. To move away from a key is to name another one.
    async fn renew(&self, _: &KeyContext<'_>, _: &[u8]) -> Result<Option<Vec<u8>>, RootError> {
        Ok(None)
    }

    async fn versions(&self) -> Result<KeyVersions, RootError> {
        Ok(KeyVersions::Untold)
    }
}

/// The domain of AWS in a region.
fn domain(region: &str) -> &'static str {
    if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" }
}

/// Lends a secret to the HTTP library, which wipes it by dropping it.
struct Wiped(SecretBytes);

impl AsRef<[u8]> for Wiped {
    fn as_ref(&self) -> &[u8] {
        self.0.expose()
    }
}

#[cfg(test)]
mod tests {
    use keyferry_core::{clock::ManualClock, time::Timestamp};
    use keyferry_envelope::KeyPurpose;

    use super::*;

    /// The signature is botocore's (1.43.11) for the same request, key and moment. The published suite has no
    /// case of a signed session token in a POST.
    #[test]
    fn a_call_is_signed_with_its_session_token_as_botocore_signs_it() {
        let at = Timestamp::parse("2015-08-30T12:36:00.000Z").expect("valid");
        let config = AwsConfig {
            key_id: "alias/keyferry".to_owned(),
            region: "eu-central-1".to_owned(),
            endpoint: None,
            ca: None,
        };
        let aws = Aws::new(&config, Arc::new(ManualClock::at(at)), Arc::new(|_: &str| None)).expect("a root");
        let credentials = Credentials {
            access_key_id: "ASIAEXAMPLE".to_owned(),
            secret_access_key: SecretBytes::new(b"wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_vec()),
            session_token: Some(SecretBytes::new(b"session/token+==".to_vec())),
            expires: None,
        };
        let context = KeyContext { purpose: KeyPurpose::TenantKek, owner: "acme", id: "kek_1" };
        let body = request::body(Operation::Decrypt, "alias/keyferry", &context, b"wrapped");
        let call = aws.call(Operation::Decrypt, body, &credentials).expect("a call");
        assert_eq!(
            call.headers[AUTHORIZATION],
            "AWS4-HMAC-SHA256 Credential=ASIAEXAMPLE/20150830/eu-central-1/kms/aws4_request, \
             SignedHeaders=content-type;host;x-amz-date;x-amz-security-token;x-amz-target, \
             Signature=d3bf914fcef055451e42c78acd7a207340d6342f026b23b2c9c8ac24f7a08720"
        );
        assert_eq!(call.headers[SECURITY_TOKEN], "session/token+==");
        assert!(call.headers[SECURITY_TOKEN].is_sensitive());
        assert_eq!(call.headers[DATE], "20150830T123600Z");
    }
}
