//! What a provider answers, tied to the connection it comes on.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::{UpstreamClient, error::Broken, line::Line, pool::Lane};

/// What a provider answers. Read to its end, its connection goes back to the pool; dropped before,
/// the connection is closed, which is how the provider learns that nobody listens any more.
///
/// An error may quote the key, and what was read on a connection stays in its buffers while it is
/// open. So the connection of an error is closed, unless whoever read it says that it may be
/// [kept](Self::keep).
pub struct UpstreamBody {
    /// Gone when it is over, or broke.
    line: Option<(Lane, Line, Arc<UpstreamClient>)>,
    /// It is an error.
    error: bool,
}

impl UpstreamBody {
    pub(super) fn new(error: bool, lane: Lane, line: Line, client: Arc<UpstreamClient>) -> Self {
        Self { line: Some((lane, line, client)), error }
    }

    /// The answer quotes no key: if it was read to its end, its connection may serve again.
    pub fn keep(mut self) {
        self.error = false;
    }

    /// Gives the connection back, which the pool keeps if the answer is over. Of an error it is known only later whether
    /// it may be.
    fn give_back(&mut self) {
        if !self.error
            && let Some((lane, line, client)) = self.line.take()
        {
            client.pool.put(&lane, line);
        }
    }
}

impl Body for UpstreamBody {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let Some((_, line, _)) = &mut self.line else { return Poll::Ready(None) };
        let piece = ready!(line.poll_piece(cx));
        let is_over = line.framing().is_over();
        match piece {
            Ok(None) => {
                self.give_back();
                Poll::Ready(None)
            }
            Ok(Some(data)) => {
                // Where the end is known with the last piece, nobody asks again.
                if is_over {
                    self.give_back();
                }
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            Err(broken) => {
                self.line = None;
                Poll::Ready(Some(Err(broken)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.line.as_ref().is_none_or(|(_, line, _)| line.framing().is_over())
    }

    fn size_hint(&self) -> SizeHint {
        match &self.line {
            Some((_, line, _)) => {
                line.framing().length().map_or_else(SizeHint::default, SizeHint::with_exact)
            }
            None => SizeHint::with_exact(0),
        }
    }
}

impl Drop for UpstreamBody {
    fn drop(&mut self) {
        self.give_back();
    }
}
