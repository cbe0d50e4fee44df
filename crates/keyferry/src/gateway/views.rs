//! What this replica remembers of tenants.
//!
//! A view carries the epoch that was read before it. Whoever decides on a view tells the counter
//! store that epoch, and drops the view when the store says that it moved; so a view may be old,
//! but nothing is ever decided on an old one.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use keyferry_core::{
    admission::TenantView,
    budget::{Span, Spent},
    id::{TenantId, TokenId},
    issuer::Issuer,
    map::Map,
    port::{
        counter::Counters,
        store::{Store, StoreError, StoredToken},
    },
};

use tokio::time::timeout;

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
/// How old what is remembered may be until it is read again.
const MAX_AGE: Duration = Duration::from_secs(2);
/// How long a request waits for that. A store that answers needs less; one that does not is waited for in the background.
const RENEWAL: Duration = Duration::from_millis(100);
/// Tokens remembered within one view.
const MAX_TOKENS_PER_VIEW: usize = 10_000;

/// A tenant as it was at one epoch.
pub(super) struct View {
    /// What admission decides on.
    pub(super) tenant: TenantView,
    /// Whose JWTs it accepts.
    pub(super) issuers: Vec<Issuer>,
    renewal: Renewal,
    /// Tokens that were asked for. Views of one epoch share them.
    tokens: Arc<Tokens>,
}

type Tokens = Mutex<Map<TokenId, Arc<Remembered>>>;

/// A token as it was read.
struct Remembered {
    stored: Arc<StoredToken>,
    renewal: Renewal,
}

/// When something is to be read again.
struct Renewal(Mutex<Instant>);

impl Renewal {
    fn read_now() -> Self {
        Self(Mutex::new(Instant::now()))
    }

    /// Whether it is time, and for this caller to do it: the others go on with what is remembered.
    fn is_mine(&self) -> bool {
        let mut begun = lock(&self.0);
        let is_due = begun.elapsed() >= MAX_AGE;
        if is_due {
            *begun = Instant::now();
        }
        is_due
    }
}

/// The remembered views.
pub(super) struct Views {
    store: Arc<dyn Store>,
    counters: Arc<dyn Counters>,
    by_tenant: Mutex<Map<TenantId, Arc<View>>>,
    /// Whose a token is never changes, so this needs no epoch.
    tenant_of_token: Mutex<Map<TokenId, TenantId>>,
    strangers: Strangers,
    tenant_reads: Flights<TenantId, Result<Option<Arc<View>>, Failed>>,
    token_reads: Flights<TokenId, Result<Option<Arc<StoredToken>>, Failed>>,
    /// When the store last failed to answer in time what was to be read again: then nobody waits for a while.
    silent: Mutex<Option<Instant>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Inserts; when full, forgets everything rather than keep count of what was used when.
fn remember<K: std::hash::Hash + Eq, V>(map: &mut Map<K, V>, max: usize, key: K, value: V) {
    if map.len() >= max {
        map.clear();
    }
    map.insert(key, value);
}

impl View {
    fn remember_token(&self, id: &TokenId, stored: &Arc<StoredToken>) {
        let token = Remembered { stored: Arc::clone(stored), renewal: Renewal::read_now() };
        remember(&mut lock(&self.tokens), MAX_TOKENS_PER_VIEW, id.clone(), Arc::new(token));
    }
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
            silent: Mutex::default(),
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
    pub(super) async fn of_tenant(self: &Arc<Self>, id: &TenantId) -> Result<Option<Arc<View>>, Problem> {
        let known = lock(&self.by_tenant).get(id).map(Arc::clone);
        let Some(view) = known else { return Box::pin(self.read_again(id)).await };
        if !view.renewal.is_mine() {
            return Ok(Some(view));
        }
        let (views, id) = (Arc::clone(self), id.clone());
        let fresh = Box::pin(self.renewed(async move { views.read(&id).await })).await;
        Ok(fresh.unwrap_or(Some(view)))
    }

