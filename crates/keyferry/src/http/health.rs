//! Whether the process lives, and whether it can serve.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http::{HeaderValue, Response, StatusCode, header};
use keyferry_core::{
    breaker::BreakerState,
    port::{counter::Counters, store::Store},
};
use serde_json::json;
use tokio::time::timeout;

use super::body::AnswerBody;
use crate::{custody::Keyring, gateway::Recorder};

/// What readiness depends on.
pub struct Health {
    /// The store.
    pub store: Arc<dyn Store>,
    /// What is written into it all the time.
    pub recorder: Recorder,
    /// The roots.
    pub keyring: Arc<Keyring>,
    /// The counters.
    pub counters: Arc<dyn Counters>,
    /// Set when the process is about to end: load balancers should look elsewhere.
    pub draining: AtomicBool,
}

impl Health {
    /// Of a process that serves.
    pub fn new(
        store: &Arc<dyn Store>,
        recorder: &Recorder,
        keyring: &Arc<Keyring>,
        counters: &Arc<dyn Counters>,
    ) -> Arc<Self> {
        Arc::new(Self {
            store: Arc::clone(store),
            recorder: recorder.clone(),
            keyring: Arc::clone(keyring),
            counters: Arc::clone(counters),
            draining: AtomicBool::new(false),
        })
    }

    /// `/healthz`: the process answers.
    pub(super) fn alive() -> Response<AnswerBody> {
        json_answer(StatusCode::OK, &json!({"status": "ok"}))
    }

    /// `/readyz`: every part answers.
    pub(super) async fn ready(&self) -> Response<AnswerBody> {
        let patience = Duration::from_millis(900);
        let (storage, counters) =
            tokio::join!(timeout(patience, self.store.ping()), timeout(patience, self.counters.ping()));
        let storage = matches!(storage, Ok(Ok(()))) && !self.recorder.is_refused();
        let counters = matches!(counters, Ok(Ok(())));
        let draining = self.draining.load(Ordering::Relaxed);
        let word = |ok| if ok { "ok" } else { "away" };
        let ready = storage && counters && !draining;
        let status = match (draining, ready) {
            (true, _) => "draining",
            (false, true) => "ready",
            (false, false) => "unready",
        };
        let body = json!({
            "status": status,
            "storage": {"status": word(storage)},
            "counters": {"status": word(counters)},
            "kms": {"status": kms(self.keyring.state())},
        });
        json_answer(if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, &body)
    }
}

/// While the root is away, keys that are open serve: that alone makes nobody unready.
fn kms(state: BreakerState) -> &'static str {
    match state {
        BreakerState::Closed => "ok",
        BreakerState::Degraded | BreakerState::Probing => "degraded",
        BreakerState::Open => "open",
    }
}

fn json_answer(status: StatusCode, body: &serde_json::Value) -> Response<AnswerBody> {
    let mut answer = Response::new(AnswerBody::from(body.to_string().into_bytes()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}
