//! Idle connections, kept by lane: a host, what it is called for, and a tenant.
//!
//! Tenants never share a connection to a provider, so nothing that goes wrong on one can reach
//! into another's answer. The threads that serve do: each takes first what was opened by itself, since that is where the kernel's word of it
//! arrives, but another's sooner than none.

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
use crate::workers::number_of_this_thread;

/// Connections one lane keeps, those of all threads together: as many as a busy tenant has requests at once, or each burst would open them anew.
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
pub(super) struct Pool {
    idle: Mutex<Idle>,
    /// How many of a lane each thread keeps.
    most: usize,
}

struct Idle {
    /// Those of each thread.
    homes: Vec<Lanes>,
    count: usize,
}

type Lanes = Map<Lane, Vec<(Instant, Line)>>;

impl Idle {
    /// One that this thread opened, or else another one.
    fn pop(&mut self, lane: &Lane) -> Option<(Instant, Line)> {
        let own = number_of_this_thread() % self.homes.len();
        let others = (0..self.homes.len()).filter(|home| *home != own);
        let last = std::iter::once(own).chain(others).find_map(|home| pop(self.homes.get_mut(home)?, lane));
        self.count -= usize::from(last.is_some());
        last
    }
}

fn pop(lanes: &mut Lanes, lane: &Lane) -> Option<(Instant, Line)> {
    let connections = lanes.get_mut(lane)?;
    let last = connections.pop();
    if connections.is_empty() {
        lanes.remove(lane);
    }
    last
}

impl Pool {
    /// For so many threads, the one counted in that stands for all that do not serve.
    pub(super) fn new(threads: usize) -> Self {
        let homes = (0..threads).map(|_| Lanes::default()).collect();
        // One of them is for those that serve nobody.
        let most = MAX_IDLE_PER_LANE.div_ceil(threads.saturating_sub(1).max(1));
        Self { idle: Mutex::new(Idle { homes, count: 0 }), most }
    }

    fn lock(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
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
        let mut guard = self.lock();
        let idle = &mut *guard;
        if idle.count >= MAX_IDLE {
            return;
        }
        // Where it came from: a thread that borrowed one gives it back.
        let home = line.opened_by() % idle.homes.len();
        let connections = idle.homes[home].entry(lane.clone()).or_default();
        if connections.len() < self.most {
            connections.push((Instant::now(), line));
            idle.count += 1;
        }
    }

    /// Closes what was idle for too long.
    pub(super) fn sweep(&self) {
        let mut idle = self.lock();
        let mut kept = 0;
        for lanes in &mut idle.homes {
            lanes.retain(|_, connections| {
                connections.retain(|(since, line)| is_good(*since, line));
                kept += connections.len();
                !connections.is_empty()
            });
        }
        idle.count = kept;
    }
}

/// Whether a connection may serve that is idle since then.
fn is_good(since: Instant, line: &Line) -> bool {
    let idle = since.elapsed();
    if idle < FRESH { line.seems_quiet() } else { idle < IDLE && line.is_quiet() }
}
