//! Start-up, read from top to bottom: secrets, store, parts, listeners. Nothing is bound before
//! everything that can be wrong has been checked.

use std::{num::NonZeroUsize, os::unix::fs::DirBuilderExt, sync::Arc, time::Duration};

use keyferry_core::{
    clock::Clock,
    port::store::{Store, StoreError},
    token::{self, TokenHash},
};
use keyferry_envelope::{Entropy, SecretBytes};
use keyferry_storage::JournalError;
use metrics_exporter_prometheus::PrometheusHandle;

use crate::{
    admin::{self, AdminState},
    config::{self, Config},
    counting::{self, CountingError},
    custody::{self, Ground, GroundError, Making, OpenedGround, Unsealing},
    gateway::{self, Gateway, Holds, KeyTest, Payments, Recorder},
    harden::{Grants, LockLimit},
    http::{self, App, BindError, Door, Health, RequestIds},
    journaling,
    lifecycle::Running,
    orders::Orders,
    single::{self, Alone, NotAlone},
    telemetry::metrics,
    upstream::{TrustError, UpstreamClient, plaintext_hosts},
    workers::Workers,
};

/// The name under which the hash of the operator's token is kept.
const OPERATOR_SETTING: &str = "operator_token_sha256";
/// The shortest operator token that is taken from the environment.
const MIN_OPERATOR_TOKEN: usize = 16;

