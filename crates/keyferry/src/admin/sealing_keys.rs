//! `GET /sealing-keys`: what clients seal to. No token is needed.

use std::sync::Arc;

use axum::{Json as Body, extract::State};
use keyferry_core::code::Code;
use serde_json::{Value, json};

use super::{
    AdminState,
    problem::{Answer, Failure},
};

pub(super) async fn list(State(state): State<Arc<AdminState>>) -> Answer<Body<Value>> {
    let Some(unsealing) = &state.unsealing else {
        return Err(Failure::new(Code::Disabled, "Sealed keys are not accepted by this gateway."));
    };
    let known = unsealing.keys().known();
    let mut shown = json!({"keys": known.list.keys});
    if let Some(jws) = &known.jws {
        shown["jws"] = json!(jws);
    }
    Ok(Body(shown))
}
