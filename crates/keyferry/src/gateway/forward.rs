//! Forwarding: the request as the provider gets it, and what is made of its answer.
//!
//! Host and path come from the configuration and the operation table, headers from the allowlist.
//! The key is handed to the outbound client as a handle; it is in no header map.

use std::{borrow::Cow, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header, request::Parts, response};
use http_body::Body;
use http_body_util::BodyExt;
use keyferry_core::{
    code::Code,
    headers::{MAX_VALUE, passes_down, passes_up},
    mask,
    meter::Meter,
    record::Outcome,
};
use keyferry_envelope::ApiKey;
use tokio::time::{Instant, timeout, timeout_at};

use super::{
    Gateway, Passage,
    body::ReadBody,
    path::Target,
    pieces::Pieces,
    record::{WRITE_PATIENCE, Written},
    relay::{Flow, Mode, Relay, StreamEnd},
    room::Held,
    settle::Settlement,
    slots::PlacedKey,
};
use crate::{
    http::{AnswerBody, Form, Problem},
    telemetry::metrics,
    upstream::{Call, Lane, Purpose, UpstreamBody, UpstreamError},
};

/// How much of a provider's error is read and passed on.
const MAX_ERROR: usize = 256 * 1024;

impl Gateway {
    /// Calls the provider and makes the answer.
    pub(super) async fn forward(
        self: &Arc<Self>,
        passage: Passage<'_>,
        target: Target<'_>,
        parts: Parts,
        body: ReadBody,
        key: PlacedKey,
        settlement: Settlement,
    ) -> Response<AnswerBody> {
        let receipt = receipt(&settlement);
        let (body, _held) = body.into_forward();
        let deadline = Instant::now() + self.upstream.limits.total_timeout;
        let call = Call {
            lane: Lane {
                host: passage.provider.host().clone(),
                purpose: Purpose::Provider(passage.provider.id.clone()),
                tenant: Some(settlement.record().tenant.clone()),
            },
            method: parts.method,
            path: target.upstream,
            headers: headers_up(&parts.headers),
            body,
            deadline,
            key: Some((key.slot, Arc::clone(&key.key))),
        };
        let mut answer = match self.upstream.send(call).await {
            Ok(answer) => self.take_answer(&passage, answer, &key.key, settlement, deadline).await,
            Err(error) => {
                tracing::warn!(event = "upstream_failed", request_id = %passage.id, provider = %passage.provider.id,
                    error = %error, cause = std::error::Error::source(&error).map(ToString::to_string));
                failed(&passage, settlement, &upstream_problem(&error)).await
            }
        };
        answer.headers_mut().extend(receipt);
        answer
    }

    async fn take_answer(
        &self,
        passage: &Passage<'_>,
        answer: Response<UpstreamBody>,
        key: &ApiKey,
        mut settlement: Settlement,
        deadline: Instant,
    ) -> Response<AnswerBody> {
        let (head, body) = answer.into_parts();
        if let Err(problem) = acceptable(&head) {
            return failed(passage, settlement, &problem).await;
        }
        settlement.answered(head.status.as_u16());
        if head.status.as_u16() >= 400 {
            return self.provider_error(passage, head, body, key, settlement, deadline).await;
        }
        let kind = content_type(&head.headers);
        if kind == "text/event-stream" {
            return self.stream(passage, head, body, settlement, deadline);
        }
        let json = kind == "application/json" || kind.ends_with("+json");
        if json || body.is_end_stream() {
            return self.whole(passage, head, body, settlement, deadline).await;
        }
        self.binary(passage, head, body, settlement, deadline).await
    }