/// Why the program does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data folder cannot be made.
    #[error("data_dir: {0} cannot be used")]
    DataDir(String, #[source] std::io::Error),
    /// The roots, or the database with them, cannot be opened.
    #[error(transparent)]
    Ground(#[from] GroundError),
    /// Another gateway serves the store.
    #[error(transparent)]
    NotAlone(#[from] NotAlone),
    /// The counters cannot be used.
    #[error(transparent)]
    Counting(#[from] CountingError),
    /// The database cannot be used.
    #[error("storage")]
    Store(#[from] StoreError),
    /// The journal of usage rows cannot be used.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The extra certificate authority cannot be used.
    #[error("upstream.extra_ca")]
    Trust(#[from] TrustError),
    /// A listener cannot be opened.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The threads that serve cannot be started.
    #[error("--workers: the threads that serve requests cannot be started")]
    Workers(#[source] std::io::Error),
    /// The operator's token is too easy to guess.
    #[error("KEYFERRY_OPERATOR_TOKEN: needs at least {MIN_OPERATOR_TOKEN} characters")]
    OperatorToken,
}

/// What the surroundings give: time, randomness, the operator's token, metrics.
pub struct Surroundings {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// From `KEYFERRY_OPERATOR_TOKEN`.
    pub operator_token: Option<SecretBytes>,
    /// Where metrics are rendered from.
    pub metrics: PrometheusHandle,
    /// How many threads serve.
    pub workers: NonZeroUsize,
}

/// A program that is up, and the operator's token if it was just made.
pub struct Started {
    /// What runs.
    pub running: Running,
    /// To be shown once.
    pub new_operator_token: Option<SecretBytes>,
}

/// Starts everything.
pub async fn start(config: Config, around: Surroundings) -> Result<Started, StartError> {
    let Surroundings { clock, entropy, operator_token, metrics, workers } = around;
    warn_of(&config);
    tell_of_memory();
    make_folder(&config)?;

    let alone = alone(&config)?;
    let (time, chance) = (Arc::clone(&clock), Arc::clone(&entropy));
    let OpenedGround { ground, service, chores: root_chores } =
        Ground::open(&config.kms, &config.storage, Making::Allowed, time, chance).await?;
    let (store, keyring) = (Arc::clone(&ground.store), Arc::clone(&ground.keyring));
    let (vault, unsealer) = custody::for_gateway(&ground, service);
    let unsealing = unsealing(&ground, config.sealed_max_uses).await;
    let counters = counting::open(config.counters, &*store, &*clock).await?;
    let orders = Arc::new(Orders::new(Arc::clone(&store), Arc::clone(&counters)));
    let (operators, new_operator_token) = operators(&*store, operator_token, &*entropy).await?;

    let upstream = UpstreamClient::new(config.upstream, workers)?;
    let providers = Arc::new(config.providers);
    let holds = Holds::new(Arc::clone(&counters), Arc::clone(&clock), config.platform.hold_ttl);
    let (recorder, recording) = Recorder::start(Arc::clone(&store), holds.clone());
    let journal_later = journaling::open(config.journal, &store, &recorder, &*entropy).await?;
    let catalogue = Arc::new(config.catalogue);
    let gateway = Gateway::new(gateway::Parts {
        clock: Arc::clone(&clock),
        policy: config.policy,
        providers: Arc::clone(&providers),
        catalogue: Arc::clone(&catalogue),
        store: Arc::clone(&store),
        counters: Arc::clone(&counters),
        unsealer,
        unsealing: unsealing.clone(),
        upstream: Arc::clone(&upstream),
        recorder: recorder.clone(),
        payments: Payments::new(config.platform),
        holds: holds.clone(),
    });
    let admin = admin::router(AdminState {
        clock: Arc::clone(&clock),
        entropy: Arc::clone(&entropy),
        store: Arc::clone(&store),
        counters: Arc::clone(&counters),
        orders: Arc::clone(&orders),
        providers,
        catalogue,
        policy: config.policy,
        vault,
        unsealing: unsealing.clone(),
        key_test: KeyTest::new(Arc::clone(&gateway)),
        recorder: recorder.clone(),
        operators,
    });
    let (health, door) = (Health::new(&store, &recorder, &keyring, &counters), Door::default());
    let ids = RequestIds::new(Arc::clone(&clock), Arc::clone(&entropy));
    let app = Arc::new(App { ids, gateway, admin, health, metrics, door });

    let bound = bind(&config.listeners, &*entropy).await?;
    let workers = Workers::start(workers).map_err(StartError::Workers)?;
    let mut chores = vec![
        tokio::spawn(app.gateway.watch_stalls()),
        tokio::spawn(metrics::keep_up(app.metrics.clone())),
        tokio::spawn(upstream.sweep()),
        tokio::spawn(keyring.sweep()),
        tokio::spawn(holds.renew()),
        tokio::spawn(counting::tend(orders, Arc::clone(&store), counters, Arc::clone(&clock))),
        tokio::spawn(destroy_overlapped(Arc::clone(&store), clock)),
        tokio::spawn(tend_memory()),
    ];
    chores.extend(journal_later.map(tokio::spawn));
    chores.extend(unsealing.map(|unsealing| tokio::spawn(unsealing.keep())));
    chores.extend(root_chores.into_iter().map(tokio::spawn));
    Ok(Started { running: Running::new(app, bound, recording, chores, workers, alone), new_operator_token })
}

/// The lock, where only one gateway may serve.
fn alone(config: &Config) -> Result<Option<Alone>, NotAlone> {
    match (&config.counters, config.storage.file()) {
        (config::Counters::Memory, Some(file)) => single::alone(file).map(Some),
        _ => Ok(None),
    }
}

async fn bind(listeners: &[config::Listener], entropy: &dyn Entropy) -> Result<Vec<http::Bound>, BindError> {
    let mut bound = Vec::with_capacity(listeners.len());
    for (index, listener) in listeners.iter().enumerate() {
        bound.push(http::bind(index, listener, entropy).await?);
    }
    Ok(bound)
}

/// What opens sealed keys, if they are accepted. Without its keys the gateway serves everything else.
async fn unsealing(ground: &Ground, max_uses: Option<u32>) -> Option<Unsealing> {
    let unsealing = ground.unsealing(max_uses?);
    if let Err(error) = unsealing.keys().maintain().await {
        tracing::error!(event = "sealing_keys_not_kept", %error);
    }
    Some(unsealing)
}

fn warn_of(config: &Config) {
    for folder in Grants::of_gateway(config).too_wide() {
        tracing::warn!(
            event = "folder_shared",
            folder = %folder.display(),
            "the database lies among what belongs to others, and all of it may be written to: give it a folder of its own"
        );
    }
    for host in plaintext_hosts(&config.upstream) {
        tracing::warn!(event = "plaintext_upstream", %host, "keys go to this host without TLS: development only");
    }
}

/// Says where secrets lie, and warns when they may be swapped out or dumped.
fn tell_of_memory() {
    let backend = keyferry_secretmem::backend();
    let limit = LockLimit::of_this_process();
    if backend == keyferry_secretmem::Backend::Heap {
        tracing::warn!(
            event = "secrets_not_locked",
            "the kernel gives no locked memory: secrets lie on the heap. Raise RLIMIT_MEMLOCK"
        );
    } else if !limit.is_enough() {
        tracing::warn!(
            event = "secrets_not_locked",
            backend = backend.as_str(),
            limit = limit.bytes(),
            "so few bytes may be locked that most secrets lie on the heap. Raise RLIMIT_MEMLOCK to 8 MiB"
        );
    } else {
        tracing::info!(event = "secrets_locked", backend = backend.as_str());
    }
}

/// Looks after memory, for ever.
async fn tend_memory() {
    tokio::join!(tell_of_overflow(), give_back_memory());
}

/// Warns when locked memory did not suffice, once a minute at most. Whoever has none was told at the start.
async fn tell_of_overflow() {
    if keyferry_secretmem::backend() == keyferry_secretmem::Backend::Heap {
        return;
    }
    let (mut told_own, mut told_incoming) = ((0, 0), (0, 0));
    let mut tick = tokio::time::interval(Duration::from_secs(60));
    loop {
        tick.tick().await;
        let now = keyferry_secretmem::shares();
        tell_of_share(
            "own",
            now.own,
            &mut told_own,
            "the locked memory for what the gateway keeps is used up: raise RLIMIT_MEMLOCK",
        );
        tell_of_share(
            "incoming",
            now.incoming,
            &mut told_incoming,
            "more secrets came in at once than their share of locked memory holds: limit connections and requests \
             in front of the gateway, and if all are yours, raise RLIMIT_MEMLOCK",
        );
    }
}

/// Says what came to lie on the heap of one share since the last time.
fn tell_of_share(share: &str, now: keyferry_secretmem::Report, told: &mut (u64, u64), full: &str) {
    let (secrets, too_long) = (now.overflowed - told.0, now.too_long - told.1);
    *told = (now.overflowed, now.too_long);
    if secrets > too_long {
        tracing::warn!(event = "secrets_overflowed", share, secrets, too_long, "{full}");
    } else if too_long > 0 {
        tracing::warn!(
            event = "secrets_overflowed",
            share,
            secrets,
            too_long,
            "secrets of more than 4096 bytes find no place in locked memory"
        );
    }
}

/// Gives memory that a burst of requests has left back to the kernel.
async fn give_back_memory() {
    let mut tick = tokio::time::interval(Duration::from_secs(15));
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        // It takes milliseconds, for gigabytes more.
        let _ = tokio::task::spawn_blocking(keyferry_secretmem::give_back_free_pages).await;
    }
}

/// Makes the data folder, if it is not there.
pub fn make_folder(config: &Config) -> Result<(), StartError> {
    let folder = &config.data_dir;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|error| StartError::DataDir(folder.display().to_string(), error))
}

/// The hashes that are accepted as the operator's: the environment's and the stored one. Without
/// either, a token is made.
async fn operators(
    store: &dyn Store,
    given: Option<SecretBytes>,
    entropy: &dyn Entropy,
) -> Result<(Vec<TokenHash>, Option<SecretBytes>), StartError> {
    let mut hashes = Vec::new();
    if let Some(token) = &given {
        if token.expose().len() < MIN_OPERATOR_TOKEN {
            return Err(StartError::OperatorToken);
        }
        hashes.push(TokenHash::of(token.expose()));
    }
    let stored = store.setting(OPERATOR_SETTING).await?;
    if let Some(hash) = stored.as_deref().and_then(TokenHash::from_stored) {
        hashes.push(hash);
    }
    if !hashes.is_empty() {
        return Ok((hashes, None));
    }
    let minted = token::mint(entropy);
    let hash = TokenHash::of(minted.text.expose());
    store.init_setting(OPERATOR_SETTING, hash.as_bytes()).await?;
    Ok((vec![hash], Some(minted.text)))
}

/// Destroys old versions of rotated keys when their overlap is over.
async fn destroy_overlapped(store: Arc<dyn Store>, clock: Arc<dyn Clock>) {
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        match store.destroy_overlapped(clock.now()).await {
            Ok(0) => {}
            Ok(versions) => tracing::info!(event = "old_versions_destroyed", versions),
            Err(error) => tracing::warn!(event = "old_versions_not_destroyed", %error),
        }
    }
}
