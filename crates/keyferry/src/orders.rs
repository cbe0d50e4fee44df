//! The orders of the store: a change to a tenant's things writes one, in its own transaction, to move the tenant's epoch in
//! the counters. Each is carried once.
//!
//! Whoever makes a change carries its order at once, and the next round strikes it out, with all others of that time in one
//! go. What still stands when it should have been struck out is left over: of a process that ended in between, of counters
//! that were away, of something that no gateway did. Any gateway carries it. Once too often does no harm.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use keyferry_core::{
    id::TenantId,
    port::{
        counter::{Counters, CountersAway},
        store::{Store, StoreError},
    },
};
use tokio::time::Instant;

/// How often is looked.
pub const ROUND: Duration = Duration::from_millis(250);
/// For so long an order is let stand: somebody else may have carried it, and strike it out in the next round.
const LEFT_OVER: Duration = Duration::from_millis(400);
/// Orders in one go. Where so many wait, something is behind, and none is let stand.
const BATCH: u32 = 256;

/// Orders, and which of them this process has carried.
pub struct Orders {
    store: Arc<dyn Store>,
    counters: Arc<dyn Counters>,
    carried: Mutex<BTreeSet<i64>>,
}

/// Why a round was not finished.
#[derive(Debug, thiserror::Error)]
pub enum RoundError {
    /// The store did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The counters did not.
    #[error(transparent)]
    Counters(#[from] CountersAway),
}

/// Orders that stand, each with when it was first seen.
pub type Standing = HashMap<i64, Instant>;

impl Orders {
    /// Of this store, to these counters.
    pub fn new(store: Arc<dyn Store>, counters: Arc<dyn Counters>) -> Self {
        Self { store, counters, carried: Mutex::default() }
    }

    /// Carries the orders of a tenant that stand now.
    pub async fn carry(&self, tenant: &TenantId) -> Result<(), CountersAway> {
        // Before the move: an order that is written after it wants another one. Those that are not seen here are carried once
        // more.
        let orders = self.store.epochs_to_move(BATCH).await.unwrap_or_default();
        self.move_epoch(tenant).await?;
        let own = orders.into_iter().filter(|(_, of)| of == tenant);
        self.carried().extend(own.map(|(number, _)| number));
        Ok(())
    }

    /// Moves a tenant's epoch, whatever orders there are.
    pub async fn move_epoch(&self, tenant: &TenantId) -> Result<(), CountersAway> {
        self.counters.move_epoch(tenant).await
    }

    /// One round: what was carried is struck out, what is left over is carried.
    pub async fn round(&self, standing: &mut Standing) -> Result<(), RoundError> {
        self.strike_out().await?;
        loop {
            let orders = self.store.epochs_to_move(BATCH).await?;
            let many = orders.len() >= BATCH as usize;
            let left_over = self.left_over(&orders, standing, many);
            // Once for each: whoever reads a view anew meanwhile should not find it old again and again.
            for tenant in left_over.iter().map(|(_, tenant)| tenant).collect::<HashSet<_>>() {
                self.move_epoch(tenant).await?;
            }
            self.carried().extend(left_over.iter().map(|(number, _)| *number));
            self.strike_out().await?;
            if !many {
                return Ok(());
            }
        }
    }

