//! The one mapping from a failure to an answer, in the dialect of the route.
//!
//! Each official SDK must raise its own typed exception with a message a person can read, so the
//! shape, the status and the place of the code are the dialect's (contract, "Errors").

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use keyferry_core::{code::Code, dialect::Dialect, port::root::RootError};
use serde_json::{Value, json};

use super::{allowance::Allowance, body::AnswerBody};
use crate::custody::{SealRefused, SealingError};

/// In whose form an error is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As the SDK of the route expects it.
    Native(Dialect),
    /// `application/problem+json` (RFC 9457): the control plane.
    Problem,
}

impl Form {
    /// The form of a path's errors, for requests that were refused before they were routed.
    pub fn of_target(target: &str) -> Self {
        match target.split('/').nth(1) {
            Some("anthropic") => Self::Native(Dialect::Anthropic),
            Some("gemini") => Self::Native(Dialect::Gemini),
            Some("api") => Self::Problem,
            _ => Self::Native(Dialect::OpenAi),
        }
    }
}

/// A failure as it is told to a client.
#[derive(Debug)]
pub struct Problem {
    /// What a program matches on.
    pub code: Code,
    /// What a person reads. Never quotes a secret.
    pub message: String,
    /// When to try again, in seconds.
    pub retry_after: Option<u64>,
    /// The limit that refused, if one did.
    pub limit: Option<Box<Allowance>>,
    /// Where the status is not the code's own.
    pub status: Option<u16>,
}

impl Problem {
    /// A failure with its code.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        let retry_after = matches!(code, Code::ServiceUnavailable).then_some(1);
        Self { code, message: message.into(), retry_after, limit: None, status: None }
    }

    /// A root did not do what was asked of it.
    pub fn of_root(error: &RootError, what: &str) -> Self {
        let RootError::CircuitOpen { retry_after_ms } = error else { return Self::unavailable(what) };
        let mut problem = Self::new(Code::KmsCircuitOpen, format!("{what} Its root is away."));
        problem.retry_after = Some(retry_after_ms.div_ceil(1000).max(1));
        problem
    }

    /// A sealed key is not taken.
    fn of_seal(refused: &SealRefused) -> Self {
        let code = match refused {
            SealRefused::DoesNotOpen => Code::DecryptionFailed,
            SealRefused::UnknownKey => Code::SealingKeyUnknown,
            SealRefused::Stale => Code::SealStale,
            SealRefused::Used => Code::ReplayDetected,
            SealRefused::Away(cause) => {
                tracing::error!(
                    event = "unsealing_failed",
                    error = cause as &(dyn std::error::Error + 'static)
                );
                let SealingError::Root(root) = cause else { return Self::unavailable(&refused.to_string()) };
                return Self::of_root(root, &refused.to_string());
            }
        };
        Self::new(code, refused.to_string())
    }

    /// A part of the gateway is away.
    pub fn unavailable(what: &str) -> Self {
        Self::new(Code::ServiceUnavailable, format!("{what} Try again in a moment."))
    }

    /// The status of the answer.
    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.status.unwrap_or_else(|| self.code.status()))
            .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The error's body in a form.
    pub fn body(&self, form: Form, request_id: &str) -> Value {
        let (status, code) = (self.status().as_u16(), self.code.as_str());
        let message = format!("{} ({code})", self.message);
        match form {
            Form::Native(Dialect::OpenAi) => {
                json!({"error": {"message": message, "type": openai_type(status), "param": null, "code": code}})
            }
            Form::Native(Dialect::Anthropic) => json!({
                "type": "error",
                "error": {"type": anthropic_type(status), "message": message, "details": {"error_code": code}},
                "request_id": request_id,
            }),
            Form::Native(Dialect::Gemini) => json!({"error": {
                "code": status,
                "message": message,
                "status": gemini_status(status),
                "details": [{
                    "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                    "reason": code,
                    "domain": "keyferry",
                    "metadata": {"request_id": request_id},
                }],
            }}),
            Form::Problem => json!({
                "type": "about:blank",
                "title": self.status().canonical_reason(),
                "status": status,
                "detail": self.message,
                "code": code,
            }),
        }
    }

    /// The same failure inside a stream that has begun.
    pub fn event(&self, dialect: Dialect, request_id: &str) -> Bytes {
        let body = self.body(Form::Native(dialect), request_id);
        let text = match dialect {
            Dialect::Anthropic => format!("event: error\ndata: {body}\n\n"),
            Dialect::OpenAi | Dialect::Gemini => format!("data: {body}\n\n"),
        };
        text.into()
    }

    /// The whole answer.
    pub fn answer(&self, form: Form, request_id: &str) -> Response<AnswerBody> {
        let content_type = match form {
            Form::Native(_) => "application/json",
            Form::Problem => "application/problem+json",
        };
        let mut answer =
            Response::new(AnswerBody::from(self.body(form, request_id).to_string().into_bytes()));
        *answer.status_mut() = self.status();
        let headers = answer.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if let Some(limit) = &self.limit {
            limit.put(headers);
        }
        if !self.is_worth_a_retry() {
            // Read by the OpenAI and Anthropic SDKs, which would otherwise try 409 and 429 again.
            headers.insert("x-should-retry", HeaderValue::from_static("false"));
        }
        answer
    }

    fn is_worth_a_retry(&self) -> bool {
        matches!(
            self.code,
            Code::RateLimited
                | Code::ServiceUnavailable
                | Code::UpstreamError
                | Code::DnsFailed
                | Code::UpstreamTimeout
        )
    }
}

fn openai_type(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        429 => "rate_limit_error",
        500.. => "server_error",
        _ => "invalid_request_error",
    }
}

fn anthropic_type(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        504 => "timeout_error",
        500.. => "api_error",
        _ => "invalid_request_error",
    }
}

fn gemini_status(status: u16) -> &'static str {
    match status {
        401 => "UNAUTHENTICATED",
        402 => "FAILED_PRECONDITION",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        409 => "ABORTED",
        429 => "RESOURCE_EXHAUSTED",
        504 => "DEADLINE_EXCEEDED",
        500 => "INTERNAL",
        501.. => "UNAVAILABLE",
        _ => "INVALID_ARGUMENT",
    }
}
impl From<SealRefused> for Problem {
    fn from(refused: SealRefused) -> Self {
        Self::of_seal(&refused)
    }
}
