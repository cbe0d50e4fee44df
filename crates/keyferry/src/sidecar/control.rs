//! The gateway's control plane, as the sidecar uses it: with its own token, and with keys that are
//! sealed.

use std::{net::IpAddr, sync::Arc, time::Duration};

use http::{Method, Request, Response, Uri, uri::Scheme};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use keyferry_core::{
    clock::Clock,
    id::{CredentialId, ProviderId, TenantId},
    mask,
};
use keyferry_envelope::{ApiKey, Entropy, SealPurpose, SecretBytes, VerifyingKey};
use serde_json::{Map, Value, json};

use super::{
    request::{Op, Refusal, Request as Asked},
    seal::{NotSealed, SealFor, published, seal},
};
use crate::cli::api::send;

/// For one request to the gateway; a key test takes ten seconds at most.
const PATIENCE: Duration = Duration::from_secs(15);
/// The longest answer.
const MAX_ANSWER: usize = 256 * 1024;
/// The longest explanation that is passed on.
const MAX_DETAIL: usize = 500;

/// Why an address cannot be the gateway's.
#[derive(Debug, thiserror::Error)]
pub enum AddressError {
    /// It is none.
    #[error("--gateway: expected https://host, or http:// with a loopback address")]
    NoUrl,
    /// Others could read along and answer in the gateway's place.
    #[error("--gateway: http:// is for loopback addresses only (127.0.0.1, [::1]); use https://")]
    Plaintext,
}

/// The port of a gateway that a sidecar may talk to.
pub fn port_of(gateway: &str) -> Result<u16, AddressError> {
    let url: Uri = gateway.parse().map_err(|_| AddressError::NoUrl)?;
    let host = url.host().ok_or(AddressError::NoUrl)?;
    if url.path() != "/" || url.query().is_some() || gateway.contains('@') {
        return Err(AddressError::NoUrl);
    }
    match url.scheme() {
        Some(scheme) if *scheme == Scheme::HTTPS => Ok(url.port_u16().unwrap_or(443)),
        Some(scheme) if *scheme == Scheme::HTTP => {
            // A name could be led elsewhere.
            let address: Option<IpAddr> = host.trim_start_matches('[').trim_end_matches(']').parse().ok();
            if !address.is_some_and(|address| address.is_loopback()) {
                return Err(AddressError::Plaintext);
            }
            Ok(url.port_u16().unwrap_or(80))
        }
        _ => Err(AddressError::NoUrl),
    }
}

/// The gateway.
pub struct Control {
    /// Where it is; [`port_of`] has seen it.
    pub gateway: String,
    /// Of a tenant's admin, or the operator's.
    pub token: SecretBytes,
    /// Whose signature the list of sealing keys must have.
    pub operator: Option<VerifyingKey>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
}

impl Control {
    /// Does what is asked for; the answer is the gateway's, or a sealed key.
    pub async fn run(&self, asked: Asked) -> Result<Map<String, Value>, Refusal> {
        let Asked { tenant, op } = asked;
        let credentials = format!("/tenants/{tenant}/credentials");
        match op {
            Op::Store { provider, label, key } => {
                let sealed = self.sealed(&tenant, &provider, SealPurpose::Store, key).await?;
                let mut body = json!({"provider": provider, "sealed_key": sealed});
                if let Some(label) = label {
                    body["label"] = json!(label);
                }
                self.call(Method::POST, &credentials, Some(body)).await
            }
            Op::Rotate { credential, overlap_seconds, key } => {
                let provider = self.provider_of(&tenant, &credential).await?;
                let sealed = self.sealed(&tenant, &provider, SealPurpose::Store, key).await?;
                let body = json!({"sealed_key": sealed, "overlap_seconds": overlap_seconds.unwrap_or(0)});
                self.call(Method::POST, &format!("{credentials}/{credential}/rotate"), Some(body)).await
            }
            Op::Test { credential } => {
                self.call(Method::POST, &format!("{credentials}/{credential}/test"), None).await
            }
            Op::Seal { provider, purpose, key } => {
                let sealed = self.sealed(&tenant, &provider, purpose.into(), key).await?;
                Ok(Map::from_iter([("sealed_key".to_owned(), json!(sealed))]))
            }
        }
    }

