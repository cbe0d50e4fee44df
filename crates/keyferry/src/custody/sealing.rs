//! Sealing keys: made, published, opened with, and destroyed when their time is over.
//!
//! A key is made every day and opens for two, so two of each kind are live: a client that fetched the
//! list a moment before the newer one came has a day to fetch it again. An operator who signs the list
//! makes its keys ahead; then none is made here, since nobody could sign it.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant},
};

use keyferry_core::{
    audit::AuditDraft,
    clock::Clock,
    port::{
        root::RootError,
        store::{Store, StoreError},
    },
    sealing::{PublishedKey, SKEW_SECS, SealingKeyList, StoredSealingKey},
    time::Timestamp,
    wrapped::{WrappedKey, make_sealing_key_id},
};
use keyferry_envelope::{Entropy, Kem, KeyPurpose, Kid, SealingKey, SealingPublicKey};
use serde_json::json;
use tokio::time::timeout;

use super::keyring::Keyring;

/// How often a new key comes, in seconds.
pub const EVERY_SECS: i64 = 24 * 3600;
/// How long each opens, in seconds.
pub const LIFE_SECS: i64 = 2 * EVERY_SECS;
/// How long an ended key lies in the store, where nothing opens with it.
const GRACE_SECS: i64 = EVERY_SECS;
/// How often it is looked what is due.
const TICK: Duration = Duration::from_secs(30);
/// How often at most an unknown name makes the store be read.
const REREAD: Duration = Duration::from_millis(100);
/// How old what is published may be.
const FRESH: Duration = Duration::from_secs(1);
/// What whoever asks for the list waits at most for a newer one.
const AT_ONCE: Duration = Duration::from_millis(500);
/// The operator's signature under the list.
const JWS_SETTING: &str = "sealing_keys_jws";

/// Why sealing keys cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum SealingError {
    /// The root.
    #[error(transparent)]
    Root(#[from] RootError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What is stored is no sealing key.
    #[error("the stored sealing key {0} is none")]
    Unreadable(String),
}

/// A gateway's sealing keys.
pub struct SealingKeys {
    pub(super) store: Arc<dyn Store>,
    pub(super) keyring: Arc<Keyring>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) entropy: Arc<dyn Entropy>,
    pub(super) known: RwLock<Arc<Known>>,
    pub(super) reading: tokio::sync::Mutex<Option<Instant>>,
}

/// What was read from the store.
#[derive(Default)]
pub struct Known {
    keys: HashMap<String, Arc<LiveKey>>,
    /// What is published.
    pub list: SealingKeyList,
    /// The same under the operator's signature.
    pub jws: Option<String>,
}

/// A key that opens.
pub struct LiveKey {
    stored: StoredSealingKey,
    /// The private half.
    pub key: SealingKey,
}

impl SealingKeys {
    /// What is published now.
    pub fn known(&self) -> Arc<Known> {
        Arc::clone(&self.known.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The key of a name, if it is live. A name that is not known may be of a key that another process
    /// made a moment ago.
    pub async fn live(&self, kid: &str) -> Result<Option<Arc<LiveKey>>, SealingError> {
        if let Some(found) = self.find(kid) {
            return Ok(Some(found));
        }
        if Kid::parse(kid).is_ok() {
            self.read(REREAD).await?;
        }
        Ok(self.find(kid))
    }

    /// The store says that a key is destroyed: what is known is out of date if it has that key still.
    pub(super) async fn is_destroyed(&self, kid: &str) -> Result<(), SealingError> {
        let mut last = self.reading.lock().await;
        if self.known().keys.contains_key(kid) { self.read_now(&mut last).await } else { Ok(()) }
    }

    /// What is published now, as the store has it if that answers at once: a key may have been destroyed
    /// through another process. Whoever asks while it is being read gets what is known.
    pub async fn published(&self) -> Arc<Known> {
        // Between the last of the old keys and the first new one there may be none.
        let fresh = if self.known().list.keys.is_empty() { REREAD } else { FRESH };
        if self.reading.try_lock().is_ok_and(|last| last.is_none_or(|last| last.elapsed() >= fresh)) {
            // Should it fail, what is known is published; that the store is away is told by `keep`.
            let _ = timeout(AT_ONCE, self.read(fresh)).await;
        }
        self.known()
    }

    fn find(&self, kid: &str) -> Option<Arc<LiveKey>> {
        self.known().keys.get(kid).filter(|one| one.stored.is_live(self.clock.now())).cloned()
    }

    /// Makes what is due, destroys what is over, reads what there is: for ever.
    pub async fn keep(self: Arc<Self>) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            if let Err(error) = self.maintain().await {
                tracing::warn!(event = "sealing_keys_not_kept", %error);
            }
        }
    }

