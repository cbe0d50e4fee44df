//! What a request carries to a provider.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::http::{BrokenBody, ClientBody};

/// What a request carries to a provider.
pub enum ForwardBody {
    /// Nothing.
    Empty,
    /// Bytes that were read whole.
    Full(Bytes),
    /// A large upload that passes through; it ends in an error when it is longer than this.
    Upload {
        /// From the client.
        body: ClientBody,
        /// Bytes it may still have.
        left: u64,
    },
}

/// An upload did not end well.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// The client's body broke off.
    #[error("the upload broke off")]
    Client(#[from] BrokenBody),
    /// It ended before the length that was announced.
    #[error("the upload is shorter than was announced")]
    Cut,
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
