//! Relaying: a provider's stream to the client, byte for byte, metered on the side.
//!
//! Every way of ending settles: the end, a failure, and being dropped, which is how a client that
//! went away looks from here. Dropping this also drops the provider's body and so closes its
//! connection: nobody generates for nobody.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, header};
use http_body::{Body, Frame, SizeHint};
use keyferry_core::{
    code::Code, dialect::Dialect, id::RequestId, meter::Meter, operation::Operation, provider::Provider,
    record::Outcome,
};
use tokio::time::{Instant, Sleep, sleep, sleep_until};

use super::{
    asked_usage::take_out,
    record::Written,
    settle::Settlement,
    sse::Boundary,
    stalls::{Flowing, STALL, Stalls},
};
use crate::{http::Problem, upstream::UpstreamBody};

/// Between an error event and the break of the connection, so that the event is out first.
const FLUSH: Duration = Duration::from_millis(50);

/// A stream broke off after it had begun. The client sees a body that does not end.
#[derive(Debug, thiserror::Error)]
#[error("the provider's answer broke off")]
pub struct BrokeOff;

/// How a stream of events says that it is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StreamEnd {
    /// By an event of its dialect. Without one it was cut, however cleanly the connection ended.
    Event,
    /// By the end of the body.
    Body,
}

impl StreamEnd {
    /// What is known of this provider's streams.
    ///
    /// Operations that are not listed may have events that this version does not know; compatible
    /// providers may leave out `[DONE]`. For these the framing of the body is proof enough, unless
    /// it has none: then the end of the connection and a cut look the same.
    pub(super) fn of(provider: &Provider, operation: &Operation, headers: &HeaderMap) -> Self {
        let known = matches!(
            operation.name,
            "chat.completions" | "completions" | "responses" | "messages" | "stream_generate_content"
        );
        let framed =
            headers.contains_key(header::TRANSFER_ENCODING) || headers.contains_key(header::CONTENT_LENGTH);
        let native = provider.dialect != Dialect::OpenAi || provider.id.as_str() == "openai";
        if known && (native || !framed) { Self::Event } else { Self::Body }
    }
}

/// What is relayed.
pub(super) enum Mode {
    /// Server-sent events.
    Events {
        dialect: Dialect,
        meter: Option<Box<Meter>>,
        boundary: Boundary,
        end: StreamEnd,
        /// Usage that the client did not ask for is taken out.
        hides_usage: bool,
    },
    /// Bytes of any kind; so many may still come.
    Bytes { left: usize },
}

impl Mode {
    pub(super) fn events(dialect: Dialect, metered: bool, end: StreamEnd, hides_usage: bool) -> Self {
        let meter = metered.then(|| Box::new(Meter::sse(dialect)));
        Self::Events { dialect, meter, boundary: Boundary::default(), end, hides_usage }
    }

    pub(super) fn bytes(limit: usize) -> Self {
        Self::Bytes { left: limit }
    }
}

enum State {
    Streaming,
    /// All is out but the end, which waits for the row.
    Ending {
        /// What is still to go out: the last piece where a length was announced, or the error
        /// event of a stream that was cut.
        last: Option<Bytes>,
        /// Whether the body must not end well.
        broken: bool,
        written: Option<Written>,
    },
    /// An error event is out; the break waits until it is flushed.
    Breaking(Pin<Box<Sleep>>),
    Done,
}

/// A provider's answer on its way to the client.
pub struct Relay(Arc<Mutex<Flow>>);

/// The same, shared with whoever watches that it flows.
pub(super) struct Flow {
    mode: Mode,
    /// Gone once the provider has nothing more to say, or is no longer listened to.
    body: Option<UpstreamBody>,
    settlement: Option<Settlement>,
    request_id: RequestId,
    state: State,
    /// Wakes whoever waits, at the latest when the provider's time is up. It is set anew when it is over, not with each
    /// piece.
    idle: Pin<Box<Sleep>>,
    /// Until when the next piece must come.
    patience: Instant,
    idle_timeout: Duration,
    deadline: Instant,
    /// Since when a piece is out and nobody has asked for the next.
    handed_out: Option<Instant>,
}

