//! What this replica remembers of tenants.
//!
//! A view carries the epoch that was read before it. Whoever decides on a view tells the counter
//! store that epoch, and drops the view when the store says that it moved; so a view may be old,
//! but nothing is ever decided on an old one.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use keyferry_core::{
    admission::TenantView,
    budget::{Span, Spent},
    id::{TenantId, TokenId},
    issuer::Issuer,
    port::{
        counter::Counters,
        store::{Store, StoreError, StoredToken},
    },
};

use super::{
    flights::Flights,
    queue::{Place, Strangers},
};
use crate::{http::Problem, telemetry::Seldom};

/// Why something could not be read; several may have waited for it.
type Failed = Arc<dyn std::error::Error + Send + Sync>;

/// Tenants, and separately token ids, that are remembered at most.
const MAX_VIEWS: usize = 10_000;
const MAX_TOKENS: usize = 100_000;
/// How old a view may be.
const MAX_AGE: Duration = Duration::from_secs(2);
/// Tokens remembered within one view.
const MAX_TOKENS_PER_VIEW: usize = 10_000;

/// A tenant as it was at one epoch.
pub(super) struct View {
    /// What admission decides on.
    pub(super) tenant: TenantView,
    /// Whose JWTs it accepts.
    pub(super) issuers: Vec<Issuer>,
    read_at: Instant,
    /// Tokens that were asked for.
    tokens: Mutex<HashMap<TokenId, Arc<StoredToken>>>,
}

/// The remembered views.
pub(super) struct Views {
    store: Arc<dyn Store>,
    counters: Arc<dyn Counters>,
    by_tenant: Mutex<HashMap<TenantId, Arc<View>>>,
    /// Whose a token is never changes, so this needs no epoch.
    tenant_of_token: Mutex<HashMap<TokenId, TenantId>>,
    strangers: Strangers,
    tenant_reads: Flights<TenantId, Result<Option<Arc<View>>, Failed>>,
    token_reads: Flights<TokenId, Result<Option<Arc<StoredToken>>, Arc<StoreError>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Inserts; when full, forgets everything rather than keep count of what was used when.
fn remember<K: std::hash::Hash + Eq, V>(map: &mut HashMap<K, V>, max: usize, key: K, value: V) {
    if map.len() >= max {
        map.clear();
    }
    map.insert(key, value);
}

impl Views {
    pub(super) fn new(store: Arc<dyn Store>, counters: Arc<dyn Counters>) -> Self {
        Self {
            store,
            counters,
            by_tenant: Mutex::default(),
            tenant_of_token: Mutex::default(),
            strangers: Strangers::default(),
            tenant_reads: Flights::default(),
            token_reads: Flights::default(),
        }
    }

    /// A turn to ask the store on behalf of somebody of whom nothing is known.
    pub(super) async fn turn(&self) -> Result<Place<'_>, Problem> {
        self.strangers.turn().await
    }

    /// Whether a tenant is remembered.
    pub(super) fn remembers(&self, id: &TenantId) -> bool {
        lock(&self.by_tenant).contains_key(id)
    }

    /// The view of a tenant; `None` if there is no such tenant.
    ///
    /// The epoch says when the gateway changed something. That somebody else changed the database
    /// it cannot say, so a view is read again when it is some seconds old, if the store answers.
    pub(super) async fn of_tenant(&self, id: &TenantId) -> Result<Option<Arc<View>>, Problem> {
        let known = lock(&self.by_tenant).get(id).map(Arc::clone);
        match known {
            Some(view) if view.read_at.elapsed() < MAX_AGE => Ok(Some(view)),
            Some(view) => match self.read(id).await {
                Ok(fresh) => Ok(fresh),
                Err(error) => {
                    static KEPT: Seldom = Seldom::new();
                    if let Some(unsaid) = KEPT.say() {
                        tracing::warn!(event = "view_kept", %error, tenant = %id, unsaid);
                    }
                    Ok(Some(view))
                }
            },
            None => self.read(id).await.map_err(|error| away(&*error)),
        }
    }

    /// The view of a tenant, read from the store whatever is remembered.
    pub(super) async fn read_again(&self, id: &TenantId) -> Result<Option<Arc<View>>, Problem> {
        self.read(id).await.map_err(|error| away(&*error))
    }

    async fn read(&self, id: &TenantId) -> Result<Option<Arc<View>>, Failed> {
        self.tenant_reads.join(id, || self.read_from_store(id)).await
    }

