//! Bodies of the control plane: JSON of a known shape.
//!
//! The JSON library quotes what it could not use, and that may be a key in the wrong place. So a
//! refusal says the expected shape and where it went wrong, never what stood there.

use axum::{
    body::Bytes,
    extract::{FromRequest, Request},
};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use keyferry_core::code::Code;
use serde::Deserialize;

use super::problem::Failure;

/// The longest body.
const MAX: usize = 256 * 1024;

/// A body that was read whole.
pub(super) struct Json(Bytes);

impl<S: Send + Sync> FromRequest<S> for Json {
    type Rejection = Failure;

    async fn from_request(request: Request, _: &S) -> Result<Self, Failure> {
        let read = Limited::new(request.into_body(), MAX).collect();
        match tokio::time::timeout(std::time::Duration::from_secs(30), read).await {
            Ok(Ok(body)) => Ok(Self(body.to_bytes())),
            Ok(Err(error)) if error.is::<LengthLimitError>() => {
                Err(Failure::new(Code::RequestTooLarge, format!("The body is longer than {MAX} bytes.")))
            }
            Ok(Err(_)) => Err(Failure::invalid("The body broke off, or is malformed.")),
            Err(_) => {
                let mut failure = Failure::invalid("The body came too slowly.");
                failure.0.status = Some(408);
                Err(failure)
            }
        }
    }
}

impl Json {
    /// Reads the body; `shape` is what the refusal shows.
    pub(super) fn read<'a, T: Deserialize<'a>>(&'a self, shape: &str) -> Result<T, Failure> {
        // The derived readers would take a list too, by position.
        if !self.0.trim_ascii_start().starts_with(b"{") {
            return Err(Failure::invalid(format!("The body must be a JSON object of the form {shape}.")));
        }
        serde_json::from_slice(&self.0).map_err(|error| {
            let at = format!("line {}, column {}", error.line(), error.column());
            Failure::invalid(format!("The body must be JSON of the form {shape} (it is not at {at})."))
        })
    }
}
