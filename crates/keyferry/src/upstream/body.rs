//! Bodies towards a provider and back.

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
    pool::{Lane, Ready},
};

/// What a request carries to a provider.
pub enum ForwardBody {
    /// Nothing.
    Empty,
    /// Bytes that were read whole.
    Full(Bytes),
    /// A large upload that passes through; it ends in an error when it is longer than this.
    Upload {
        /// From the client.
        body: Incoming,
        /// Bytes it may still have.
        left: u64,
    },
}

/// An upload did not end well.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// The client's body broke off.
    #[error("the upload broke off")]
    Client(#[from] hyper::Error),
    /// The client's body is too long.
    #[error("the upload is too long")]
    TooLong,
}

impl Body for ForwardBody {
    type Data = Bytes;
    type Error = UploadError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        let this = self.get_mut();
        match this {
            Self::Empty => Poll::Ready(None),
            Self::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                *this = Self::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Self::Upload { body, left } => loop {
                let Some(frame) = ready!(Pin::new(&mut *body).poll_frame(cx)) else {
                    return Poll::Ready(None);
                };
                // Trailers have no place in these APIs.
                let Ok(data) = frame?.into_data() else { continue };
                let Some(rest) = left.checked_sub(data.len() as u64) else {
                    return Poll::Ready(Some(Err(UploadError::TooLong)));
                };
                *left = rest;
                return Poll::Ready(Some(Ok(Frame::data(data))));
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Full(bytes) => bytes.is_empty(),
            Self::Upload { body, .. } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Upload { body, .. } => body.size_hint(),
        }
    }
}

/// What a provider answers. Read to its end, its connection goes back to the pool; dropped before,
/// the connection is closed, which is how the provider learns that nobody listens any more.
pub struct UpstreamBody {
    incoming: Incoming,
    ready: Option<(Lane, Ready, Arc<UpstreamClient>)>,
}

impl UpstreamBody {
    pub(super) fn new(incoming: Incoming, lane: Lane, ready: Ready, client: Arc<UpstreamClient>) -> Self {
        Self { incoming, ready: Some((lane, ready, client)) }
    }

    fn ended(&mut self) {
        if let Some((lane, ready, client)) = self.ready.take() {
            client.pool.put(&lane, ready);
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
        let frame = ready!(Pin::new(&mut self.incoming).poll_frame(cx));
        match &frame {
            None => self.ended(),
            Some(Err(_)) => self.ready = None,
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
