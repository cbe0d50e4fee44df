//! Bodies of answers: what the parts of the program give to the HTTP library.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::ingress::Busy;
use crate::gateway::{Pieces, Relay};

/// Any answer's body.
pub enum AnswerBody {
    /// Whole.
    Full(Bytes),
    /// A provider's, that was read whole.
    Pieces(Pieces),
    /// What a provider sends, as it comes.
    Relay(Pin<Box<Relay>>),
    /// The control plane's.
    Admin(axum::body::Body),
}

/// Why a body broke off. The client sees that it did; why is in the log.
pub type BrokenOff = Box<dyn std::error::Error + Send + Sync>;

impl From<Vec<u8>> for AnswerBody {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Full(bytes.into())
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        match self.get_mut() {
            Self::Full(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Full(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Pieces(pieces) => pieces.poll_next().map_ok(Frame::data).map_err(Into::into),
            Self::Relay(relay) => relay.as_mut().poll_frame(cx).map_err(Into::into),
            Self::Admin(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Full(bytes) => bytes.is_empty(),
            Self::Pieces(pieces) => pieces.left() == 0,
            Self::Relay(_) => false,
            Self::Admin(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Pieces(pieces) => SizeHint::with_exact(pieces.left()),
            Self::Relay(relay) => relay.size_hint(),
            Self::Admin(body) => body.size_hint(),
        }
    }
}

/// A body that keeps its connection from counting as idle until it is out.
pub(super) struct BusyBody {
    pub(super) body: AnswerBody,
    pub(super) _busy: Busy,
}

impl Body for BusyBody {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        Pin::new(&mut self.get_mut().body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
