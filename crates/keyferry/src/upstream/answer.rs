//! What a provider answers, tied to the connection it comes on.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::{
    UpstreamClient,
    line::{Line, poll_with},
    pool::Lane,
};

/// What a provider answers. Read to its end, its connection goes back to the pool; dropped before,
/// the connection is closed, which is how the provider learns that nobody listens any more.
///
/// An error may quote the key, and what was read on a connection stays in its buffers while it is
/// open. So the connection of an error is closed, unless whoever read it says that it may be
/// [kept](Self::keep).
pub struct UpstreamBody {
    incoming: Incoming,
    line: Option<(Lane, Line, Arc<UpstreamClient>)>,
    /// It is an error.
    error: bool,
    /// It was read to its end.
    ended: bool,
}

impl UpstreamBody {
    pub(super) fn new(
        incoming: Incoming,
        error: bool,
        lane: Lane,
        line: Line,
        client: Arc<UpstreamClient>,
    ) -> Self {
        Self { incoming, line: Some((lane, line, client)), error, ended: false }
    }

    /// The answer quotes no key: if it was read to its end, its connection may serve again.
    pub fn keep(mut self) {
        if self.ended {
            self.pool();
        }
    }

    fn ended(&mut self) {
        self.ended = true;
        if !self.error {
            self.pool();
        }
    }

    fn pool(&mut self) {
        if let Some((lane, line, client)) = self.line.take() {
            client.pool.put(&lane, line);
        }
    }
}

impl Body for UpstreamBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = &mut *self;
        let line = this.line.as_mut().map(|(_, line, _)| line);
        let frame = ready!(poll_with(line, cx, |cx| Pin::new(&mut this.incoming).poll_frame(cx)));
        match &frame {
            None => self.ended(),
            Some(Err(_)) => self.line = None,
            // With a length that is announced, the last piece is the end: nobody asks again.
            Some(Ok(_)) if self.incoming.is_end_stream() => self.ended(),
            Some(Ok(_)) => {}
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
