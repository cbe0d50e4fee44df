//! Forwarding: the request as the provider gets it, and what is made of its answer.
//!
//! Host and path come from the configuration and the operation table, headers from the allowlist.
//! The key is handed to the outbound client as a handle; it is in no header map.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, header, response};
use http_body::Body;
use http_body_util::BodyExt;
use keyferry_core::{
    code::Code,
    fallback::Failure,
    meter::Meter,
    record::{Accounting, KeyMode, Outcome},
};
use tokio::time::{Instant, timeout_at};

use super::{
    Gateway, Outbound, Passage, asked_usage,
    circuits::UnderWay,
    fallback::{self, Next, Tries},
    heads::{Kind, Receipt, acceptable, head_up, headers_down, kind},
    payment::Spare,
    pieces::Pieces,
    provider_error::{ProviderError, pass_error},
    record::{Written, written},
    relay::{Flow, Mode, Relay, StreamEnd},
    room::Held,
    settle::Settlement,
    slots::PlacedKey,
};
use crate::{
    http::{AnswerBody, Form, Problem},
    telemetry::metrics,
    upstream::{BadPath, Call, Lane, Purpose, UpstreamBody, UpstreamError},
};

/// What a piece takes besides its bytes, however few those are.
const OF_PIECE: usize = 64;
/// How much of a provider's error is read and passed on.
const MAX_ERROR: usize = 256 * 1024;

impl Gateway {
    /// Calls the provider and makes the answer; again, where another try is allowed.
    pub(super) async fn forward(
        self: &Arc<Self>,
        passage: Passage<'_>,
        outbound: Outbound<'_>,
        mut key: PlacedKey,
        mut settlement: Settlement,
        spare: Option<Box<Spare>>,
    ) -> Response<AnswerBody> {
        let deadline = Instant::now() + self.upstream.limits.total_timeout;
        let may_ask = asked_usage::must_be_asked_for(passage.provider.dialect, passage.operation);
        let asks = outbound.body.facts.stream && may_ask;
        let (mut call, _held) = match call(&passage, outbound, &key, &settlement, deadline) {
            Ok(call) => call,
            Err(bad) => {
                return Box::pin(failed_with(&passage, settlement, &upstream_problem(&bad.into()))).await;
            }
        };
        let mut tries = Tries::new(spare.filter(|_| call.is_kept()), deadline);
        let no_key = settlement.record().credential == KeyMode::Platform;
        let mut falls_back = no_key.then_some(Failure::Missing);
        let mut hides_usage = false;
        let mut leave = self.circuits.ask(passage.provider);
        loop {
            let is_paid = settlement.record().accounting == Accounting::PlatformBudget;
            // Once it is asked for, it is in the body of later tries as well.
            hides_usage = hides_usage || asks && is_paid && asked_usage::ask(&mut call.body);
            let exchanged = match leave {
                Ok(under_way) => {
                    if let Some(failure) = falls_back.take() {
                        fallback::tell(&passage, &settlement, failure);
                    }
                    self.exchange(&passage, &mut call, under_way).await
                }
                Err(problem) => Err(Failed::Broken(problem)),
            };
            let failed = match exchanged {
                Ok(Answered::Good(head, body)) => {
                    let receipt = Receipt::of(&settlement);
                    // Nobody needs the request any more, and it may be long.
                    drop(call);
                    let mut answer =
                        self.take_answer(&passage, head, body, settlement, hides_usage, deadline).await;
                    receipt.put(answer.headers_mut());
                    return answer;
                }
                Ok(Answered::Error(error)) => Failed::Answered(Box::new(error)),
                Err(failed) => failed,
            };
            let none = HeaderMap::new();
            let (failure, headers) = match &failed {
                Failed::Answered(error) => (error.failure(passage.provider.dialect), &error.head.headers),
                Failed::Unreached(_) => (Some(Failure::ServerError), &none),
                Failed::Broken(_) => (None, &none),
            };
            let next = if tries.may_go_on() {
                let next = self.next_try(&passage, &mut settlement, &mut tries, failure, headers);
                // Seldom, so in a box: it takes no room in requests that need no other try.
                Box::pin(next).await
            } else {
                None
            };
            let Some((next, under_way)) = next else {
                return Box::pin(failed.pass(&passage, &key, settlement)).await;
            };
            if let Next::Platform(platform, failure) = next {
                key = platform;
                falls_back = Some(failure);
            }
            leave = Ok(under_way);
            call.key = Some((key.slot, Arc::clone(&key.key)));
        }
    }

    /// One call, up to where its answer can be judged.
    async fn exchange(
        self: &Arc<Self>,
        passage: &Passage<'_>,
        call: &mut Call,
        under_way: UnderWay<'_>,
    ) -> Result<Answered, Failed> {
        let deadline = call.deadline;
        let answer = match self.upstream.send(call).await {
            Ok(answer) => answer,
            Err(error) => {
                tracing::warn!(event = "upstream_failed", request_id = %passage.id, provider = %passage.provider.id,
                    error = %error, cause = std::error::Error::source(&error).map(ToString::to_string));
                under_way.failed(&error);
                let problem = upstream_problem(&error);
                return Err(if error.is_unreached() {
                    Failed::Unreached(problem)
                } else {
                    Failed::Broken(problem)
                });
            }
        };
        under_way.answered(answer.status().as_u16());
        let (head, mut body) = answer.into_parts();
        acceptable(&head).map_err(Failed::Broken)?;
        if head.status.as_u16() < 400 {
            return Ok(Answered::Good(head, body));
        }
        metrics::provider_error(passage.provider.id.as_str(), head.status.as_u16());
        tracing::info!(event = "provider_error", request_id = %passage.id, provider = %passage.provider.id,
            status = head.status.as_u16());
        let collected = self.collect(&mut body, MAX_ERROR, TooLong::Cut, deadline).await;
        let (pieces, held) = collected.map_err(Failed::Broken)?;
        Ok(Answered::Error(ProviderError { head, bytes: whole(pieces), body, _held: held }))
    }

