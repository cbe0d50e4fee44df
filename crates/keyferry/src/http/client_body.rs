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
use http::Version;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

/// What a client sends.
pub struct ClientBody {
    incoming: Incoming,
    rest: Rest,
    /// The library says whether what has ended is whole: it does so over HTTP/2, where a client can end its body in the
    /// middle, by a reset that says there was no error.
    tells_end: bool,
}

/// A client's body did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum BrokenBody {
    /// The connection broke, or what came on it was wrong.
    #[error("the body broke off")]
    Broken(#[from] hyper::Error),
    /// The client took the rest back.
    #[error("the body was cut off")]
    Cut,
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
    pub(super) fn new(incoming: Incoming, version: Version) -> (Self, Rest) {
        let rest = Rest(Arc::new(AtomicBool::new(!incoming.is_end_stream())));
        (Self { incoming, rest: rest.clone(), tells_end: version == Version::HTTP_2 }, rest)
    }
}

impl Body for ClientBody {
    type Data = Bytes;
    type Error = BrokenBody;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenBody>>> {
        let frame = ready!(Pin::new(&mut self.incoming).poll_frame(cx));
        if frame.is_none() && self.tells_end && !self.incoming.is_end_stream() {
            return Poll::Ready(Some(Err(BrokenBody::Cut)));
        }
        if frame.is_none() || self.incoming.is_end_stream() {
            self.rest.0.store(false, Ordering::Relaxed);
        }
        Poll::Ready(frame.map(|frame| frame.map_err(BrokenBody::from)))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
