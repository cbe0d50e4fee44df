//! Reads from a request's body the two facts that routing needs, and puts another model's name in the place of the one
//! that stands there. Never changes anything else, and never guesses: a body that the provider could read differently
//! from us is refused, because what we checked would not be what runs.

mod ceiling;
mod include_usage;
mod json;
mod multipart;
mod span;

use thiserror::Error;

pub use ceiling::output_ceiling;
pub use include_usage::with_usage;
pub use json::read_json;
pub use multipart::{multipart_model_span, read_multipart_model};
pub use span::ModelSpan;

/// Nesting that common JSON readers accept.
const MAX_DEPTH: usize = 128;
const MAX_MODEL_CHARS: usize = 256;

/// What a request says about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestFacts {
    /// The top-level `model`, as it stands.
    pub model: Option<String>,
    /// The top-level `stream`; false when absent.
    pub stream: bool,
}

/// Why a body is refused. Holds positions and field names, never the content.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BodyRefused {
    /// Not UTF-8, or not one JSON text.
    #[error("the body is not valid JSON (line {line}, column {column})")]
    NotJson {
        /// Counted from one; zero when unknown.
        line: usize,
        /// Counted from one; zero when unknown.
        column: usize,
    },
    /// JSON, but not an object.
    #[error("the body is not a JSON object")]
    NotAnObject,
    /// Nested too deeply.
    #[error("the body is nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
    /// Two readers may take different ones.
    #[error("`{0}` is given twice")]
    Duplicate(&'static str),
    /// Not a text, or a file where a text belongs.
    #[error("`model` is not a text")]
    ModelNotText,
    /// Longer than any model's name.
    #[error("`model` is longer than {MAX_MODEL_CHARS} characters")]
    ModelTooLong,
    /// Neither true nor false.
    #[error("`stream` is neither true nor false")]
    StreamNotBoolean,
    /// The content type is not `multipart/form-data` with one usable boundary.
    #[error("the content type is not multipart/form-data with a boundary")]
    NoBoundary,
    /// The parts cannot be told apart for certain.
    #[error("the multipart body is malformed: {0}")]
    Multipart(&'static str),
}

fn put_once<T>(field: &'static str, slot: &mut Option<T>, value: T) -> Result<(), BodyRefused> {
    if slot.is_some() {
        return Err(BodyRefused::Duplicate(field));
    }
    *slot = Some(value);
    Ok(())
}

fn checked_model(model: &str) -> Result<&str, BodyRefused> {
    if model.chars().nth(MAX_MODEL_CHARS).is_some() { Err(BodyRefused::ModelTooLong) } else { Ok(model) }
}
