//! The keyring: which root wraps, which may be read from, and the tenants' KEKs that are open.
//!
//! An opened KEK serves for a bounded time and is then wiped, also when nobody asks for it again;
//! its time is never made longer. While the root is away, those that are open go on to serve.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use keyferry_core::{
    breaker::BreakerState,
    clock::Clock,
    port::root::{Root, RootError},
    wrapped::WrappedKey,
};
use keyferry_envelope::{SecretBytes, TenantKek};

use super::guarded::Guarded;

/// KEKs that are open at once.
const MAX_OPEN: usize = 1000;
/// How often expired ones are looked for.
const SWEEP: Duration = Duration::from_secs(1);

/// Roots and open keys.
pub struct Keyring {
    primary: Arc<Guarded>,
    previous: Vec<Arc<Guarded>>,
    ttl: Duration,
    open: Mutex<HashMap<String, Arc<Open>>>,
    /// Keys that are being opened: whoever comes second waits for the first, and takes what it got.
    opening: Mutex<HashMap<String, Arc<Turn>>>,
}

/// Whose turn it is to ask for a key, and why whoever asked last did not get it.
type Turn = tokio::sync::Mutex<Option<RootError>>;

struct Open {
    /// What it was opened from: other bytes under the same name are another key.
    wrapped: WrappedKey,
    kek: Arc<TenantKek>,
    since: Instant,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Keyring {
    /// Over roots; `ttl` is how long an opened KEK serves.
    pub fn new(
        primary: Arc<dyn Root>,
        previous: Vec<Arc<dyn Root>>,
        ttl: Duration,
        clock: &Arc<dyn Clock>,
    ) -> Self {
        let guard = |root| Arc::new(Guarded::new(root, Arc::clone(clock)));
        Self {
            primary: guard(primary),
            previous: previous.into_iter().map(guard).collect(),
            ttl,
            open: Mutex::default(),
            opening: Mutex::default(),
        }
    }

    /// The root that wraps.
    pub fn primary(&self) -> &dyn Root {
        &*self.primary
    }

    /// All roots, the one that wraps first.
    pub fn roots(&self) -> impl Iterator<Item = &Guarded> {
        std::iter::once(&self.primary).chain(&self.previous).map(|root| &**root)
    }

    /// How the root does that does worst: stored keys may lie under any of them.
    pub fn state(&self) -> BreakerState {
        let badness = |state: &BreakerState| match state {
            BreakerState::Closed => 0,
            BreakerState::Degraded => 1,
            BreakerState::Probing => 2,
            BreakerState::Open => 3,
        };
        self.roots().map(Guarded::state).max_by_key(badness).unwrap_or(BreakerState::Closed)
    }

    /// The root that wrapped a key. `None` if the configuration does not have it.
    pub fn root_of(&self, key: &WrappedKey) -> Option<&Guarded> {
        self.roots().find(|root| root.id() == key.root)
    }

    /// Asks the root of a key to unwrap it.
    pub async fn unwrap(&self, key: &WrappedKey) -> Result<SecretBytes, RootError> {
        let Some(root) = self.root_of(key) else {
            tracing::error!(event = "root_not_configured", root = key.root, key = key.id, owner = key.owner);
            return Err(RootError::Refused);
        };
        root.unwrap(&key.context(), &key.wrapped).await
    }

    /// Opens a tenant's KEK, or takes the one that is open.
    pub async fn kek(&self, key: &WrappedKey) -> Result<Arc<TenantKek>, RootError> {
        match self.open_kek(key) {
            Some(kek) => Ok(kek),
            // In a box: it takes no room in the many requests that find the key open.
            None => Box::pin(self.kek_in_turn(key)).await,
        }
    }

    async fn kek_in_turn(&self, key: &WrappedKey) -> Result<Arc<TenantKek>, RootError> {
        let turn = Arc::clone(lock(&self.opening).entry(key.id.clone()).or_default());
        let opened = self.take_turn(&turn, key).await;
        drop(turn);
        lock(&self.opening).retain(|_, turn| Arc::strong_count(turn) > 1);
        match opened {
            // Its bytes may have been renewed a moment ago; the key of this name is the same.
            Err(error) if error.is_failure() => self.open_by_name(key).ok_or(error),
            Err(error @ RootError::CircuitOpen { .. }) => self.open_by_name(key).ok_or(error),
            opened => opened,
        }
    }

    /// A failure is shared with all who waited for it: if each asked again in its turn, the last would
    /// wait for as many time limits as there are others. Who comes later asks anew.
    async fn take_turn(&self, turn: &Arc<Turn>, key: &WrappedKey) -> Result<Arc<TenantKek>, RootError> {
        let mut failed = turn.lock().await;
        if let Some(kek) = self.open_kek(key) {
            return Ok(kek);
        }
        if let Some(error) = &*failed {
            return Err(error.clone());
        }
        let opened = self.open_anew(key).await;
        // A refusal is about these bytes, and whoever waits may have others.
        if let Err(error) = &opened
            && !error.is_about_bytes()
        {
            *failed = Some(error.clone());
            lock(&self.opening).retain(|_, other| !Arc::ptr_eq(turn, other));
        }
        opened
    }

    /// Opens a tenant's KEK and asks the root for it whatever is open.
    pub async fn open_anew(&self, key: &WrappedKey) -> Result<Arc<TenantKek>, RootError> {
        let since = Instant::now();
        let secret = self.unwrap(key).await?;
        let kek = TenantKek::from_secret(key.kek_id(), secret);
        let kek = Arc::new(kek.map_err(|_| RootError::Garbage("a key of another length"))?);
        self.keep(key, &kek, since);
        Ok(kek)
    }

    /// Remembers a KEK that was just made or opened.
    pub fn keep(&self, key: &WrappedKey, kek: &Arc<TenantKek>, since: Instant) {
        let mut open = lock(&self.open);
        if open.len() >= MAX_OPEN && !open.contains_key(&key.id) {
            let oldest = open.iter().min_by_key(|(_, one)| one.since).map(|(id, _)| id.clone());
            oldest.and_then(|id| open.remove(&id));
        }
        open.insert(key.id.clone(), Arc::new(Open { wrapped: key.clone(), kek: Arc::clone(kek), since }));
    }

    fn open_kek(&self, key: &WrappedKey) -> Option<Arc<TenantKek>> {
        let one = self.open_under(key)?;
        (one.wrapped.wrapped == key.wrapped && one.wrapped.root == key.root).then(|| Arc::clone(&one.kek))
    }

    /// The open key of this name, whatever it was opened from.
    fn open_by_name(&self, key: &WrappedKey) -> Option<Arc<TenantKek>> {
        Some(Arc::clone(&self.open_under(key)?.kek))
    }

    fn open_under(&self, key: &WrappedKey) -> Option<Arc<Open>> {
        let open = lock(&self.open);
        let one = open.get(&key.id)?;
        (one.wrapped.owner == key.owner && one.since.elapsed() < self.ttl).then(|| Arc::clone(one))
    }

    /// Wipes what has served its time, for ever.
    pub async fn sweep(self: Arc<Self>) {
        let mut tick = tokio::time::interval(SWEEP);
        loop {
            tick.tick().await;
            lock(&self.open).retain(|_, one| one.since.elapsed() < self.ttl);
            for root in self.roots() {
                root.state();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use async_trait::async_trait;
    use keyferry_core::{clock::ManualClock, port::root::KeyVersions, time::Timestamp};
    use keyferry_envelope::{KeyContext, KeyPurpose};

    use super::*;

    /// A root that counts, and that can be slow or away.
    #[derive(Default)]
    struct Counting {
        calls: AtomicUsize,
        away: AtomicBool,
        has_other_credentials: AtomicBool,
    }

    #[async_trait]
    impl Root for Counting {
        fn id(&self) -> &'static str {
            "counting"
        }
        async fn wrap(&self, _: &KeyContext<'_>, _: &SecretBytes) -> Result<Vec<u8>, RootError> {
            Err(RootError::Refused)
        }
        async fn unwrap(&self, _: &KeyContext<'_>, wrapped: &[u8]) -> Result<SecretBytes, RootError> {
            self.calls.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(10)).await;
            if self.away.load(Ordering::SeqCst) {
                return Err(RootError::Away("unplugged".to_owned()));
            }
            Ok(SecretBytes::new(vec![wrapped[0]; 32]))
        }
        async fn renew(&self, _: &KeyContext<'_>, _: &[u8]) -> Result<Option<Vec<u8>>, RootError> {
            Ok(None)
        }
        async fn versions(&self) -> Result<KeyVersions, RootError> {
            Ok(KeyVersions::One)
        }
        async fn has_other_credentials(&self) -> bool {
            self.has_other_credentials.swap(false, Ordering::SeqCst)
        }
    }

    fn key(id: &str, byte: u8) -> WrappedKey {
        WrappedKey {
            purpose: KeyPurpose::TenantKek,
            owner: "acme".to_owned(),
            id: id.to_owned(),
            root: "counting".to_owned(),
            wrapped: vec![byte],
            created_at: Timestamp::from_secs(0),
            retired_at: None,
        }
    }

    fn keyring(ttl: Duration) -> (Arc<Counting>, Arc<Keyring>, Arc<ManualClock>) {
        let root = Arc::<Counting>::default();
        let clock = Arc::new(ManualClock::at(Timestamp::from_secs(0)));
        let as_clock: Arc<dyn Clock> = clock.clone();
        let ring = Keyring::new(root.clone(), Vec::new(), ttl, &as_clock);
        (root, Arc::new(ring), clock)
    }

    #[tokio::test]
    async fn a_hundred_at_once_ask_the_root_once() {
        let (root, ring, _) = keyring(Duration::from_secs(60));
        let tasks: Vec<_> = (0..100)
            .map(|_| {
                let ring = Arc::clone(&ring);
                tokio::spawn(async move { ring.kek(&key("kek_1", 1)).await.is_ok() })
            })
            .collect();
        for task in tasks {
            assert!(task.await.expect("runs"));
        }
        assert_eq!(root.calls.load(Ordering::SeqCst), 1);
        assert!(lock(&ring.opening).is_empty());
    }

    #[tokio::test]
    async fn other_bytes_under_the_same_name_are_another_key() {
        let (root, ring, _) = keyring(Duration::from_secs(60));
        let one = ring.kek(&key("kek_1", 1)).await.expect("opens");
        let other = ring.kek(&key("kek_1", 2)).await.expect("opens");
        assert!(!one.secret().ct_eq(other.secret()));
        assert_eq!(root.calls.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn an_open_key_serves_its_time_while_the_root_is_away_and_no_longer() {
        let (root, ring, _) = keyring(Duration::from_millis(300));
        ring.kek(&key("kek_1", 1)).await.expect("opens");
        root.away.store(true, Ordering::SeqCst);
        assert!(ring.kek(&key("kek_1", 1)).await.is_ok());
        assert!(ring.kek(&key("kek_2", 2)).await.is_err());
        tokio::time::sleep(Duration::from_millis(350)).await;
        assert!(ring.kek(&key("kek_1", 1)).await.is_err(), "its time is over");
    }

    #[tokio::test]
    async fn a_key_whose_bytes_were_renewed_serves_its_time_while_the_root_is_away() {
        let (root, ring, _) = keyring(Duration::from_millis(300));
        let before = ring.kek(&key("kek_1", 1)).await.expect("opens");
        root.away.store(true, Ordering::SeqCst);
        let renewed = ring.kek(&key("kek_1", 2)).await.expect("it is open");
        assert!(Arc::ptr_eq(&before, &renewed));
        let of_another = WrappedKey { owner: "globex".to_owned(), ..key("kek_1", 2) };
        assert!(ring.kek(&of_another).await.is_err());
        tokio::time::sleep(Duration::from_millis(350)).await;
        assert!(ring.kek(&key("kek_1", 2)).await.is_err(), "its time is over");
    }

    #[tokio::test]
    async fn who_waited_for_a_call_that_failed_fails_with_it_and_who_comes_later_asks() {
        let (root, ring, _) = keyring(Duration::from_secs(60));
        root.away.store(true, Ordering::SeqCst);
        let tasks: Vec<_> = (0..20)
            .map(|_| {
                let ring = Arc::clone(&ring);
                tokio::spawn(async move { ring.kek(&key("kek_1", 1)).await.is_err() })
            })
            .collect();
        for task in tasks {
            assert!(task.await.expect("runs"));
        }
        assert_eq!(root.calls.load(Ordering::SeqCst), 1, "one failure, not twenty");
        root.away.store(false, Ordering::SeqCst);
        assert!(ring.kek(&key("kek_1", 1)).await.is_ok());
    }

    #[tokio::test]
    async fn it_is_wiped_in_time_though_nobody_asks() {
        let (_, ring, _) = keyring(Duration::from_millis(100));
        let kek = Arc::downgrade(&ring.kek(&key("kek_1", 1)).await.expect("opens"));
        let sweeper = tokio::spawn(Arc::clone(&ring).sweep());
        tokio::time::sleep(Duration::from_millis(1300)).await;
        assert!(kek.upgrade().is_none());
        sweeper.abort();
    }

    #[tokio::test]
    async fn no_more_than_the_limit_are_open() {
        let (_, ring, _) = keyring(Duration::from_secs(60));
        for n in 0..MAX_OPEN + 5 {
            let kek = TenantKek::from_secret(key("x", 1).kek_id(), SecretBytes::new(vec![1; 32]));
            ring.keep(&key(&format!("kek_{n}"), 1), &Arc::new(kek.expect("32 bytes")), Instant::now());
        }
        assert_eq!(lock(&ring.open).len(), MAX_OPEN);
        assert!(ring.open_kek(&key("kek_0", 1)).is_none(), "the oldest made room");
    }

    #[tokio::test]
    async fn three_failures_open_the_circuit_and_one_probe_closes_it() {
        let (root, ring, clock) = keyring(Duration::from_secs(60));
        root.away.store(true, Ordering::SeqCst);
        for _ in 0..3 {
            assert!(matches!(ring.kek(&key("kek_1", 1)).await, Err(RootError::Away(_))));
        }
        assert_eq!(ring.state(), BreakerState::Open);
        assert!(matches!(ring.kek(&key("kek_1", 1)).await, Err(RootError::CircuitOpen { .. })));
        assert_eq!(root.calls.load(Ordering::SeqCst), 3, "nobody asks while it is open");
        root.away.store(false, Ordering::SeqCst);
        clock.advance_millis(59_999);
        assert!(ring.kek(&key("kek_1", 1)).await.is_err());
        clock.advance_millis(1);
        assert!(ring.kek(&key("kek_1", 1)).await.is_ok());
        assert_eq!(ring.state(), BreakerState::Closed);
    }

    #[tokio::test]
    async fn other_credentials_close_the_circuit_at_the_next_call() {
        let (root, ring, _) = keyring(Duration::from_secs(60));
        root.away.store(true, Ordering::SeqCst);
        for _ in 0..3 {
            assert!(matches!(ring.kek(&key("kek_1", 1)).await, Err(RootError::Away(_))));
        }
        assert!(matches!(ring.kek(&key("kek_1", 1)).await, Err(RootError::CircuitOpen { .. })));
        root.away.store(false, Ordering::SeqCst);
        root.has_other_credentials.store(true, Ordering::SeqCst);
        assert!(ring.kek(&key("kek_1", 1)).await.is_ok());
        assert_eq!(ring.state(), BreakerState::Closed);
    }

    #[tokio::test]
    async fn a_probe_whose_client_hangs_up_does_not_block_the_next() {
        let (root, ring, clock) = keyring(Duration::from_secs(60));
        root.away.store(true, Ordering::SeqCst);
        for _ in 0..3 {
            let _ = ring.kek(&key("kek_1", 1)).await;
        }
        root.away.store(false, Ordering::SeqCst);
        clock.advance_millis(60_000);
        let given_up = tokio::time::timeout(Duration::from_millis(1), ring.kek(&key("kek_1", 1))).await;
        assert!(given_up.is_err());
        // It goes on, and closes the circuit by itself.
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(ring.state(), BreakerState::Closed);
        assert!(ring.kek(&key("kek_1", 1)).await.is_ok());
    }

    #[tokio::test]
    async fn calls_whose_clients_hang_up_count_when_they_fail() {
        let (root, ring, _) = keyring(Duration::from_secs(60));
        root.away.store(true, Ordering::SeqCst);
        for n in 0..3 {
            let (ring, id) = (Arc::clone(&ring), format!("kek_{n}"));
            let given_up = tokio::time::timeout(Duration::from_millis(1), ring.kek(&key(&id, 1))).await;
            assert!(given_up.is_err());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(ring.state(), BreakerState::Open);
    }
}