impl Relay {
    pub(super) fn new(flow: Flow, stalls: &Stalls) -> Self {
        let flow = Arc::new(Mutex::new(flow));
        stalls.watch(&flow);
        Self(flow)
    }

    fn flow(&self) -> MutexGuard<'_, Flow> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The length that is announced to the client.
    pub fn size_hint(&self) -> SizeHint {
        self.flow().announced()
    }
}

impl Flow {
    pub(super) fn new(
        mode: Mode,
        body: UpstreamBody,
        settlement: Settlement,
        idle_timeout: Duration,
        deadline: Instant,
    ) -> Self {
        let patience = deadline.min(Instant::now() + idle_timeout);
        Self {
            request_id: settlement.record().request_id.clone(),
            mode,
            body: Some(body),
            settlement: Some(settlement),
            state: State::Streaming,
            idle: Box::pin(sleep_until(patience)),
            patience,
            idle_timeout,
            deadline,
            handed_out: None,
        }
    }

    /// A piece came: from now on the next one is waited for.
    fn keep_waiting(&mut self, now: Instant) {
        self.patience = self.deadline.min(now + self.idle_timeout);
    }

    /// Whether nothing came for too long.
    fn poll_impatient(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(self.idle.as_mut().poll(cx));
            if self.idle.deadline() >= self.patience {
                return Poll::Ready(());
            }
            self.idle.as_mut().reset(self.patience);
        }
    }

    /// Takes a piece; answers what goes on, or that the limit is reached.
    fn take(&mut self, data: Bytes) -> Result<Bytes, Outcome> {
        match &mut self.mode {
            Mode::Events { meter, boundary, hides_usage, .. } => {
                if let Some(meter) = meter {
                    meter.feed(&data);
                }
                let events = boundary.pass(data);
                Ok(if *hides_usage { take_out(events) } else { events })
            }
            Mode::Bytes { left } => {
                *left = left.checked_sub(data.len()).ok_or(Outcome::UpstreamError)?;
                Ok(data)
            }
        }
    }

    /// Ends the account; answers whether the stream's own end was seen.
    fn settle(&mut self, outcome: Option<Outcome>) -> (bool, Option<Written>) {
        let Some(mut settlement) = self.settlement.take() else { return (true, None) };
        let (mut ended, mut failed) = (true, false);
        if let Mode::Events { meter, end, .. } = &mut self.mode
            && let Some(meter) = meter.take()
        {
            let metered = meter.finish();
            ended = metered.ended || *end == StreamEnd::Body;
            failed = metered.failed;
            settlement.metered(metered);
        }
        let outcome = outcome.unwrap_or(match (ended, failed) {
            (true, true) => Outcome::ProviderError,
            (true, false) => Outcome::Ok,
            (false, _) => Outcome::Cut,
        });
        (ended, settlement.end(outcome))
    }

    /// The provider is done.
    fn finish(&mut self) -> Option<Bytes> {
        let (ended, written) = self.settle(None);
        if !ended {
            self.break_off(
                written,
                Code::UpstreamError,
                "The provider broke off in the middle of its answer.",
            );
            return None;
        }
        self.end(None, false, written);
        match &mut self.mode {
            Mode::Events { boundary, .. } => Some(boundary.rest()).filter(|rest| !rest.is_empty()),
            Mode::Bytes { .. } => None,
        }
    }

    fn end(&mut self, last: Option<Bytes>, broken: bool, written: Option<Written>) {
        self.body = None;
        self.state = State::Ending { last, broken, written };
    }

    fn fail(&mut self, outcome: Outcome) {
        tracing::warn!(event = "stream_broken", outcome = outcome.as_str(), request_id = %self.request_id);
        let (_, written) = self.settle(Some(outcome));
        let (code, message) = match outcome {
            Outcome::Timeout => (Code::UpstreamTimeout, "The provider sent nothing for too long."),
            _ => (Code::UpstreamError, "The provider broke off in the middle of its answer."),
        };
        self.break_off(written, code, message);
    }

    /// An error event where one can be read, then a break: a stream that was cut must never look
    /// whole.
    fn break_off(&mut self, written: Option<Written>, code: Code, message: &str) {
        let event = match &self.mode {
            Mode::Events { dialect, boundary, .. } if boundary.is_clean() => {
                Some(Problem::new(code, message).event(*dialect, self.request_id.as_str()))
            }
            _ => None,
        };
        self.end(event, true, written);
    }

    /// Ends a flow whose client takes nothing, or whose time is up while it does not. The library
    /// asks for no more then, so nothing in here would notice.
    fn check(&mut self, now: Instant) {
        let stalled = self.handed_out.is_some_and(|since| now >= since + STALL);
        if matches!(self.state, State::Streaming) && (stalled || now >= self.deadline) {
            let outcome = if stalled { Outcome::Cancelled } else { Outcome::Timeout };
            self.fail(outcome);
        }
    }

    /// A piece that goes on; none when the state has changed.
    fn poll_stream(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        while let Some(body) = &mut self.body {
            let frame = match Pin::new(body).poll_frame(cx) {
                Poll::Ready(frame) => frame,
                Poll::Pending => {
                    ready!(self.poll_impatient(cx));
                    self.fail(Outcome::Timeout);
                    break;
                }
            };
            match frame {
                None => return Poll::Ready(self.finish()),
                Some(Err(_)) => self.fail(Outcome::Cut),
                Some(Ok(frame)) => {
                    // Providers' trailers do not pass.
                    let Ok(data) = frame.into_data() else { continue };
                    let now = Instant::now();
                    self.keep_waiting(now);
                    match self.take(data) {
                        Ok(data) if data.is_empty() => {}
                        Ok(data) if self.is_last() => {
                            let (_, written) = self.settle(Some(Outcome::Ok));
                            self.end(Some(data), false, written);
                        }
                        Ok(data) => {
                            self.handed_out = Some(now);
                            return Poll::Ready(Some(data));
                        }
                        Err(outcome) => self.fail(outcome),
                    }
                }
            }
        }
        Poll::Ready(None)
    }

    /// Whether the piece that just came is the last of a length that is announced to the client:
    /// with it the answer is whole, and nobody asks for more.
    fn is_last(&self) -> bool {
        matches!(self.mode, Mode::Bytes { .. }) && self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn announced(&self) -> SizeHint {
        match (&self.mode, &self.body) {
            (Mode::Bytes { .. }, Some(body)) => body.size_hint(),
            // A length that is promised must be kept, and a stream that is cut gets one more event.
            _ => SizeHint::default(),
        }
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BrokeOff>>> {
        self.handed_out = None;
        loop {
            match &mut self.state {
                State::Streaming => {
                    if let Some(data) = ready!(self.poll_stream(cx)) {
                        return Poll::Ready(Some(Ok(data)));
                    }
                }
                State::Ending { last, broken, written } => {
                    if let Some(row) = written {
                        ready!(Pin::new(row).poll(cx));
                    }
                    let (last, broken) = (last.take(), *broken);
                    let pause = if last.is_some() { FLUSH } else { Duration::ZERO };
                    self.state = if broken { State::Breaking(Box::pin(sleep(pause))) } else { State::Done };
                    if let Some(last) = last {
                        return Poll::Ready(Some(Ok(last)));
                    }
                }
                State::Breaking(pause) => {
                    ready!(pause.as_mut().poll(cx));
                    self.state = State::Done;
                    return Poll::Ready(Some(Err(BrokeOff)));
                }
                State::Done => return Poll::Ready(None),
            }
        }
    }
}

impl Flowing for Mutex<Flow> {
    fn check(&self, now: Instant) {
        self.lock().unwrap_or_else(PoisonError::into_inner).check(now);
    }
}

impl Body for Relay {
    type Data = Bytes;
    type Error = BrokeOff;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokeOff>>> {
        self.flow().poll_frame(cx).map_ok(Frame::data)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let mut flow = self.flow();
        flow.settle(Some(Outcome::Cancelled));
        flow.body = None;
    }
}