    /// Which of them nobody seems to carry, and with them all others of these tenants: one move stands for them too. While
    /// something is changed on and on, a tenant's views are not read anew in each round.
    fn left_over<'o>(
        &self,
        orders: &'o [(i64, TenantId)],
        standing: &mut Standing,
        many: bool,
    ) -> Vec<&'o (i64, TenantId)> {
        let now = Instant::now();
        let before = std::mem::take(standing);
        let carried = self.carried();
        let mut left_over: Vec<_> = orders.iter().filter(|(number, _)| !carried.contains(number)).collect();
        let mut overdue = HashSet::new();
        for (number, tenant) in &left_over {
            let since = before.get(number).copied().unwrap_or(now);
            standing.insert(*number, since);
            if many || now - since >= LEFT_OVER {
                overdue.insert(tenant);
            }
        }
        left_over.retain(|(_, tenant)| overdue.contains(tenant));
        left_over
    }

    async fn strike_out(&self) -> Result<(), StoreError> {
        let carried: Vec<i64> = self.carried().iter().copied().collect();
        if carried.is_empty() {
            return Ok(());
        }
        self.store.epochs_moved(&carried).await?;
        let mut left = self.carried();
        for number in &carried {
            left.remove(number);
        }
        Ok(())
    }

    fn carried(&self) -> MutexGuard<'_, BTreeSet<i64>> {
        self.carried.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use keyferry_core::{
        audit::{AuditChain, AuditDraft},
        port::counter::Epoch,
        tenant::{BudgetPeriod, Fallback, Tenant},
        time::Timestamp,
    };
    use keyferry_envelope::{SecretBytes, ServiceSecret};
    use keyferry_storage::{counter::MemoryCounters, sqlite::SqliteStore};
    use tokio::time::sleep;

    use super::*;

    struct Scene {
        _folder: tempfile::TempDir,
        store: Arc<dyn Store>,
        counters: Arc<MemoryCounters>,
        acme: TenantId,
    }

    impl Scene {
        /// In which a tenant was made, and its order stands.
        async fn new() -> Self {
            let folder = tempfile::tempdir().expect("a folder");
            let store = SqliteStore::open(&folder.path().join("test.db")).await.expect("opens");
            let secret = ServiceSecret::from_secret(SecretBytes::new(vec![7; 32])).expect("32 bytes");
            store.open_audit(AuditChain::new(secret.audit_key())).await.expect("opens");
            let acme: TenantId = "acme".parse().expect("valid");
            let scene = Self {
                _folder: folder,
                store: Arc::new(store),
                counters: Arc::default(),
                acme: acme.clone(),
            };
            scene.change(&acme).await;
            scene
        }

        async fn change(&self, id: &TenantId) {
            let tenant = Tenant {
                id: id.clone(),
                name: id.to_string(),
                tier: "default".to_owned(),
                byok_enabled: true,
                daily_quota: 1,
                fallback: Fallback::default(),
                budget_micro_usd: None,
                budget_period: BudgetPeriod::Month,
                created_at: Timestamp::from_secs(1_800_000_000),
            };
            self.store.create_tenant(&tenant, draft_of("tenant.created")).await.expect("made");
        }

        fn gateway(&self) -> Orders {
            Orders::new(Arc::clone(&self.store), Arc::clone(&self.counters) as Arc<dyn Counters>)
        }

        async fn stand(&self) -> usize {
            self.store.epochs_to_move(1000).await.expect("listed").len()
        }

        async fn epoch(&self) -> Epoch {
            self.counters.epoch(&self.acme).await.expect("answers")
        }
    }

    /// Counters in memory count moves, so that these are exact.
    #[tokio::test]
    async fn what_was_carried_at_once_is_struck_out_and_not_carried_again_by_anybody() {
        let scene = Scene::new().await;
        let (one, other) = (scene.gateway(), scene.gateway());
        let (mut seen_by_one, mut seen_by_other) = (Standing::new(), Standing::new());
        one.carry(&scene.acme).await.expect("carried");
        assert_eq!((scene.epoch().await, scene.stand().await), (Epoch(1), 1));
        other.round(&mut seen_by_other).await.expect("a round");
        assert_eq!(scene.stand().await, 1, "it may be another's");
        one.round(&mut seen_by_one).await.expect("a round");
        assert_eq!(scene.stand().await, 0);
        sleep(LEFT_OVER).await;
        other.round(&mut seen_by_other).await.expect("a round");
        one.round(&mut seen_by_one).await.expect("a round");
        assert_eq!(scene.epoch().await, Epoch(1), "once");
        assert!(seen_by_other.is_empty() && one.carried().is_empty());
    }

    #[tokio::test]
    async fn what_nobody_carried_is_carried_by_whoever_finds_it() {
        let scene = Scene::new().await;
        let gateway = scene.gateway();
        let mut standing = Standing::new();
        gateway.round(&mut standing).await.expect("a round");
        assert_eq!((scene.epoch().await, scene.stand().await), (Epoch(0), 1), "somebody may be at it");
        sleep(LEFT_OVER).await;
        gateway.round(&mut standing).await.expect("a round");
        assert_eq!((scene.epoch().await, scene.stand().await), (Epoch(1), 0));
    }

    #[tokio::test]
    async fn a_move_stands_for_what_was_written_before_it_and_for_nothing_after() {
        let scene = Scene::new().await;
        let gateway = scene.gateway();
        gateway.carry(&scene.acme).await.expect("carried");
        scene.store.delete_tenant(&scene.acme, draft_of("tenant.deleted")).await.expect("deleted");
        let mut standing = Standing::new();
        gateway.round(&mut standing).await.expect("a round");
        assert_eq!(scene.stand().await, 1, "the second order");
        sleep(LEFT_OVER).await;
        gateway.round(&mut standing).await.expect("a round");
        assert_eq!((scene.epoch().await, scene.stand().await), (Epoch(2), 0));
    }

    #[tokio::test]
    async fn one_move_stands_for_what_was_written_just_now_too() {
        let scene = Scene::new().await;
        let gateway = scene.gateway();
        let mut standing = Standing::new();
        gateway.round(&mut standing).await.expect("a round");
        sleep(LEFT_OVER).await;
        scene.store.delete_tenant(&scene.acme, draft_of("tenant.deleted")).await.expect("deleted");
        gateway.round(&mut standing).await.expect("a round");
        assert_eq!((scene.epoch().await, scene.stand().await), (Epoch(1), 0));
    }

    #[tokio::test]
    async fn where_many_wait_none_is_let_stand() {
        let scene = Scene::new().await;
        for number in 0..300 {
            scene.change(&format!("tenant-{number}").parse().expect("valid")).await;
        }
        scene.gateway().round(&mut Standing::new()).await.expect("a round");
        assert_eq!((scene.epoch().await, scene.stand().await), (Epoch(1), 301 - 256));
    }

    fn draft_of(action: &'static str) -> AuditDraft {
        AuditDraft {
            at: Timestamp::from_secs(1_800_000_000),
            actor: "test".to_owned(),
            action,
            tenant: None,
            target: "acme".to_owned(),
            source: "-".to_owned(),
            detail: serde_json::json!({}),
        }
    }
}
