//! Idle connections, kept by lane: a host, what it is called for, and a tenant.
//!
//! Tenants never share a connection to a provider, so nothing that goes wrong on one can reach
//! into another's answer.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use keyferry_core::{
    id::{ProviderId, TenantId},
    map::Map,
    net::host::ProviderHost,
};

use super::line::Line;

/// Connections one lane keeps: as many as a busy tenant has requests at once, or each burst would open them anew.
const MAX_IDLE_PER_LANE: usize = 256;
/// Connections all lanes keep together.
const MAX_IDLE: usize = 1024;
/// How long one is kept. Providers close theirs after a minute or more.
const IDLE: Duration = Duration::from_secs(30);
/// One that was used so lately is believed to be as the runtime last heard: providers close what is idle for seconds at
/// least.
const FRESH: Duration = Duration::from_millis(100);

/// Whose connections, and to which host. The host is the one whose name was proven when the
/// connection was opened: no connection ever serves another.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Lane {
    /// To which host.
    pub host: ProviderHost,
    /// In whose name: a provider, or what else is called.
    pub purpose: Purpose,
    /// For whom; `None` for the operator.
    pub tenant: Option<TenantId>,
}

/// What a connection is for. Keys travel only on those to a provider.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// Calls to a provider.
    Provider(ProviderId),
    /// Key sets of issuers.
    KeySets,
}

impl Purpose {
    /// The name in metrics.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Provider(id) => id.as_str(),
            Self::KeySets => "(key sets)",
        }
    }
}

/// The idle connections.
#[derive(Default)]
pub(super) struct Pool(Mutex<Idle>);

#[derive(Default)]
struct Idle {
    lanes: Map<Lane, Vec<(Instant, Line)>>,
    count: usize,
}

impl Idle {
    fn pop(&mut self, lane: &Lane) -> Option<(Instant, Line)> {
        let connections = self.lanes.get_mut(lane)?;
        let last = connections.pop();
        self.count -= usize::from(last.is_some());
        if connections.is_empty() {
            self.lanes.remove(lane);
        }
        last
    }
}

impl Pool {
    fn lock(&self) -> MutexGuard<'_, Idle> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection of a lane that was used last, if one is still good.
    pub(super) fn take(&self, lane: &Lane) -> Option<Line> {
        loop {
            // What is not good is looked at, and closed, while others have their turn.
            let (since, line) = self.lock().pop(lane)?;
            if is_good(since, &line) {
                return Some(line);
            }
        }
    }

    /// Keeps a connection whose answer was read to its end.
    pub(super) fn put(&self, lane: &Lane, mut line: Line) {
        if !line.may_serve_again() {
            return;
        }
        let mut idle = self.lock();
        if idle.count >= MAX_IDLE {
            return;
        }
        let connections = idle.lanes.entry(lane.clone()).or_default();
        if connections.len() < MAX_IDLE_PER_LANE {
            connections.push((Instant::now(), line));
            idle.count += 1;
        }
    }

    /// Closes what was idle for too long.
    pub(super) fn sweep(&self) {
        let mut idle = self.lock();
        let mut kept = 0;
        idle.lanes.retain(|_, connections| {
            connections.retain(|(since, line)| is_good(*since, line));
            kept += connections.len();
            !connections.is_empty()
        });
        idle.count = kept;
    }
}

/// Whether a connection may serve that is idle since then.
fn is_good(since: Instant, line: &Line) -> bool {
    let idle = since.elapsed();
    if idle < FRESH { line.seems_quiet() } else { idle < IDLE && line.is_quiet() }
}
