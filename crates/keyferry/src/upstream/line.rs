//! A connection to a provider with HTTP on it. It has no task of its own: who waits for something on it runs it.
//!
//! A task for each connection would be woken for each piece, on another processor as often as not, to wake in turn the
//! task that waits for the piece. A line in the pool is run by nobody; the socket is looked at before it is used again.

use std::{
    future::poll_fn,
    os::fd::OwnedFd,
    pin::{Pin, pin},
    task::{Context, Poll},
};

use http::{Request, Response};
use hyper::{
    body::Incoming,
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use rustix::{
    io::Errno,
    net::{RecvFlags, recv},
};

use super::{
    UpstreamError,
    body::ForwardBody,
    inject::{Armed, Injector, Slot},
    stream::Stream,
};

type Connection = http1::Connection<TokioIo<Injector<Stream>>, ForwardBody>;

/// One connection.
pub(super) struct Line {
    sender: SendRequest<ForwardBody>,
    /// `None` when it has ended.
    connection: Option<Pin<Box<Connection>>>,
    slot: Slot,
    /// The same socket again, to look at it.
    socket: OwnedFd,
}

/// A request that was not answered.
pub(super) enum Unanswered {
    /// None of it left; here it is back.
    NotSent(Box<Request<ForwardBody>>),
    /// Some of it may have left.
    Sent(hyper::Error),
}

impl Line {
    pub(super) async fn open(stream: Stream) -> Result<Self, UpstreamError> {
        let socket = stream.socket().map_err(UpstreamError::Connect)?;
        let slot = Slot::default();
        let io = TokioIo::new(Injector::new(stream, slot.clone()));
        let (sender, connection) =
            http1::Builder::new().max_headers(128).max_buf_size(64 * 1024).handshake(io).await?;
        Ok(Self { sender, connection: Some(Box::pin(connection)), slot, socket })
    }

    /// Does what the connection can do now. How it ended is told to whoever waits for an answer.
    pub(super) fn run(&mut self, cx: &mut Context<'_>) {
        run(&mut self.connection, cx);
    }

    /// Whether the next request can be sent, once that is known.
    pub(super) async fn ready(&mut self) -> bool {
        poll_fn(|cx| {
            self.run(cx);
            self.sender.poll_ready(cx)
        })
        .await
        .is_ok()
    }

    /// The key that goes into the next request.
    pub(super) fn arm(&self, armed: Armed) {
        self.slot.arm(armed);
    }

    /// Sends a request and waits for the head of its answer.
    pub(super) async fn send(
        &mut self,
        request: Request<ForwardBody>,
    ) -> Result<Response<Incoming>, Unanswered> {
        let mut answer = pin!(self.sender.try_send_request(request));
        let answered = poll_fn(|cx| {
            run(&mut self.connection, cx);
            answer.as_mut().poll(cx)
        });
        answered.await.map_err(|mut failed| match failed.take_message() {
            Some(unsent) => Unanswered::NotSent(Box::new(unsent)),
            None => Unanswered::Sent(failed.into_error()),
        })
    }

    /// Whether it may serve another request: it has not ended, and no key waits that was never sent.
    pub(super) fn may_serve_again(&self) -> bool {
        self.connection.is_some() && !self.sender.is_closed() && !self.slot.is_armed()
    }

    /// Whether the other side has neither closed an idle connection nor said anything on it. The library would find that
    /// out too, but a moment later, and a request sent in that moment is lost.
    pub(super) fn is_quiet(&self) -> bool {
        let mut byte = [0; 1];
        let looked = recv(&self.socket, &mut byte, RecvFlags::PEEK | RecvFlags::DONTWAIT);
        !self.sender.is_closed() && matches!(looked, Err(Errno::AGAIN))
    }
}

fn run(connection: &mut Option<Pin<Box<Connection>>>, cx: &mut Context<'_>) {
    if let Some(open) = connection
        && open.as_mut().poll(cx).is_ready()
    {
        *connection = None;
    }
}

/// Runs a line for whoever waits for the next piece of its answer.
pub(super) fn poll_with<T>(
    line: Option<&mut Line>,
    cx: &mut Context<'_>,
    mut piece: impl FnMut(&mut Context<'_>) -> Poll<T>,
) -> Poll<T> {
    if let Poll::Ready(ready) = piece(cx) {
        return Poll::Ready(ready);
    }
    if let Some(line) = line {
        line.run(cx);
    }
    piece(cx)
}