    /// One round of [`keep`](Self::keep).
    pub async fn maintain(&self) -> Result<(), SealingError> {
        let now = self.clock.now();
        // A clock that jumps and comes back must not have cost any key that is good again.
        self.store.destroy_sealing_keys(now.plus_secs(-GRACE_SECS), now).await?;
        self.store.forget_seals(now).await?;
        // What has ended leaves the memory first, whatever becomes of new ones.
        self.read(Duration::ZERO).await?;
        let signed = self.known().jws.is_some();
        if !signed {
            for kem in Kem::ALL {
                self.make_if_due(kem, now).await?;
            }
        }
        self.read(Duration::ZERO).await?;
        let known = self.known();
        if signed && !known.list.keys.iter().any(|key| key.not_after > now.plus_secs(EVERY_SECS)) {
            tracing::warn!(event = "sealing_keys_run_out", "make, sign and publish new ones");
        }
        Ok(())
    }

    async fn make_if_due(&self, kem: Kem, now: Timestamp) -> Result<(), SealingError> {
        let due = now.plus_secs(-EVERY_SECS);
        let known = self.known();
        let is_new = |key: &Arc<LiveKey>| {
            let begin = key.stored.not_before;
            key.stored.kem == kem.id() && due < begin && begin <= now
        };
        if !known.keys.values().any(is_new) {
            // Clients whose clock is behind may use it at once.
            let begin = now.plus_secs(-SKEW_SECS);
            self.make(kem, begin, Some((due, now)), "system", "it was due").await?;
        }
        Ok(())
    }

    /// Makes a key that begins at a time, unless there is one that begins in `unless_between`, its first
    /// instant not included.
    pub async fn make(
        &self,
        kem: Kem,
        not_before: Timestamp,
        unless_between: Option<(Timestamp, Timestamp)>,
        actor: &str,
        source: &str,
    ) -> Result<(), SealingError> {
        let (now, root) = (self.clock.now(), self.keyring.primary());
        let key = SealingKey::generate(kem, &*self.entropy);
        let mut private = WrappedKey {
            purpose: KeyPurpose::Sealing,
            owner: String::new(),
            id: make_sealing_key_id(now, &*self.entropy),
            root: root.id().to_owned(),
            wrapped: Vec::new(),
            created_at: now,
            retired_at: None,
        };
        private.wrapped = root.wrap(&private.context(), key.secret()).await?;
        let stored = StoredSealingKey {
            kem: kem.id(),
            public_key: key.public().as_bytes().to_vec(),
            not_before,
            not_after: not_before.plus_secs(LIFE_SECS),
            private,
        };
        let detail = json!({"kem": stored.kem, "not_before": not_before, "not_after": stored.not_after});
        let audit = AuditDraft {
            at: now,
            actor: actor.to_owned(),
            action: "sealing_key.made",
            tenant: None,
            target: stored.kid().to_owned(),
            source: source.to_owned(),
            detail,
        };
        self.store.create_sealing_key(&stored, unless_between, audit).await?;
        Ok(())
    }

    /// Destroys all keys, whatever their time. What was sealed to them opens nowhere any more.
    pub async fn destroy_all(&self) -> Result<u64, SealingError> {
        let never = Timestamp::from_millis(i64::MAX);
        Ok(self.store.destroy_sealing_keys(never, self.clock.now()).await?)
    }

    /// Every key there is, its time to come or not, as it would be published without a signature.
    pub async fn all(&self) -> Result<SealingKeyList, SealingError> {
        let stored = self.store.sealing_keys().await?;
        Ok(SealingKeyList { keys: stored.iter().map(published).collect::<Result<_, _>>()? })
    }

    /// Publishes a list that the operator signed, or goes back to an unsigned one.
    pub async fn publish(&self, jws: Option<&str>, source: &str) -> Result<(), SealingError> {
        let audit = AuditDraft {
            at: self.clock.now(),
            actor: "operator".to_owned(),
            action: "sealing_keys.published",
            tenant: None,
            target: "sealing-keys".to_owned(),
            source: source.to_owned(),
            detail: json!({"signed": jws.is_some()}),
        };
        Ok(self.store.put_setting(JWS_SETTING, jws.map(str::as_bytes), audit).await?)
    }

