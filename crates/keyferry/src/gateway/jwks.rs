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

use http::{HeaderValue, Method, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use keyferry_core::{
    id::IssuerId,
    issuer::{Issuer, Jwks},
    net::base_url::BaseUrl,
    time::Timestamp,
};
use tokio::time::{Instant, timeout};

use super::jwk::{KeySet, PublicKey};
use crate::upstream::{Call, ForwardBody, Lane, Purpose, RequestHead, UpstreamClient};

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
        let path = if url.path().is_empty() { "/" } else { url.path() };
        let mut head = RequestHead::new(&Method::GET, path, url.host()).ok()?;
        head.add(&header::ACCEPT, &HeaderValue::from_static("application/json"));
        head.add(&header::USER_AGENT, &HeaderValue::from_static("keyferry"));
        let mut call = Call {
            lane: Lane {
                host: url.host().clone(),
                purpose: Purpose::KeySets,
                tenant: Some(self.issuer.tenant.clone()),
            },
            method: Method::GET,
            head,
            body: ForwardBody::Empty,
            deadline: Instant::now() + FETCH_TIME,
            key: None,
        };
        let answer = self.upstream.send(&mut call).await.ok()?;
        if answer.status() != StatusCode::OK {
            return None;
        }
        let bytes = Limited::new(answer.into_body(), MAX_BYTES).collect().await.ok()?.to_bytes();
        KeySet::read(&bytes, self.issuer.algorithm).ok()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use keyferry_core::{issuer::Algorithm, net::host::ProviderHost};
    use keyferry_envelope::SystemEntropy;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;
    use crate::config;

    const SET: &str = r#"{"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "1",
        "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

    /// Key sets whose host counts how often it was asked, and answers as long as it is told to.
    async fn host(answers: usize) -> (KeySets, Issuer, Arc<AtomicUsize>) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let number = counted.fetch_add(1, Ordering::SeqCst);
                let _ = stream.read(&mut [0; 4096]).await;
                let status = if number < answers { "200 OK" } else { "500 Broken" };
                let length = SET.len();
                let text = format!(
                    "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{SET}"
                );
                let _ = stream.write_all(text.as_bytes()).await;
            }
        });
        let host = ProviderHost::parse("keys.example.com").expect("a host");
        let limits = config::Upstream {
            connect_timeout: FETCH_TIME,
            first_byte_timeout: FETCH_TIME,
            idle_timeout: FETCH_TIME,
            total_timeout: FETCH_TIME,
            max_response_bytes: MAX_BYTES,
            extra_ca: None,
            dial: vec![config::Dial { host, address, plaintext: true }],
            nameservers: Vec::new(),
        };
        let upstream = UpstreamClient::new(limits, std::num::NonZeroUsize::MIN).expect("a client");
        let issuer = Issuer {
            id: IssuerId::make(at(0), &SystemEntropy),
            tenant: "acme".parse().expect("a name"),
            issuer: "https://app.example".to_owned(),
            audience: "keyferry".to_owned(),
            algorithm: Algorithm::EdDSA,
            keys: Jwks::Url("https://keys.example.com/jwks.json".to_owned()),
            created_at: at(0),
            created_by: "operator".to_owned(),
        };
        (KeySets::new(upstream), issuer, asked)
    }

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(1_800_000_000 + secs)
    }

    #[tokio::test]
    async fn ids_that_are_not_in_the_set_make_one_fetch_in_30_seconds() {
        let (sets, issuer, asked) = host(usize::MAX).await;
        assert!(sets.key(&issuer, Some("1"), at(0)).await.is_some());
        for (second, fetches) in [(1, 1), (29, 1), (30, 2), (31, 2), (59, 2), (60, 3)] {
            for n in 0..20 {
                let unknown = format!("unknown-{n}");
                assert!(sets.key(&issuer, Some(&unknown), at(second)).await.is_none());
            }
            assert!(sets.key(&issuer, Some("1"), at(second)).await.is_some(), "the known key serves");
            assert_eq!(asked.load(Ordering::SeqCst), fetches, "after {second} s");
        }
    }

    #[tokio::test]
    async fn a_set_that_cannot_be_renewed_serves_for_a_day_and_no_longer() {
        let (sets, issuer, _) = host(1).await;
        assert!(sets.key(&issuer, Some("1"), at(0)).await.is_some());
        for (second, serves) in [(MAX_AGE + 1, true), (MAX_STALE, true), (MAX_STALE + 1, false)] {
            assert_eq!(sets.key(&issuer, Some("1"), at(second)).await.is_some(), serves, "{second}");
        }
    }
}
