//! A root behind a time limit and a circuit breaker (requirement C4).

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use keyferry_core::{
    breaker::{Breaker, BreakerState, Permit},
    clock::Clock,
    port::root::{Root, RootError},
};
use keyferry_envelope::{KeyContext, SecretBytes};
use tokio::time::timeout;

use crate::telemetry::metrics;

/// For one call of a root, whatever it does meanwhile.
const CALL_TIME: Duration = Duration::from_secs(5);

/// A root that is asked only while it answers.
pub struct Guarded {
    root: Arc<dyn Root>,
    breaker: Mutex<Breaker>,
    clock: Arc<dyn Clock>,
}

impl Guarded {
    /// Guards a root.
    pub fn new(root: Arc<dyn Root>, clock: Arc<dyn Clock>) -> Self {
        let guarded = Self { root, breaker: Mutex::default(), clock };
        guarded.state();
        guarded
    }

    /// The breaker's state, which the metric then shows too.
    pub fn state(&self) -> BreakerState {
        let state = self.breaker().state(self.clock.now());
        metrics::kms_state(self.root.id(), state);
        state
    }

    fn breaker(&self) -> std::sync::MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn call<T>(
        &self,
        operation: &'static str,
        call: impl Future<Output = Result<T, RootError>>,
    ) -> Result<T, RootError> {
        let asked = self.breaker().ask(self.clock.now());
        let permit = asked.map_err(|retry_after_ms| RootError::CircuitOpen { retry_after_ms })?;
        let mut under_way = UnderWay { guarded: self, permit: Some(permit) };
        let answer = timeout(CALL_TIME, call)
            .await
            .unwrap_or_else(|_| Err(RootError::Away("no answer within 5 seconds".to_owned())));
        let Some(permit) = under_way.permit.take() else { return answer };
        match &answer {
            Err(error) if error.is_failure() => {
                self.breaker().failed(permit, self.clock.now());
                tracing::error!(event = "kms_failed", root = self.root.id(), operation, %error);
            }
            _ => self.breaker().succeeded(permit),
        }
        metrics::kms_called(self.root.id(), operation, outcome(&answer));
        self.state();
        answer
    }
}

fn outcome<T>(answer: &Result<T, RootError>) -> &'static str {
    match answer {
        Ok(_) => "ok",
        Err(RootError::Refused) => "refused",
        Err(RootError::Denied(_)) => "denied",
        Err(RootError::Garbage(_)) => "garbage",
        Err(RootError::Away(_) | RootError::CircuitOpen { .. }) => "away",
    }
}

/// A call that may be given up: whoever waits for it can hang up at any time.
struct UnderWay<'a> {
    guarded: &'a Guarded,
    permit: Option<Permit>,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        if let Some(permit) = self.permit.take() {
            self.guarded.breaker().abandoned(permit);
        }
    }
}

#[async_trait]
impl Root for Guarded {
    fn id(&self) -> &str {
        self.root.id()
    }

    async fn wrap(&self, context: &KeyContext<'_>, key: &SecretBytes) -> Result<Vec<u8>, RootError> {
        self.call("wrap", self.root.wrap(context, key)).await
    }

    async fn unwrap(&self, context: &KeyContext<'_>, wrapped: &[u8]) -> Result<SecretBytes, RootError> {
        self.call("unwrap", self.root.unwrap(context, wrapped)).await
    }

    async fn renew(&self, context: &KeyContext<'_>, wrapped: &[u8]) -> Result<Option<Vec<u8>>, RootError> {
        self.call("renew", self.root.renew(context, wrapped)).await
    }
}