    /// Reads the store, unless that was done a moment ago.
    async fn read(&self, unless_within: Duration) -> Result<(), SealingError> {
        let mut last = self.reading.lock().await;
        if last.is_some_and(|last| last.elapsed() < unless_within) {
            return Ok(());
        }
        self.read_now(&mut last).await
    }

    async fn read_now(&self, last: &mut Option<Instant>) -> Result<(), SealingError> {
        let stored = self.store.sealing_keys().await?;
        let jws = self.store.setting(JWS_SETTING).await?;
        let jws = jws.and_then(|jws| String::from_utf8(jws).ok());
        let before = self.known();
        let now = self.clock.now();
        let mut keys = HashMap::with_capacity(stored.len());
        for one in stored.into_iter().filter(|one| now < one.not_after) {
            let known = before.keys.get(one.kid()).filter(|known| known.stored == one);
            let live = match known {
                Some(known) => Some(Arc::clone(known)),
                None => self.open_if_it_can_be(one).await?.map(Arc::new),
            };
            if let Some(live) = live {
                keys.insert(live.stored.kid().to_owned(), live);
            }
        }
        let (list, jws) = match jws.and_then(|jws| Some((SealingKeyList::payload_of(&jws)?, jws))) {
            Some((list, jws)) if is_ours(&list, &keys, now) => (list, Some(jws)),
            Some(_) => {
                // Whoever can write the store must not choose what clients seal to.
                tracing::error!(event = "sealing_list_refused", "the signed list has keys that are not ours");
                (unsigned(keys.values(), now)?, None)
            }
            None => (unsigned(keys.values(), now)?, None),
        };
        let known = Arc::new(Known { keys, list, jws });
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = known;
        *last = Some(Instant::now());
        Ok(())
    }

    /// One that was changed or lost its root must not take the others with it.
    async fn open_if_it_can_be(&self, stored: StoredSealingKey) -> Result<Option<LiveKey>, SealingError> {
        let kid = stored.kid().to_owned();
        match self.open(stored).await {
            Err(SealingError::Root(error)) if !error.is_about_bytes() => Err(error.into()),
            Err(error @ (SealingError::Root(_) | SealingError::Unreadable(_))) => {
                tracing::error!(event = "sealing_key_unreadable", kid, %error);
                Ok(None)
            }
            opened => opened.map(Some),
        }
    }

    async fn open(&self, stored: StoredSealingKey) -> Result<LiveKey, SealingError> {
        let unreadable = || SealingError::Unreadable(stored.kid().to_owned());
        let kem = Kem::from_id(stored.kem).ok_or_else(unreadable)?;
        let secret = self.keyring.unwrap(&stored.private).await?;
        let key = SealingKey::from_secret(kem, secret).map_err(|_| unreadable())?;
        if key.public().as_bytes() != stored.public_key {
            return Err(unreadable());
        }
        Ok(LiveKey { stored, key })
    }
}

/// Whether every key of a list that has not ended is one that we can open with, as it stands there.
fn is_ours(list: &SealingKeyList, keys: &HashMap<String, Arc<LiveKey>>, now: Timestamp) -> bool {
    list.keys.iter().filter(|key| now < key.not_after).all(|key| {
        keys.get(&key.kid).is_some_and(|ours| published(&ours.stored).is_ok_and(|ours| ours == *key))
    })
}

/// What is published without a signature: the keys whose time has come, newest first.
fn unsigned<'a>(
    keys: impl Iterator<Item = &'a Arc<LiveKey>>,
    now: Timestamp,
) -> Result<SealingKeyList, SealingError> {
    let mut live: Vec<&StoredSealingKey> =
        keys.map(|key| &key.stored).filter(|key| key.not_before <= now && now < key.not_after).collect();
    live.sort_by_key(|key| (std::cmp::Reverse(key.not_before), std::cmp::Reverse(key.kem)));
    Ok(SealingKeyList { keys: live.into_iter().map(published).collect::<Result<_, _>>()? })
}

fn published(key: &StoredSealingKey) -> Result<PublishedKey, SealingError> {
    let unreadable = || SealingError::Unreadable(key.kid().to_owned());
    let kid = Kid::parse(key.kid()).map_err(|_| unreadable())?;
    let kem = Kem::from_id(key.kem).ok_or_else(unreadable)?;
    let public = SealingPublicKey::from_bytes(kem, &key.public_key).map_err(|_| unreadable())?;
    Ok(PublishedKey::new(&kid, &public, key.not_before, key.not_after))
}
