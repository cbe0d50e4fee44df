//! Issuers' key sets: inline ones as they are, others fetched and remembered.
//!
//! A fetch goes through the one outbound client: canonical HTTPS address, vetted at dial time, no
//! redirect, bounded in size and time. One fetch at a time for an issuer; a set that cannot be
//! renewed is used for a while longer rather than lock everybody out.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex as StdMutex, PoisonError},
    time::Duration,
};

use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use keyferry_core::{
    id::IssuerId,
    issuer::{Issuer, Jwks},
    net::base_url::BaseUrl,
    time::Timestamp,
};
use tokio::{sync::Mutex, time::timeout};

use super::jws::{KeySet, PublicKey};
use crate::upstream::{Call, ForwardBody, Lane, Purpose, UpstreamClient};

/// A set is renewed when it is older than this, in seconds.
const MAX_AGE: i64 = 600;
/// And at most this often, even for ids that it does not have.
const MIN_AGE: i64 = 30;
/// A set that cannot be renewed serves until it is this old.
const MAX_STALE: i64 = 24 * 3600;
const MAX_BYTES: usize = 64 * 1024;
const FETCH_TIME: Duration = Duration::from_secs(5);
const MAX_ISSUERS: usize = 10_000;

/// The remembered key sets.
pub(super) struct KeySets {
    upstream: Arc<UpstreamClient>,
    fetched: StdMutex<HashMap<IssuerId, Arc<Mutex<Fetched>>>>,
}

#[derive(Default)]
struct Fetched {
    set: Option<Arc<KeySet>>,
    /// When the set was last fetched.
    renewed_at: Option<Timestamp>,
    /// When a fetch was last tried.
    tried_at: Option<Timestamp>,
}

impl KeySets {
    pub(super) fn new(upstream: Arc<UpstreamClient>) -> Self {
        Self { upstream, fetched: StdMutex::default() }
    }

    /// The key of an issuer that a token names.
    pub(super) async fn key(&self, issuer: &Issuer, kid: Option<&str>, now: Timestamp) -> Option<PublicKey> {
        match &issuer.keys {
            Jwks::Inline(text) => KeySet::read(text.as_bytes(), issuer.algorithm).ok()?.find(kid).cloned(),
            Jwks::Url(url) => self.fetched_key(issuer, url, kid, now).await,
        }
    }

    async fn fetched_key(
        &self,
        issuer: &Issuer,
        url: &str,
        kid: Option<&str>,
        now: Timestamp,
    ) -> Option<PublicKey> {
        let entry = self.entry(&issuer.id);
        // Held while fetching: everybody else who needs the same set waits for this one fetch.
        let mut entry = entry.lock().await;
        let age = |at: Option<Timestamp>| at.map_or(i64::MAX, |at| now.secs() - at.secs());
        let known = entry.set.as_ref().and_then(|set| set.find(kid).cloned());
        let wants_new = known.is_none() || age(entry.renewed_at) > MAX_AGE;
        if wants_new && age(entry.tried_at) >= MIN_AGE {
            entry.tried_at = Some(now);
            match timeout(FETCH_TIME, self.fetch(issuer, url)).await {
                Ok(Some(set)) => {
                    entry.set = Some(Arc::new(set));
                    entry.renewed_at = Some(now);
                }
                _ => {
                    tracing::warn!(event = "key_set_not_renewed", issuer = %issuer.id, tenant = %issuer.tenant);
                }
            }
        }
        if age(entry.renewed_at) > MAX_STALE {
            return None;
        }
        entry.set.as_ref()?.find(kid).cloned()
    }

    fn entry(&self, issuer: &IssuerId) -> Arc<Mutex<Fetched>> {
        let mut fetched = self.fetched.lock().unwrap_or_else(PoisonError::into_inner);
        if fetched.len() >= MAX_ISSUERS && !fetched.contains_key(issuer) {
            fetched.clear();
        }
        Arc::clone(fetched.entry(issuer.clone()).or_default())
    }

    async fn fetch(&self, issuer: &Issuer, url: &str) -> Option<KeySet> {
        let url = BaseUrl::parse(url).ok()?;
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(header::USER_AGENT, HeaderValue::from_static("keyferry"));
        let call = Call {
            lane: Lane {
                host: url.host().clone(),
                purpose: Purpose::KeySets,
                tenant: Some(issuer.tenant.clone()),
            },
            method: Method::GET,
            path: if url.path().is_empty() { "/".to_owned() } else { url.path().to_owned() },
            headers,
            body: ForwardBody::Empty,
            key: None,
        };
        let answer = self.upstream.send(call).await.ok()?;
        if answer.status() != StatusCode::OK {
            return None;
        }
        let bytes = Limited::new(answer.into_body(), MAX_BYTES).collect().await.ok()?.to_bytes();
        KeySet::read(&bytes, issuer.algorithm).ok()
    }
}
