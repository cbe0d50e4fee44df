//! A connection to a provider with HTTP/1.1 on it, one request at a time. It has no task of its own: who waits for something
//! on it runs it.
//!
//! A task for each connection would be woken for each piece, on another processor as often as not, to wake in turn the
//! task that waits for the piece. A line in the pool is run by nobody; the socket is looked at before it is used again.

use std::{
    future::{Future, poll_fn},
    io,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use http::{Method, Response};
use keyferry_core::provider::AuthSlot;
use keyferry_envelope::ApiKey;
use tokio::io::AsyncReadExt;

use super::{
    ForwardBody, UpstreamError,
    answer_head::{HeadReader, persists, quotes},
    error::Broken,
    framing::{Framing, Malformed, Piece},
    outgoing::{Outgoing, WriteError},
    request::RequestHead,
    stream::Stream,
};
use crate::workers::number_of_this_thread;

/// How much is read at once, at first and when answers are long.
const LEAST_READ: usize = 4 * 1024;
const MOST_READ: usize = 64 * 1024;
/// Less room than that is not read into.
const LEAST_ROOM: usize = 1024;

/// One connection.
pub(super) struct Line {
    stream: Stream,
    /// Which worker's runtime hears of it.
    opened_by: usize,
    /// Read and not yet taken.
    input: BytesMut,
    /// How much is read at once.
    reads: usize,
    /// The buffer is larger than at first.
    grown: bool,
    /// Where the body that is being read ends.
    framing: Framing,
    /// After this answer, it may serve on.
    persists: bool,
}

/// A request that was not answered.
pub(super) enum Unanswered {
    /// None of it left.
    NotSent,
    /// Some of it may have left.
    Sent(UpstreamError),
}

impl From<Broken> for Unanswered {
    fn from(broken: Broken) -> Self {
        Self::Sent(broken.into())
    }
}

impl Line {
    pub(super) fn new(stream: Stream) -> Self {
        Self {
            stream,
            opened_by: number_of_this_thread(),
            input: BytesMut::new(),
            reads: LEAST_READ,
            grown: false,
            framing: Framing::Length(0),
            persists: true,
        }
    }

    /// The number of the worker that opened it; 0 if another thread did.
    pub(super) fn opened_by(&self) -> usize {
        self.opened_by
    }

    /// Sends a request and waits for the head of its answer.
    pub(super) async fn send(
        &mut self,
        method: &Method,
        head: &RequestHead,
        key: Option<&(AuthSlot, Arc<ApiKey>)>,
        body: &mut ForwardBody,
    ) -> Result<Response<()>, Unanswered> {
        // Whoever gives up in the middle leaves a line that serves nobody.
        self.persists = false;
        let mut outgoing = Outgoing::new(head, key, body);
        let answered = self.exchange(&mut outgoing).await;
        let answer = match answered {
            Ok(answer) => answer,
            Err(_) if outgoing.is_unsent() => return Err(Unanswered::NotSent),
            Err(broken) => return Err(broken.into()),
        };
        let framing = Framing::of(method, answer.status(), answer.version(), answer.headers());
        self.framing = framing.map_err(Broken::from)?;
        // An answer that came before all was asked says how it ends; the rest of the request has no place any more.
        self.persists = outgoing.is_out()
            && !answer.status().is_informational()
            && !matches!(self.framing, Framing::UntilClose)
            && persists(answer.version(), answer.headers());
        Ok(answer)
    }

    /// Writes and reads until the head is here. An answer may come before all is written, and be the reason why no more
    /// is taken.
    async fn exchange(&mut self, outgoing: &mut Outgoing<'_>) -> Result<Response<()>, Broken> {
        let mut reader = HeadReader::default();
        let mut refused = None;
        loop {
            let read = poll_fn(|cx| {
                if refused.is_none()
                    && let Poll::Ready(Err(error)) = outgoing.poll_write(cx, &mut self.stream)
                {
                    match error {
                        WriteError::Io(error) => refused = Some(error),
                        WriteError::Upload(error) => return Poll::Ready(Err(Broken::Upload(error))),
                    }
                }
                self.poll_fill(cx).map_err(Broken::Io)
            });
            match (read.await, refused.take()) {
                (Ok(0), None) => return Err(Broken::Closed),
                (Ok(0) | Err(Broken::Io(_)), Some(error)) => return Err(Broken::Io(error)),
                (Err(error), _) => return Err(error),
                (Ok(_), told) => refused = told,
            }
            if let Some(head) = reader.take(&mut self.input)? {
                if refused.is_none() && !quotes(head.status()) {
                    self.go_on_writing(outgoing).await?;
                }
                return Ok(head);
            }
        }
    }

    /// Writes the rest of a request whose answer has begun. An error is the reason why no more is taken; anything else may
    /// wait for the rest, and what comes of it meanwhile is read as far as there is room for it.
    async fn go_on_writing(&mut self, outgoing: &mut Outgoing<'_>) -> Result<(), Broken> {
        poll_fn(|cx| {
            loop {
                match outgoing.poll_write(cx, &mut self.stream) {
                    Poll::Ready(Err(WriteError::Upload(error))) => {
                        return Poll::Ready(Err(Broken::Upload(error)));
                    }
                    // That it takes no more is told by the answer, or by its end.
                    Poll::Ready(_) => return Poll::Ready(Ok(())),
                    Poll::Pending if self.input.len() >= MOST_READ => return Poll::Pending,
                    Poll::Pending => {}
                }
                if ready!(self.poll_fill(cx)).map_err(Broken::Io)? == 0 {
                    return Poll::Ready(Ok(()));
                }
            }
        })
        .await
    }

    /// The next piece of the answer's body; `None` when it is over.
    pub(super) fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Broken>> {
        loop {
            match self.framing.next(&mut self.input)? {
                Piece::Data(data) => return Poll::Ready(Ok(Some(data))),
                Piece::End => return Poll::Ready(Ok(None)),
                Piece::More => {}
            }
            if ready!(self.poll_fill(cx)).map_err(Broken::Io)? == 0 {
                self.framing.closed()?;
                self.framing = Framing::Length(0);
            }
        }
    }

    /// Reads what there is; answers how much that was, or that the provider has closed.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.input.capacity() - self.input.len() < LEAST_ROOM {
            self.input.reserve(self.reads);
            self.grown |= self.input.capacity() > LEAST_READ;
        }
        let room = self.input.capacity() - self.input.len();
        let read = ready!(pin!(self.stream.read_buf(&mut self.input)).poll(cx))?;
        // Who fills it has more.
        if read == room {
            self.reads = (2 * self.reads).min(MOST_READ);
        }
        Poll::Ready(Ok(read))
    }

    /// Where the answer's body ends.
    pub(super) fn framing(&self) -> &Framing {
        &self.framing
    }

    /// Whether it may serve another request: the last one and its answer are over, and nothing came after them. Of one that
    /// may, a buffer that a long answer made large is not kept.
    pub(super) fn may_serve_again(&mut self) -> bool {
        if self.grown {
            (self.reads, self.grown, self.input) = (LEAST_READ, false, BytesMut::from(&self.input[..]));
        }
        self.persists && self.framing.is_over() && self.input.is_empty() && self.stream.is_drained()
    }

    /// Whether the other side has neither closed it nor said anything, as the kernel says now.
    pub(super) fn is_quiet(&self) -> bool {
        self.stream.is_quiet()
    }

    /// The same, as far as the runtime was told.
    pub(super) fn seems_quiet(&self) -> bool {
        self.stream.seems_quiet()
    }
}

impl From<Malformed> for Broken {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}
