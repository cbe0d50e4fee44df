//! Issuers' key sets: inline ones as they are, others fetched and remembered.
//!
//! A fetch goes through the one outbound client: canonical HTTPS address, vetted at dial time, no
//! redirect, bounded in size and time. One fetch at a time for an issuer; a set that cannot be
//! renewed is used for a while longer rather than lock everybody out.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
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
use tokio::time::{Instant, timeout};

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
    fetched: Mutex<HashMap<IssuerId, Arc<Entry>>>,
}

/// What is known of one issuer.
#[derive(Default)]
struct Entry {
    known: Mutex<Known>,
    /// Held while fetching: whoever needs a key that is not there waits for this one fetch.
    fetching: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Known {
    set: Option<KeySet>,
    /// When the set was last fetched.
    renewed_at: Option<Timestamp>,
    /// When a fetch was last tried.
    tried_at: Option<Timestamp>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn age(at: Option<Timestamp>, now: Timestamp) -> i64 {
    at.map_or(i64::MAX, |at| now.secs() - at.secs())
}

impl KeySets {
    pub(super) fn new(upstream: Arc<UpstreamClient>) -> Self {
        Self { upstream, fetched: Mutex::default() }
    }

    /// The key of an issuer that a token names.
    pub(super) async fn key(&self, issuer: &Issuer, kid: Option<&str>, now: Timestamp) -> Option<PublicKey> {
        match &issuer.keys {
            Jwks::Inline(text) => KeySet::read(text.as_bytes(), issuer.algorithm).ok()?.find(kid).cloned(),
            Jwks::Url(url) => self.fetched_key(issuer, url, kid, now).await,
        }
    }

    /// A key that is known is used at once, and renewed on the side when it is old: a stranger who
    /// names keys that do not exist, or a slow host, must not make anybody else wait.
    async fn fetched_key(
        &self,
        issuer: &Issuer,
        url: &str,
        kid: Option<&str>,
        now: Timestamp,
    ) -> Option<PublicKey> {
        let entry = self.entry(&issuer.id);
        let (key, old) = entry.look(kid, now);
        if key.is_some() && !old {
            return key;
        }
        let fetch = Fetch {
            upstream: Arc::clone(&self.upstream),
            issuer: issuer.clone(),
            url: url.to_owned(),
            entry: Arc::clone(&entry),
        };
        // A task of its own: it goes on when the one who asked goes away.
        let renewed = tokio::spawn(fetch.run(now));
        if key.is_some() {
            return key;
        }
        renewed.await.ok()?;
        entry.look(kid, now).0
    }

    fn entry(&self, issuer: &IssuerId) -> Arc<Entry> {
        let mut fetched = lock(&self.fetched);
        if fetched.len() >= MAX_ISSUERS && !fetched.contains_key(issuer) {
            fetched.clear();
        }
        Arc::clone(fetched.entry(issuer.clone()).or_default())
    }
}

impl Entry {
    /// The key, if it is known and may still be used, and whether the set is due.
    fn look(&self, kid: Option<&str>, now: Timestamp) -> (Option<PublicKey>, bool) {
        let known = lock(&self.known);
        let since = age(known.renewed_at, now);
        let key = known.set.as_ref().and_then(|set| set.find(kid)).filter(|_| since <= MAX_STALE);
        (key.cloned(), since > MAX_AGE)
    }
}

/// One fetch of a set.
struct Fetch {
    upstream: Arc<UpstreamClient>,
    issuer: Issuer,
    url: String,
    entry: Arc<Entry>,
}

impl Fetch {
    async fn run(self, now: Timestamp) {
        let _one = self.entry.fetching.lock().await;
        {
            let mut known = lock(&self.entry.known);
            if age(known.tried_at, now) < MIN_AGE {
                return;
            }
            known.tried_at = Some(now);
        }
        if let Ok(Some(set)) = timeout(FETCH_TIME, self.fetch()).await {
            let mut known = lock(&self.entry.known);
            known.set = Some(set);
            known.renewed_at = Some(now);
        } else {
            let (issuer, tenant) = (&self.issuer.id, &self.issuer.tenant);
            tracing::warn!(event = "key_set_not_renewed", %issuer, %tenant);
        }
    }

    async fn fetch(&self) -> Option<KeySet> {
        let url = BaseUrl::parse(&self.url).ok()?;
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(header::USER_AGENT, HeaderValue::from_static("keyferry"));
        let call = Call {
            lane: Lane {
                host: url.host().clone(),
                purpose: Purpose::KeySets,
                tenant: Some(self.issuer.tenant.clone()),
            },
            method: Method::GET,
            path: if url.path().is_empty() { "/".to_owned() } else { url.path().to_owned() },
            headers,
            body: ForwardBody::Empty,
            deadline: Instant::now() + FETCH_TIME,
            key: None,
        };
        let answer = self.upstream.send(call).await.ok()?;
        if answer.status() != StatusCode::OK {
            return None;
        }
        let bytes = Limited::new(answer.into_body(), MAX_BYTES).collect().await.ok()?.to_bytes();
        KeySet::read(&bytes, self.issuer.algorithm).ok()
    }
}
