//! A circuit breaker for each provider: one that does not answer is left alone for a moment, and nobody waits for it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use keyferry_core::{
    breaker::{Breaker, BreakerState, Permit, Rules},
    clock::Clock,
    id::ProviderId,
    map::Map,
    provider::{Provider, Providers},
};

use crate::{http::Problem, telemetry::metrics, upstream::UpstreamError};

/// The circuits of all configured providers.
pub(super) struct Circuits {
    clock: Arc<dyn Clock>,
    of: Map<ProviderId, Mutex<Breaker>>,
}

/// A call that is under way. One that ends in no way that says something about the provider is dropped.
pub(super) struct UnderWay<'a> {
    clock: &'a dyn Clock,
    provider: &'a ProviderId,
    /// None where the provider has no circuit, or has been told how the call ended.
    open: Option<(&'a Mutex<Breaker>, Permit)>,
}

impl Circuits {
    pub(super) fn new(providers: &Providers, clock: Arc<dyn Clock>) -> Self {
        let of = providers.iter().map(|one| (one.id.clone(), Mutex::new(Breaker::new(Rules::PROVIDER))));
        Self { clock, of: of.collect() }
    }

    /// Lets a call through, or says that the provider is left alone.
    pub(super) fn ask<'a>(&'a self, provider: &'a Provider) -> Result<UnderWay<'a>, Problem> {
        let open = match self.of.get(&provider.id) {
            Some(breaker) => Some((breaker, lock(breaker).ask(self.clock.now()).map_err(left_alone)?)),
            None => None,
        };
        Ok(UnderWay { clock: &*self.clock, provider: &provider.id, open })
    }
}

fn lock(breaker: &Mutex<Breaker>) -> MutexGuard<'_, Breaker> {
    breaker.lock().unwrap_or_else(PoisonError::into_inner)
}

fn left_alone(wait_ms: u64) -> Problem {
    let mut problem = Problem::unavailable("The provider does not answer and is not called for a moment.");
    problem.retry_after = Some(wait_ms.div_ceil(1000).max(1));
    problem
}

impl UnderWay<'_> {
    /// The provider answered with this status. Its own errors are answers; that what stands before it has no provider
    /// behind it, or that it has no room, is a failure.
    pub(super) fn answered(mut self, status: u16) {
        self.end(!matches!(status, 502..=504 | 529));
    }

    /// There is no answer.
    pub(super) fn failed(mut self, error: &UpstreamError) {
        match error {
            UpstreamError::Dns
            | UpstreamError::Connect(_)
            | UpstreamError::Tls(_)
            | UpstreamError::Timeout(_)
            | UpstreamError::Exchange(_) => self.end(false),
            // The configuration's, the client's or our own fault.
            UpstreamError::AddressRefused(_)
            | UpstreamError::UploadTooLong
            | UpstreamError::UploadBroken
            | UpstreamError::BadPath => {}
        }
    }

    fn end(&mut self, good: bool) {
        let Some((breaker, permit)) = self.open.take() else { return };
        let mut breaker = lock(breaker);
        let now = self.clock.now();
        let before = breaker.state(now);
        if good {
            breaker.succeeded(permit);
        } else {
            breaker.failed(permit, now);
        }
        let after = breaker.state(now);
        if before != after {
            metrics::provider_state(self.provider.as_str(), after);
            if after == BreakerState::Open {
                tracing::warn!(event = "provider_circuit_open", provider = %self.provider);
            }
        }
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        if let Some((breaker, permit)) = self.open.take() {
            lock(breaker).abandoned(permit);
        }
    }
}