    /// The provider's own error: its status and body, with anything that looks like a key masked.
    async fn provider_error(
        &self,
        passage: &Passage<'_>,
        head: response::Parts,
        mut body: UpstreamBody,
        key: &ApiKey,
        settlement: Settlement,
        deadline: Instant,
    ) -> Response<AnswerBody> {
        metrics::provider_error(passage.provider.id.as_str(), head.status.as_u16());
        tracing::info!(event = "provider_error", request_id = %passage.id, provider = %passage.provider.id,
            status = head.status.as_u16());
        match self.collect(&mut body, MAX_ERROR, TooLong::Cut, deadline).await {
            Ok((pieces, _held)) => {
                let bytes = whole(pieces);
                // A refusal of the key is where providers quote it, in spellings that nobody foresees.
                let mut quotes = matches!(head.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
                let mut masked = |text: &[u8]| match mask::scrub(text, Some(key.expose())) {
                    Cow::Borrowed(_) => None,
                    Cow::Owned(masked) => {
                        quotes = true;
                        Some(masked)
                    }
                };
                let bytes = masked(&bytes).map_or(bytes, Bytes::from);
                let mut headers = head.headers;
                for value in headers.values_mut() {
                    if let Some(masked) = masked(value.as_bytes()) {
                        *value = HeaderValue::from_bytes(&masked).unwrap_or(HeaderValue::from_static(""));
                    }
                }
                if !quotes {
                    body.keep();
                }
                written(settlement.end(Outcome::ProviderError)).await;
                let mut answer = Response::new(AnswerBody::Full(bytes));
                *answer.status_mut() = head.status;
                *answer.headers_mut() = headers_down(&headers);
                answer
            }
            Err(problem) => failed(passage, settlement, &problem).await,
        }
    }

    /// An answer that is read whole before the first byte of it goes out: so a wrong one can still
    /// become an error with a status, and its usage is in the store before the client has it.
    async fn whole(
        &self,
        passage: &Passage<'_>,
        head: response::Parts,
        mut body: UpstreamBody,
        mut settlement: Settlement,
        deadline: Instant,
    ) -> Response<AnswerBody> {
        let limit = self.upstream.limits.max_response_bytes;
        if body.size_hint().exact().is_some_and(|length| length > limit as u64) {
            return failed(passage, settlement, &too_large(limit)).await;
        }
        let (pieces, held) = match self.collect(&mut body, limit, TooLong::Refused, deadline).await {
            Ok(collected) => collected,
            Err(problem) => return failed(passage, settlement, &problem).await,
        };
        let mut outcome = Outcome::Ok;
        if passage.operation.metered {
            let mut meter = Meter::json(passage.provider.dialect);
            for piece in &pieces {
                meter.feed(piece);
            }
            let metered = meter.finish();
            if metered.failed {
                outcome = Outcome::ProviderError;
            }
            settlement.metered(metered);
        }
        written(settlement.end(outcome)).await;
        let mut answer = Response::new(AnswerBody::Pieces(Pieces::new(pieces, held, &self.stalls)));
        *answer.status_mut() = head.status;
        *answer.headers_mut() = headers_down(&head.headers);
        answer
    }

    fn stream(
        &self,
        passage: &Passage<'_>,
        head: response::Parts,
        body: UpstreamBody,
        settlement: Settlement,
        deadline: Instant,
    ) -> Response<AnswerBody> {
        let end = StreamEnd::of(passage.provider, passage.operation, &head.headers);
        let mode = Mode::events(passage.provider.dialect, passage.operation.metered, end);
        let flow = Flow::new(mode, body, settlement, self.upstream.limits.idle_timeout, deadline);
        let relay = Relay::new(flow, &self.stalls);
        let mut answer = Response::new(AnswerBody::Relay(Box::pin(relay)));
        *answer.status_mut() = head.status;
        let headers = answer.headers_mut();
        *headers = headers_down(&head.headers);
        // Asks proxies in front of us not to wait for more (nginx).
        headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        answer
    }

    /// Audio, images, files: passes as it comes, up to the limit.
    async fn binary(
        &self,
        passage: &Passage<'_>,
        head: response::Parts,
        body: UpstreamBody,
        settlement: Settlement,
        deadline: Instant,
    ) -> Response<AnswerBody> {
        let limit = match passage.operation.name {
            "files.content" => usize::MAX,
            _ => self.upstream.limits.max_response_bytes,
        };
        if body.size_hint().exact().is_some_and(|length| length > limit as u64) {
            return failed(passage, settlement, &too_large(limit)).await;
        }
        let flow =
            Flow::new(Mode::bytes(limit), body, settlement, self.upstream.limits.idle_timeout, deadline);
        let relay = Relay::new(flow, &self.stalls);
        let mut answer = Response::new(AnswerBody::Relay(Box::pin(relay)));
        *answer.status_mut() = head.status;
        *answer.headers_mut() = headers_down(&head.headers);
        answer
    }

    async fn collect(
        &self,
        body: &mut UpstreamBody,
        limit: usize,
        too_long: TooLong,
        deadline: Instant,
    ) -> Result<(Vec<Bytes>, Held), Problem> {
        let slow = || upstream_problem(&UpstreamError::Timeout("waiting for the rest of the answer"));
        let idle = self.upstream.limits.idle_timeout;
        let mut left = limit;
        let mut held = self.bodies.hold();
        let mut pieces: Vec<Bytes> = Vec::new();
        loop {
            let next =
                timeout_at(deadline.min(Instant::now() + idle), body.frame()).await.map_err(|_| slow())?;
            let Some(frame) = next else { break };
            let frame = frame.map_err(|_| {
                Problem::new(Code::UpstreamError, "The provider broke off in the middle of its answer.")
            })?;
            let Ok(mut data) = frame.into_data() else { continue };
            let over = data.len() > left;
            match too_long {
                TooLong::Refused if over => return Err(too_large(limit)),
                TooLong::Cut => data.truncate(left),
                TooLong::Refused => {}
            }
            left -= data.len();
            held.add(data.len())?;
            pieces.push(data);
            if over {
                break;
            }
        }
        Ok((pieces, held))
    }
}

/// What becomes of a body that is longer than its limit.
#[derive(Clone, Copy)]
enum TooLong {
    /// It cannot be used.
    Refused,
    /// Its beginning is good enough: of an error, status and headers matter more than the end.
    Cut,
}

/// A header that is too long to pass is refused: leaving it out would change what is asked.
pub(super) fn check_headers(headers: &HeaderMap) -> Result<(), Problem> {
    let long =
        |(name, value): (&HeaderName, &HeaderValue)| passes_up(name.as_str()) && value.len() > MAX_VALUE;
    if headers.iter().any(long) {
        let message = format!("A header that goes to the provider is longer than {MAX_VALUE} bytes.");
        return Err(Problem::new(Code::InvalidRequest, message));
    }
    Ok(())
}

fn whole(mut pieces: Vec<Bytes>) -> Bytes {
    match pieces.len() {
        1 => pieces.swap_remove(0),
        _ => pieces.concat().into(),
    }
}

/// What must hold for any answer before anything of it is passed on.
fn acceptable(head: &response::Parts) -> Result<(), Problem> {
    let status = head.status;
    if status.is_redirection() {
        return Err(Problem::new(
            Code::RedirectRejected,
            "The provider redirected the request. Redirects are not followed: the key would go along.",
        ));
    }
    if status.is_informational() {
        return Err(Problem::new(Code::UpstreamError, "The provider wanted to switch protocols."));
    }
    let identity = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"identity");
    if !head.headers.get_all(header::CONTENT_ENCODING).iter().all(identity) {
        return Err(Problem::new(
            Code::UpstreamError,
            "The provider compressed its answer without being asked to.",
        ));
    }
    Ok(())
}

