//! Relaying: a provider's stream to the client, byte for byte, metered on the side.
//!
//! Every way of ending settles: the end, a failure, and being dropped, which is how a client that
//! went away looks from here. Dropping this also drops the provider's body and so closes its
//! connection: nobody generates for nobody.

use std::{
    future::Future,
    pin::Pin,
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
    record::{WRITE_PATIENCE, Written},
    settle::Settlement,
    sse::Boundary,
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
    Events { dialect: Dialect, meter: Option<Box<Meter>>, boundary: Boundary, end: StreamEnd },
    /// Bytes of any kind; so many may still come.
    Bytes { left: usize },
}

impl Mode {
    pub(super) fn events(dialect: Dialect, metered: bool, end: StreamEnd) -> Self {
        let meter = metered.then(|| Box::new(Meter::sse(dialect)));
        Self::Events { dialect, meter, boundary: Boundary::default(), end }
    }

    pub(super) fn bytes(limit: usize) -> Self {
        Self::Bytes { left: limit }
    }
}

enum State {
    Streaming,
    /// All is out but the end, which waits for the row: the last piece where a length was
    /// announced, for with it the answer is whole, and else the end of the body.
    Ending {
        last: Option<Bytes>,
        written: Option<Written>,
        patience: Pin<Box<Sleep>>,
    },
    /// An error event is out; the break waits until it is flushed.
    Breaking(Pin<Box<Sleep>>),
    Done,
}

/// A provider's answer on its way to the client.
pub struct Relay {
    mode: Mode,
    body: UpstreamBody,
    settlement: Option<Settlement>,
    request_id: RequestId,
    state: State,
    idle: Pin<Box<Sleep>>,
    idle_timeout: Duration,
    deadline: Instant,
}

impl Relay {
    pub(super) fn new(
        mode: Mode,
        body: UpstreamBody,
        settlement: Settlement,
        idle_timeout: Duration,
        deadline: Instant,
    ) -> Self {
        let idle = Box::pin(sleep_until(deadline.min(Instant::now() + idle_timeout)));
        Self {
            request_id: settlement.record().request_id.clone(),
            mode,
            body,
            settlement: Some(settlement),
            state: State::Streaming,
            idle,
            idle_timeout,
            deadline,
        }
    }

    fn keep_waiting(&mut self) {
        let until = self.deadline.min(Instant::now() + self.idle_timeout);
        self.idle.as_mut().reset(until);
    }

    /// Takes a piece; answers what goes on, or that the limit is reached.
    fn take(&mut self, data: Bytes) -> Result<Bytes, Outcome> {
        match &mut self.mode {
            Mode::Events { meter, boundary, .. } => {
                if let Some(meter) = meter {
                    meter.feed(&data);
                }
                Ok(boundary.pass(data))
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
        let mut ended = true;
        if let Mode::Events { meter, end, .. } = &mut self.mode
            && let Some(meter) = meter.take()
        {
            let metered = meter.finish();
            ended = metered.ended || *end == StreamEnd::Body;
            settlement.metered(metered);
        }
        let outcome = outcome.unwrap_or(if ended { Outcome::Ok } else { Outcome::Cut });
        (ended, settlement.end(outcome))
    }

    fn finish(&mut self) -> Option<Bytes> {
        let (ended, written) = self.settle(None);
        if !ended {
            return self
                .break_off(Code::UpstreamError, "The provider broke off in the middle of its answer.");
        }
        self.state = State::Ending { last: None, written, patience: Box::pin(sleep(WRITE_PATIENCE)) };
        match &mut self.mode {
            Mode::Events { boundary, .. } => Some(boundary.rest()).filter(|rest| !rest.is_empty()),
            Mode::Bytes { .. } => None,
        }
    }

    /// The last piece of a known length.
    fn finish_with(&mut self, data: Bytes) {
        let (_, written) = self.settle(Some(Outcome::Ok));
        self.state = State::Ending { last: Some(data), written, patience: Box::pin(sleep(WRITE_PATIENCE)) };
    }

    fn fail(&mut self, outcome: Outcome) -> Option<Bytes> {
        tracing::warn!(event = "stream_broken", outcome = outcome.as_str(), request_id = %self.request_id);
        let _ = self.settle(Some(outcome));
        match outcome {
            Outcome::Timeout => {
                self.break_off(Code::UpstreamTimeout, "The provider sent nothing for too long.")
            }
            _ => self.break_off(Code::UpstreamError, "The provider broke off in the middle of its answer."),
        }
    }

    /// An error event where one can be read, then a break: a stream that was cut must never look
    /// whole.
    fn break_off(&mut self, code: Code, message: &str) -> Option<Bytes> {
        let event = match &self.mode {
            Mode::Events { dialect, boundary, .. } if boundary.is_clean() => {
                Some(Problem::new(code, message).event(*dialect, self.request_id.as_str()))
            }
            _ => None,
        };
        let pause = if event.is_some() { FLUSH } else { Duration::ZERO };
        self.state = State::Breaking(Box::pin(sleep(pause)));
        event
    }

    fn poll_stream(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            let frame = match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Ready(frame) => frame,
                Poll::Pending => {
                    ready!(self.idle.as_mut().poll(cx));
                    return Poll::Ready(self.fail(Outcome::Timeout));
                }
            };
            match frame {
                None => return Poll::Ready(self.finish()),
                Some(Err(_)) => return Poll::Ready(self.fail(Outcome::Cut)),
                Some(Ok(frame)) => {
                    // Providers' trailers do not pass.
                    let Ok(data) = frame.into_data() else { continue };
                    self.keep_waiting();
                    match self.take(data) {
                        Ok(data) if data.is_empty() => {}
                        Ok(data) if matches!(self.mode, Mode::Bytes { .. }) && self.body.is_end_stream() => {
                            self.finish_with(data);
                            return Poll::Ready(None);
                        }
                        Ok(data) => return Poll::Ready(Some(data)),
                        Err(outcome) => return Poll::Ready(self.fail(outcome)),
                    }
                }
            }
        }
    }
}

impl Body for Relay {
    type Data = Bytes;
    type Error = BrokeOff;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokeOff>>> {
        let this = self.get_mut();
        loop {
            match &mut this.state {
                State::Streaming => {
                    if let Some(data) = ready!(this.poll_stream(cx)) {
                        return Poll::Ready(Some(Ok(Frame::data(data))));
                    }
                }
                State::Ending { last, written, patience } => {
                    if let Some(row) = written
                        && patience.as_mut().poll(cx).is_pending()
                    {
                        let _ = ready!(Pin::new(row).poll(cx));
                    }
                    let last = last.take();
                    this.state = State::Done;
                    if let Some(last) = last {
                        return Poll::Ready(Some(Ok(Frame::data(last))));
                    }
                }
                State::Breaking(pause) => {
                    ready!(pause.as_mut().poll(cx));
                    this.state = State::Done;
                    return Poll::Ready(Some(Err(BrokeOff)));
                }
                State::Done => return Poll::Ready(None),
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self.mode {
            // A length that is promised must be kept, and a stream that is cut gets one more event.
            Mode::Events { .. } => SizeHint::default(),
            Mode::Bytes { .. } => self.body.size_hint(),
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.settle(Some(Outcome::Cancelled));
    }
}
