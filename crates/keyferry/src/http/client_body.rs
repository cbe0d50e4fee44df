//! A request's body, and whether it was read to its end.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

/// What a client sends.
pub struct ClientBody {
    incoming: Incoming,
    rest: Rest,
}

/// Whether there is more of a body than was read. An answer that goes out before has to say that
/// the connection ends with it: the rest would stand where the next request is expected.
#[derive(Clone)]
pub(super) struct Rest(Arc<AtomicBool>);

impl Rest {
    pub(super) fn is_unread(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl ClientBody {
    pub(super) fn new(incoming: Incoming) -> (Self, Rest) {
        let rest = Rest(Arc::new(AtomicBool::new(!incoming.is_end_stream())));
        (Self { incoming, rest: rest.clone() }, rest)
    }
}

impl Body for ClientBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.incoming).poll_frame(cx));
        if frame.is_none() || self.incoming.is_end_stream() {
            self.rest.0.store(false, Ordering::Relaxed);
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