    /// The key, sealed; it is wiped before anything is sent.
    async fn sealed(
        &self,
        tenant: &TenantId,
        provider: &ProviderId,
        purpose: SealPurpose,
        key: ApiKey,
    ) -> Result<String, Refusal> {
        let refused = |error: NotSealed| Refusal::new("BYOK_SERVICE_UNAVAILABLE", error.to_string());
        let answer = Value::Object(self.call(Method::GET, "/sealing-keys", None).await?);
        let list = published(&answer, self.operator.as_ref()).map_err(refused)?;
        let sealed_for = SealFor { purpose, tenant, provider, now: self.clock.now() };
        seal(&list, sealed_for, &key, &*self.entropy).map_err(refused)
    }

    async fn provider_of(&self, tenant: &TenantId, credential: &CredentialId) -> Result<ProviderId, Refusal> {
        let found =
            self.call(Method::GET, &format!("/tenants/{tenant}/credentials/{credential}"), None).await?;
        let provider = found.get("provider").and_then(Value::as_str).and_then(|name| name.parse().ok());
        provider.ok_or_else(unreadable)
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<Map<String, Value>, Refusal> {
        let request = Request::builder().method(method).uri(format!("/api/v1{path}"));
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        let answer = async {
            let answer =
                send(&self.gateway, Some(&self.token), request, body.into()).await.map_err(|error| {
                    tracing::warn!(event = "gateway_away", error = format!("{error:#}"));
                    Refusal::new("BYOK_SERVICE_UNAVAILABLE", "The gateway does not answer.")
                })?;
            read(answer).await
        };
        tokio::time::timeout(PATIENCE, answer).await.unwrap_or_else(|_| {
            Err(Refusal::new("BYOK_SERVICE_UNAVAILABLE", "The gateway answers too slowly."))
        })
    }
}

/// Reads an answer of the control plane; its failure becomes ours.
async fn read(answer: Response<Incoming>) -> Result<Map<String, Value>, Refusal> {
    let status = answer.status();
    let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await.map_err(|_| unreadable())?;
    let body: Map<String, Value> = serde_json::from_slice(&body.to_bytes()).map_err(|_| unreadable())?;
    if status.is_success() {
        return Ok(body);
    }
    let text = |name| body.get(name).and_then(Value::as_str);
    let (Some(code), Some(detail)) = (text("code").filter(|code| is_code(code)), text("detail")) else {
        return Err(unreadable());
    };
    let masked = String::from_utf8_lossy(&mask::scrub(detail.as_bytes(), None)).into_owned();
    Err(Refusal::new(code, masked.chars().filter(|c| !c.is_control()).take(MAX_DETAIL).collect::<String>()))
}

fn is_code(text: &str) -> bool {
    text.len() <= 40 && text.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'_')
}

fn unreadable() -> Refusal {
    Refusal::new("BYOK_SERVICE_UNAVAILABLE", "What answers at --gateway is no gateway of this kind.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plaintext_goes_to_loopback_only() {
        for (url, port) in [
            ("https://gateway.example", 443),
            ("https://gateway.example:8443/", 8443),
            ("http://127.0.0.1:8484", 8484),
            ("http://127.0.0.1", 80),
            ("http://[::1]:8484", 8484),
        ] {
            assert_eq!(port_of(url).ok(), Some(port), "{url}");
        }
        for url in [
            "http://gateway.example",
            "http://localhost:8484",
            "http://10.0.0.1:8484",
            "http://127.0.0.1.example:80",
            "http://0.0.0.0:8484",
        ] {
            assert!(matches!(port_of(url), Err(AddressError::Plaintext)), "{url}");
        }
        for url in
            ["", "gateway.example", "ftp://127.0.0.1", "https://a@b", "https://gateway.example/x", "https://"]
        {
            assert!(matches!(port_of(url), Err(AddressError::NoUrl)), "{url}");
        }
    }
}