fn too_large(limit: usize) -> Problem {
    Problem::new(Code::ResponseTooLarge, format!("The provider's answer is longer than {limit} bytes."))
}

fn upstream_problem(error: &UpstreamError) -> Problem {
    Problem::new(error.code(), error.to_string())
}

/// Ends a request that was admitted and has no answer of the provider's to pass on.
async fn failed(
    passage: &Passage<'_>,
    mut settlement: Settlement,
    problem: &Problem,
) -> Response<AnswerBody> {
    settlement.answered(problem.status().as_u16());
    let outcome =
        if problem.code == Code::UpstreamTimeout { Outcome::Timeout } else { Outcome::UpstreamError };
    written(settlement.end(outcome)).await;
    problem.answer(Form::Native(passage.provider.dialect), passage.id.as_str())
}

/// Waits until a row is in the store, but not for ever.
async fn written(row: Option<Written>) {
    if let Some(row) = row {
        let _ = timeout(WRITE_PATIENCE, row).await;
    }
}

/// Which key served, and who pays.
fn receipt(settlement: &Settlement) -> HeaderMap {
    let record = settlement.record();
    let mut headers = HeaderMap::with_capacity(4);
    headers.insert("x-keyferry-credential", HeaderValue::from_static(record.credential.as_str()));
    if let Some(Ok(id)) = record.credential_id.as_ref().map(|id| HeaderValue::from_str(id.as_str())) {
        headers.insert("x-keyferry-credential-id", id);
    }
    headers.insert("x-keyferry-accounting", HeaderValue::from_static(record.accounting.as_str()));
    let timing = format!("kf;dur={:.3}", settlement.overhead.as_secs_f64() * 1000.0);
    if let Ok(value) = HeaderValue::from_str(&timing) {
        headers.insert("server-timing", value);
    }
    headers
}

fn headers_up(from: &HeaderMap) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(from.len() + 2);
    for (name, value) in from {
        if passes_up(name.as_str()) {
            headers.append(name.clone(), own(value));
        }
    }
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    headers
}

fn headers_down(from: &HeaderMap) -> HeaderMap {
    let pass =
        |name: &HeaderName, value: &HeaderValue| passes_down(name.as_str()) && value.len() <= MAX_VALUE;
    from.iter()
        .filter(|(name, value)| pass(name, value))
        .map(|(name, value)| (name.clone(), own(value)))
        .collect()
}

/// A copy that stands alone. A value as it was read is a piece of the buffer of its connection, and keeps
/// that whole buffer, with every key in it, for as long as anybody remembers the value: the header
/// table of HTTP/2 does until its connection ends.
fn own(value: &HeaderValue) -> HeaderValue {
    let copy = HeaderValue::from_bytes(value.as_bytes());
    copy.unwrap_or_else(|_| unreachable!("it was a header's value before"))
}

/// The media type without its parameters, in lower case.
fn content_type(headers: &HeaderMap) -> String {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}
