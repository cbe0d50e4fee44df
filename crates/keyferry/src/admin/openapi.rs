//! The OpenAPI document.

use axum::{Json as Body, response::IntoResponse};
use serde_json::Value;

/// The document as it is served and printed. It is written by hand beside the route table; a test
/// holds one against the other.
const TEXT: &str = include_str!("openapi.json");

/// The document.
pub fn document() -> Value {
    serde_json::from_str(TEXT).unwrap_or_default()
}

pub(super) async fn get() -> impl IntoResponse {
    Body(document())
}
