//! The counters: opened, their losses remembered, and the rounds for the orders of the store.

use std::sync::Arc;

use keyferry_core::{
    audit::AuditDraft,
    clock::Clock,
    port::{
        counter::Counters,
        store::{Store, StoreError},
    },
};
use keyferry_storage::counter::{MemoryCounters, RedisClock, RedisCounters, RedisError};

use crate::{
    config,
    orders::{Orders, ROUND, Standing},
};

/// The name under which the life of the counters is remembered that the store was last served with.
const GENERATION_SETTING: &str = "counters_generation";
/// What that begins with where counters were in memory, since a time.
const MEMORY: &str = "memory:";
/// What is known where nothing is, and counters may have been anywhere.
const UNKNOWN: &str = "unknown:0";

/// Why there are no counters.
#[derive(Debug, thiserror::Error)]
pub enum CountingError {
    /// They cannot be used.
    #[error("counters")]
    Redis(#[from] RedisError),
    /// The store cannot be used.
    #[error("storage")]
    Store(#[from] StoreError),
}

/// Opens the counters.
///
/// Those in memory forget at each start which token ids were used: with issuers in the store there may have been some. So it is
/// with a Redis that a store has not been served with before.
pub async fn open(
    configured: config::Counters,
    store: &dyn Store,
    clock: &dyn Clock,
) -> Result<Arc<dyn Counters>, CountingError> {
    let known = store.setting(GENERATION_SETTING).await?;
    let known = known.and_then(|bytes| String::from_utf8(bytes).ok());
    let may_have_been = store.has_issuers().await?;
    let (address, ca) = match configured {
        config::Counters::Redis { address, ca } => (address, ca),
        config::Counters::Memory => {
            // A Redis that was used before does not know what is used from now on.
            if known.is_some_and(|known| !known.starts_with(MEMORY)) {
                let since = format!("{MEMORY}{}", clock.now().millis());
                store.put_setting(GENERATION_SETTING, Some(since.as_bytes()), lost(clock)).await?;
            }
            let lost_at = may_have_been.then(|| clock.now());
            return Ok(Arc::new(lost_at.map_or_else(MemoryCounters::default, MemoryCounters::after_a_loss)));
        }
    };
    let earlier = known.as_deref().or_else(|| may_have_been.then_some(UNKNOWN));
    let counters = RedisCounters::open(address, ca.as_deref(), earlier, RedisClock::Server).await?;
    remember(store, &counters, known.as_deref(), clock).await?;
    Ok(Arc::new(counters))
}

/// Remembers the life of the counters, so that the next start can tell a loss from a first one.
async fn remember(
    store: &dyn Store,
    counters: &dyn Counters,
    known: Option<&str>,
    clock: &dyn Clock,
) -> Result<(), StoreError> {
    let now = counters.generation();
    match known {
        Some(known) if known == now => Ok(()),
        Some(_) => store.put_setting(GENERATION_SETTING, Some(now.as_bytes()), lost(clock)).await,
        None => store.init_setting(GENERATION_SETTING, now.as_bytes()).await.map(drop),
    }
}

fn lost(clock: &dyn Clock) -> AuditDraft {
    AuditDraft {
        at: clock.now(),
        actor: "keyferry".to_owned(),
        action: "counters.lost",
        tenant: None,
        target: "counters".to_owned(),
        source: "-".to_owned(),
        detail: serde_json::json!({}),
    }
}

/// Goes the rounds for orders and remembers losses of the counters, for ever.
pub async fn tend(
    orders: Arc<Orders>,
    store: Arc<dyn Store>,
    counters: Arc<dyn Counters>,
    clock: Arc<dyn Clock>,
) {
    let mut tick = tokio::time::interval(ROUND);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut known = counters.generation();
    let mut standing = Standing::new();
    let mut well = true;
    loop {
        tick.tick().await;
        let gone = orders.round(&mut standing).await;
        if let (Err(error), true) = (&gone, well) {
            tracing::warn!(event = "epochs_not_moved", %error);
        }
        well = gone.is_ok();
        if counters.generation() != known
            && remember(&*store, &*counters, Some(&known), &*clock).await.is_ok()
        {
            known = counters.generation();
        }
    }
}