    /// What is made of a good answer.
    ///
    /// One that is JSON is read whole before the first byte of it goes out: so a wrong one can still become an error with
    /// a status, and its usage is in the store before the client has it.
    async fn take_answer(
        &self,
        passage: &Passage<'_>,
        head: response::Parts,
        mut body: UpstreamBody,
        mut settlement: Settlement,
        hides_usage: bool,
        deadline: Instant,
    ) -> Response<AnswerBody> {
        settlement.answered(head.status.as_u16());
        let kind = kind(&head.headers);
        if kind == Kind::Events {
            return self.stream(passage, head, body, settlement, hides_usage, deadline);
        }
        let flows = kind == Kind::Other && !body.is_end_stream();
        let limit = match passage.operation.name {
            "files.content" if flows => usize::MAX,
            _ => self.upstream.limits.max_response_bytes,
        };
        let problem = if body.size_hint().exact().is_some_and(|length| length > limit as u64) {
            too_large(limit)
        } else if flows {
            return self.binary(head, body, settlement, limit, deadline);
        } else {
            match self.collect(&mut body, limit, TooLong::Refused, deadline).await {
                Ok((pieces, held)) => {
                    let (answer, row) = self.whole(passage, &head, pieces, held, settlement);
                    written(row).await;
                    return answer;
                }
                Err(problem) => problem,
            }
        };
        // In a box, as all that happens seldom: it takes no room in other requests.
        Box::pin(failed_with(passage, settlement, &problem)).await
    }

    /// An answer that was read whole. It goes out when its row is written.
    fn whole(
        &self,
        passage: &Passage<'_>,
        head: &response::Parts,
        pieces: Vec<Bytes>,
        held: Held,
        mut settlement: Settlement,
    ) -> (Response<AnswerBody>, Option<Written>) {
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
        let row = settlement.end(outcome);
        let mut answer = Response::new(AnswerBody::Pieces(Pieces::new(pieces, held, &self.stalls)));
        *answer.status_mut() = head.status;
        *answer.headers_mut() = headers_down(&head.headers);
        (answer, row)
    }

    fn stream(
        &self,
        passage: &Passage<'_>,
        head: response::Parts,
        body: UpstreamBody,
        settlement: Settlement,
        hides_usage: bool,
        deadline: Instant,
    ) -> Response<AnswerBody> {
        let end = StreamEnd::of(passage.provider, passage.operation, &head.headers);
        let mode = Mode::events(passage.provider.dialect, passage.operation.metered, end, hides_usage);
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
    fn binary(
        &self,
        head: response::Parts,
        body: UpstreamBody,
        settlement: Settlement,
        limit: usize,
        deadline: Instant,
    ) -> Response<AnswerBody> {
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
            held.add(data.len() + OF_PIECE)?;
            pieces.push(data);
            if over {
                break;
            }
        }
        Ok((pieces, held))
    }
}

/// What a provider answered.
enum Answered {
    /// What was asked for.
    Good(response::Parts, UpstreamBody),
    /// An error of its own.
    Error(ProviderError),
}

/// Why there is nothing good to pass on.
enum Failed {
    /// The provider answered with an error of its own.
    Answered(Box<ProviderError>),
    /// It was not reached: nothing of the request has left.
    Unreached(Problem),
    /// Anything else: it may have worked on the request, or its circuit kept it back.
    Broken(Problem),
}

impl Failed {
    /// The answer, when nothing is left to try.
    async fn pass(
        self,
        passage: &Passage<'_>,
        key: &PlacedKey,
        settlement: Settlement,
    ) -> Response<AnswerBody> {
        let receipt = Receipt::of(&settlement);
        let mut answer = match self {
            Self::Answered(error) => pass_error(*error, &key.key, settlement).await,
            Self::Unreached(problem) | Self::Broken(problem) => {
                failed_with(passage, settlement, &problem).await
            }
        };
        receipt.put(answer.headers_mut());
        answer
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

/// The request as it goes to the provider, and the room that its body takes.
fn call(
    passage: &Passage<'_>,
    outbound: Outbound<'_>,
    key: &PlacedKey,
    settlement: &Settlement,
    deadline: Instant,
) -> Result<(Call, Held), BadPath> {
    let Outbound { target, method, headers, body } = outbound;
    let head = head_up(&method, &target.upstream, passage.provider.host(), &headers)?;
    let (body, held) = body.into_forward();
    let key = Some((key.slot, Arc::clone(&key.key)));
    Ok((Call { lane: lane(passage, settlement), method, head, body, deadline, key }, held))
}

/// Whose connections serve a request.
fn lane(passage: &Passage<'_>, settlement: &Settlement) -> Lane {
    Lane {
        host: passage.provider.host().clone(),
        purpose: Purpose::Provider(passage.provider.id.clone()),
        tenant: Some(settlement.record().tenant.clone()),
    }
}

fn whole(mut pieces: Vec<Bytes>) -> Bytes {
    match pieces.len() {
        1 => pieces.swap_remove(0),
        _ => pieces.concat().into(),
    }
}

fn too_large(limit: usize) -> Problem {
    Problem::new(Code::ResponseTooLarge, format!("The provider's answer is longer than {limit} bytes."))
}

fn upstream_problem(error: &UpstreamError) -> Problem {
    Problem::new(error.code(), error.to_string())
}

/// Ends a request that was admitted and has no answer of the provider's to pass on.
async fn failed_with(
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
