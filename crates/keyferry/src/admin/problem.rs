//! Failures of the control plane as `application/problem+json`.

use axum::response::{IntoResponse, Response};
use keyferry_core::{code::Code, port::store::StoreError};

use crate::http::{AnswerBody, Form, Problem};

/// A failure of an operation.
pub struct Failure(pub Problem);

/// What an operation answers.
pub type Answer<T> = Result<T, Failure>;

impl Failure {
    pub(super) fn new(code: Code, message: impl Into<String>) -> Self {
        Self(Problem::new(code, message))
    }

    /// Something that is not there, or not for this caller to know about.
    pub(super) fn not_found(what: &str) -> Self {
        Self::new(Code::NotFound, format!("There is no such {what}."))
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(Code::InvalidRequest, message)
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self(problem)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NotFound(what) => Self::not_found(what),
            StoreError::Conflict(why) => Self::new(Code::Conflict, why),
            StoreError::Cursor => Self::invalid("The cursor is not one that this list gave out."),
            StoreError::Away(_) | StoreError::Inconsistent { .. } => {
                tracing::error!(event = "store_failed", %error);
                Self(Problem::unavailable("The store is away."))
            }
        }
    }
}

impl From<keyferry_core::port::counter::CountersAway> for Failure {
    fn from(error: keyferry_core::port::counter::CountersAway) -> Self {
        tracing::error!(event = "counters_failed", %error);
        Self(Problem::unavailable("The counter store is away."))
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        self.0.answer(Form::Problem, "").map(|body| match body {
            AnswerBody::Full(bytes) => axum::body::Body::from(bytes),
            AnswerBody::Admin(body) => body,
            AnswerBody::Pieces(_) | AnswerBody::Relay(_) => axum::body::Body::empty(),
        })
    }
}

pub(super) async fn not_found() -> Failure {
    Failure::not_found("address here")
}

pub(super) async fn method_not_allowed() -> Failure {
    let mut failure = Failure::invalid("This address does not know this method.");
    failure.0.status = Some(405);
    failure
}