    async fn read_from_store(&self, id: &TenantId) -> Result<Option<Arc<View>>, Failed> {
        let failed = |error: StoreError| -> Failed { Arc::new(error) };
        // A tenant that nobody has heard of may be a stranger's invention: no epoch is begun for it.
        let is_known = lock(&self.by_tenant).contains_key(id);
        if !is_known && self.store.tenant(id).await.map_err(failed)?.is_none() {
            return Ok(None);
        }
        let epoch = self.counters.epoch(id).await.map_err(|error| -> Failed { Arc::new(error) })?;
        let Some(tenant) = self.store.tenant(id).await.map_err(failed)? else {
            lock(&self.by_tenant).remove(id);
            return Ok(None);
        };
        let credentials = self.store.sealed_credentials(id).await.map_err(failed)?;
        let issuers = self.store.issuers(id).await.map_err(failed)?;
        let credentials = credentials.into_iter().map(Arc::new).collect();
        let tenant = TenantView { tenant, credentials, epoch };
        let view = Arc::new(View { tenant, issuers, read_at: Instant::now(), tokens: Mutex::default() });
        let mut views = lock(&self.by_tenant);
        // Another request may have read a newer one meanwhile.
        match views.get(id) {
            Some(other) if other.tenant.epoch.0 > view.tenant.epoch.0 => Ok(Some(Arc::clone(other))),
            _ => {
                remember(&mut views, MAX_VIEWS, id.clone(), Arc::clone(&view));
                Ok(Some(view))
            }
        }
    }

    /// A token and the view of its tenant.
    pub(super) async fn of_token(
        &self,
        id: &TokenId,
    ) -> Result<Option<(Arc<View>, Arc<StoredToken>)>, Problem> {
        let known = lock(&self.tenant_of_token).get(id).cloned();
        let mut turn = None;
        let tenant = if let Some(tenant) = known {
            tenant
        } else {
            turn = Some(self.turn().await?);
            let Some(stored) = self.read_token(id).await? else { return Ok(None) };
            stored.token.tenant.clone()
        };
        let Some(view) = self.of_tenant(&tenant).await? else { return Ok(None) };
        let remembered = lock(&view.tokens).get(id).cloned();
        if let Some(token) = remembered {
            return Ok(Some((view, token)));
        }
        // Read after the view's epoch, also when it was read before to learn its tenant: a token
        // that is older than its view could outlive its own revocation.
        let Some(token) = self.read_token(id).await? else { return Ok(None) };
        drop(turn);
        remember(&mut lock(&view.tokens), MAX_TOKENS_PER_VIEW, id.clone(), Arc::clone(&token));
        remember(&mut lock(&self.tenant_of_token), MAX_TOKENS, id.clone(), tenant);
        Ok(Some((view, token)))
    }

    async fn read_token(&self, id: &TokenId) -> Result<Option<Arc<StoredToken>>, Problem> {
        let read = || async { self.store.token(id).await.map(|found| found.map(Arc::new)).map_err(Arc::new) };
        self.token_reads.join(id, read).await.map_err(|error| away(&*error))
    }

    /// The view of a tenant as it is now, whatever is remembered.
    pub(super) async fn current(&self, id: &TenantId) -> Result<Option<Arc<View>>, Problem> {
        let Some(view) = self.of_tenant(id).await? else { return Ok(None) };
        let epoch = self.counters.epoch(id).await.map_err(|error| away(&error))?;
        if epoch == view.tenant.epoch {
            return Ok(Some(view));
        }
        self.forget(&view);
        self.of_tenant(id).await
    }

    /// What the store says is spent of a tenant's budget.
    pub(super) async fn spent(&self, tenant: &TenantId, span: Span) -> Result<Spent, Problem> {
        self.store.spent(tenant, span).await.map_err(|error| away(&error))
    }

    /// Forgets a view that turned out to be old.
    pub(super) fn forget(&self, old: &View) {
        let mut views = lock(&self.by_tenant);
        let id = &old.tenant.tenant.id;
        if views.get(id).is_some_and(|view| view.tenant.epoch == old.tenant.epoch) {
            views.remove(id);
        }
    }
}

/// The store or the counters are away: the cause for the log, a plain sentence for the client.
pub(super) fn away(error: &(dyn std::error::Error + 'static)) -> Problem {
    static TOLD: Seldom = Seldom::new();
    if let Some(unsaid) = TOLD.say() {
        tracing::error!(event = "dependency_away", %error, unsaid);
    }
    match error.downcast_ref::<StoreError>() {
        Some(StoreError::Inconsistent { .. }) => Problem::unavailable(
            "What is stored for this tenant cannot be read; the operator's log says where.",
        ),
        _ => Problem::unavailable("A part of the gateway is away."),
    }
}
