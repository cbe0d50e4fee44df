//! `GET /sealing-keys`: what clients seal to. No token is needed.

use std::sync::Arc;

use axum::{Json as Body, extract::State, response::AppendHeaders};
use http::header::{CACHE_CONTROL, HeaderName};
use keyferry_core::code::Code;
use serde_json::{Value, json};

use super::{
    AdminState,
    problem::{Answer, Failure},
};

/// For clients who seal often. Whoever is told that a key is not live asks past what was kept.
const KEPT_FOR: [(HeaderName, &str); 1] = [(CACHE_CONTROL, "max-age=30")];

pub(super) async fn list(
    State(state): State<Arc<AdminState>>,
) -> Answer<(AppendHeaders<[(HeaderName, &'static str); 1]>, Body<Value>)> {
    let Some(unsealing) = &state.unsealing else {
        return Err(Failure::new(Code::Disabled, "Sealed keys are not accepted by this gateway."));
    };
    let known = unsealing.keys().published().await;
    let mut shown = json!({"keys": known.list.keys});
    if let Some(jws) = &known.jws {
        shown["jws"] = json!(jws);
    }
    Ok((AppendHeaders(KEPT_FOR), Body(shown)))
}
