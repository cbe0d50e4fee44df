//! A root behind a time limit and a circuit breaker (requirement C4).

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use keyferry_core::{
    breaker::{Breaker, BreakerState, Permit, Rules},
    clock::Clock,
    port::root::{KeyVersions, Root, RootError},
};
use keyferry_envelope::{KeyContext, KeyPurpose, SecretBytes};
use tokio::time::timeout;

use crate::telemetry::metrics;

/// For one call of a root, whatever it does meanwhile.
const CALL_TIME: Duration = Duration::from_secs(5);

/// A root that is asked only while it answers.
///
/// A call goes on when whoever waits for it hangs up: how it ends says something about the root, and
/// others may wait for the same.
pub struct Guarded {
    root: Arc<dyn Root>,
    circuit: Arc<Circuit>,
}

struct Circuit {
    id: String,
    breaker: Mutex<Breaker>,
    clock: Arc<dyn Clock>,
}

impl Guarded {
    /// Guards a root.
    pub fn new(root: Arc<dyn Root>, clock: Arc<dyn Clock>) -> Self {
        let circuit =
            Circuit { id: root.id().to_owned(), breaker: Mutex::new(Breaker::new(Rules::ROOT)), clock };
        circuit.state();
        Self { root, circuit: Arc::new(circuit) }
    }

    /// The breaker's state, which the metric then shows too.
    pub fn state(&self) -> BreakerState {
        self.circuit.state()
    }

    async fn call<T: Send + 'static>(
        &self,
        operation: &'static str,
        call: impl Future<Output = Result<T, RootError>> + Send + 'static,
    ) -> Result<T, RootError> {
        let under_way = self.permitted().await?;
        let task = tokio::spawn(async move {
            let answer = timeout(CALL_TIME, call).await;
            let answer =
                answer.unwrap_or_else(|_| Err(RootError::Away("no answer within 5 seconds".to_owned())));
            under_way.ended(operation, &answer);
            answer
        });
        task.await.unwrap_or_else(|_| Err(RootError::Away("the call broke off".to_owned())))
    }
}

impl Guarded {
    /// The breaker keeps calls from a root that would fail them. What a root denied with another token
    /// it may grant with this one.
    async fn permitted(&self) -> Result<UnderWay, RootError> {
        match Circuit::ask(&self.circuit) {
            Err(_) if self.root.has_other_credentials().await => {
                tracing::info!(event = "kms_credentials_changed", root = self.circuit.id);
                self.circuit.breaker().reset();
                Circuit::ask(&self.circuit)
            }
            asked => asked,
        }
    }
}

impl Circuit {
    fn breaker(&self) -> std::sync::MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> BreakerState {
        let state = self.breaker().state(self.clock.now());
        metrics::kms_state(&self.id, state);
        state
    }

    fn ask(circuit: &Arc<Self>) -> Result<UnderWay, RootError> {
        let asked = circuit.breaker().ask(circuit.clock.now());
        let permit = asked.map_err(|retry_after_ms| RootError::CircuitOpen { retry_after_ms })?;
        Ok(UnderWay { circuit: Arc::clone(circuit), permit: Some(permit) })
    }
}

fn outcome<T>(answer: &Result<T, RootError>) -> &'static str {
    match answer {
        Ok(_) => "ok",
        Err(RootError::Refused | RootError::Outdated(_)) => "refused",
        Err(RootError::Denied(_)) => "denied",
        Err(RootError::Garbage(_)) => "garbage",
        Err(RootError::Away(_) | RootError::CircuitOpen { .. }) => "away",
    }
}

/// A call. One that ends in no other way was cut off with the program.
struct UnderWay {
    circuit: Arc<Circuit>,
    permit: Option<Permit>,
}

impl UnderWay {
    fn ended<T>(mut self, operation: &'static str, answer: &Result<T, RootError>) {
        let Some(permit) = self.permit.take() else { return };
        let circuit = &self.circuit;
        match answer {
            Err(error) if error.is_failure() => {
                circuit.breaker().failed(permit, circuit.clock.now());
                tracing::error!(event = "kms_failed", root = circuit.id, operation, %error);
            }
            _ => circuit.breaker().succeeded(permit),
        }
        metrics::kms_called(&circuit.id, operation, outcome(answer));
        circuit.state();
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if let Some(permit) = self.permit.take() {
            self.circuit.breaker().abandoned(permit);
        }
    }
}

/// What a key is bound to, for a call that outlives whoever asked.
struct Bound {
    purpose: KeyPurpose,
    owner: String,
    id: String,
}

impl Bound {
    fn to(context: &KeyContext<'_>) -> Self {
        Self { purpose: context.purpose, owner: context.owner.to_owned(), id: context.id.to_owned() }
    }

    fn context(&self) -> KeyContext<'_> {
        KeyContext { purpose: self.purpose, owner: &self.owner, id: &self.id }
    }
}

#[async_trait]
impl Root for Guarded {
    fn id(&self) -> &str {
        &self.circuit.id
    }

    async fn wrap(&self, context: &KeyContext<'_>, key: &SecretBytes) -> Result<Vec<u8>, RootError> {
        let (root, bound) = (Arc::clone(&self.root), Bound::to(context));
        let key = SecretBytes::copy_of(key.expose());
        self.call("wrap", async move { root.wrap(&bound.context(), &key).await }).await
    }

    async fn unwrap(&self, context: &KeyContext<'_>, wrapped: &[u8]) -> Result<SecretBytes, RootError> {
        let (root, bound, wrapped) = (Arc::clone(&self.root), Bound::to(context), wrapped.to_vec());
        self.call("unwrap", async move { root.unwrap(&bound.context(), &wrapped).await }).await
    }

    async fn renew(&self, context: &KeyContext<'_>, wrapped: &[u8]) -> Result<Option<Vec<u8>>, RootError> {
        let (root, bound, wrapped) = (Arc::clone(&self.root), Bound::to(context), wrapped.to_vec());
        self.call("renew", async move { root.renew(&bound.context(), &wrapped).await }).await
    }

    async fn versions(&self) -> Result<KeyVersions, RootError> {
        let root = Arc::clone(&self.root);
        self.call("versions", async move { root.versions().await }).await
    }

    fn version_of(&self, wrapped: &[u8]) -> Option<u32> {
        self.root.version_of(wrapped)
    }

    async fn has_other_credentials(&self) -> bool {
        self.root.has_other_credentials().await
    }
}