    /// What is read again, if it comes in time. Reading goes on if it does not.
    async fn renewed<T: Send + 'static>(
        self: &Arc<Self>,
        read: impl Future<Output = Result<T, Failed>> + Send + 'static,
    ) -> Option<T> {
        let is_silent = lock(&self.silent).is_some_and(|since| since.elapsed() < MAX_AGE);
        let views = Arc::clone(self);
        let reading = tokio::spawn(async move {
            let read = read.await;
            *lock(&views.silent) = read.is_err().then(Instant::now);
            read.inspect_err(|error| {
                static KEPT: Seldom = Seldom::new();
                if let Some(unsaid) = KEPT.say() {
                    tracing::warn!(event = "view_kept", %error, unsaid);
                }
            })
            .ok()
        });
        if is_silent {
            return None;
        }
        let Ok(read) = timeout(RENEWAL, reading).await else {
            *lock(&self.silent) = Some(Instant::now());
            return None;
        };
        read.ok().flatten()
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
        let mut views = lock(&self.by_tenant);
        // Read under this epoch, they stand as long as it does, also while the store is away.
        let same = views.get(id).filter(|other| other.tenant.epoch == epoch);
        let tokens = same.map(|other| Arc::clone(&other.tokens)).unwrap_or_default();
        let view = Arc::new(View { tenant, issuers, renewal: Renewal::read_now(), tokens });
        // Another request may have read a newer one meanwhile.
        match views.get(id) {
            Some(other) if other.tenant.epoch.0 > view.tenant.epoch.0 => Ok(Some(Arc::clone(other))),
            _ => {
                remember(&mut views, MAX_VIEWS, id.clone(), Arc::clone(&view));
                Ok(Some(view))
            }
        }
    }

    /// A token and the view of its tenant. What asks the store is in boxes of its own: as a rule nothing is asked, and
    /// what waits for an answer takes room in each request.
    pub(super) async fn of_token(
        self: &Arc<Self>,
        id: &TokenId,
    ) -> Result<Option<(Arc<View>, Arc<StoredToken>)>, Problem> {
        let known = lock(&self.tenant_of_token).get(id).cloned();
        let mut turn = None;
        let tenant = if let Some(tenant) = known {
            tenant
        } else {
            turn = Some(Box::pin(self.turn()).await?);
            let Some(stored) = Box::pin(self.read_token(id)).await.map_err(|error| away(&*error))? else {
                return Ok(None);
            };
            stored.token.tenant.clone()
        };
        let Some(view) = self.of_tenant(&tenant).await? else { return Ok(None) };
        let remembered = lock(&view.tokens).get(id).cloned();
        if let Some(token) = remembered {
            let stored = self.renewed_token(id, &view, &token).await;
            return Ok(stored.map(|stored| (view, stored)));
        }
        // Read after the view's epoch, also when it was read before to learn its tenant: a token
        // that is older than its view could outlive its own revocation.
        let read = Box::pin(self.read_token(id)).await.map_err(|error| away(&*error))?;
        let Some(stored) = read else { return Ok(None) };
        drop(turn);
        view.remember_token(id, &stored);
        remember(&mut lock(&self.tenant_of_token), MAX_TOKENS, id.clone(), tenant);
        Ok(Some((view, stored)))
    }

    /// A token that is remembered, read again when it is some seconds old, as views are.
    async fn renewed_token(
        self: &Arc<Self>,
        id: &TokenId,
        view: &Arc<View>,
        known: &Remembered,
    ) -> Option<Arc<StoredToken>> {
        if !known.renewal.is_mine() {
            return Some(Arc::clone(&known.stored));
        }
        let (views, view, id) = (Arc::clone(self), Arc::clone(view), id.clone());
        let read = async move {
            let read = views.read_token(&id).await?;
            match &read {
                Some(stored) => view.remember_token(&id, stored),
                None => drop(lock(&view.tokens).remove(&id)),
            }
            Ok(read)
        };
        Box::pin(self.renewed(read)).await.unwrap_or_else(|| Some(Arc::clone(&known.stored)))
    }

    async fn read_token(&self, id: &TokenId) -> Result<Option<Arc<StoredToken>>, Failed> {
        let read = || async {
            let found = self.store.token(id).await.map_err(|error| -> Failed { Arc::new(error) })?;
            Ok(found.map(Arc::new))
        };
        self.token_reads.join(id, read).await
    }

    /// The view of a tenant as it is now, whatever is remembered.
    pub(super) async fn current(self: &Arc<Self>, id: &TenantId) -> Result<Option<Arc<View>>, Problem> {
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
