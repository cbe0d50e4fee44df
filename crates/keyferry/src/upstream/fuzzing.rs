//! What is written to a connection that takes as little as it likes, and what is read from one, for fuzzing.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use keyferry_core::{net::host::ProviderHost, provider::AuthSlot};
use keyferry_envelope::ApiKey;
use tokio::io::AsyncWrite;

use super::{
    ForwardBody, RequestHead,
    answer_head::HeadReader,
    framing::{Framing, Piece},
    outgoing::Outgoing,
};

/// What the connection does with each write.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// Takes at most so many bytes, at least one.
    Take(u8),
    /// Takes nothing now.
    Wait,
}

/// A connection that keeps what was written to it.
struct Wire {
    steps: Vec<Step>,
    at: usize,
    seen: Vec<u8>,
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let step = self.steps.get(self.at).copied().unwrap_or(Step::Take(255));
        self.at += 1;
        let Step::Take(most) = step else { return Poll::Pending };
        let all = bufs.iter().flat_map(|buf| buf.iter().copied());
        let all: Vec<u8> = all.take(usize::from(most.max(1))).collect();
        self.seen.extend_from_slice(&all);
        Poll::Ready(Ok(all.len()))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Writes a request; answers what the wire saw. `None` where no such request can be made.
pub fn write<'h>(
    path: &str,
    headers: impl IntoIterator<Item = (&'h [u8], &'h [u8])>,
    key: (AuthSlot, Arc<ApiKey>),
    body: &[u8],
    steps: Vec<Step>,
) -> Option<Vec<u8>> {
    let host = ProviderHost::parse("api.openai.com").ok()?;
    let mut head = RequestHead::new(&Method::POST, path, &host).ok()?;
    for (name, value) in headers {
        head.add(&HeaderName::from_bytes(name).ok()?, &HeaderValue::from_bytes(value).ok()?);
    }
    let mut body = match body {
        b"" => ForwardBody::Empty,
        body => ForwardBody::Full(Bytes::copy_from_slice(body)),
    };
    let mut wire = Wire { steps, at: 0, seen: Vec::new() };
    let mut outgoing = Outgoing::new(&head, Some(&key), &mut body);
    let mut cx = Context::from_waker(Waker::noop());
    loop {
        match outgoing.poll_write(&mut cx, &mut wire) {
            Poll::Ready(written) => {
                assert!(written.is_ok() && outgoing.is_out());
                return Some(wire.seen);
            }
            Poll::Pending => {}
        }
    }
}

/// What was understood of an answer.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Understood {
    /// Status and headers, once the head was there.
    pub head: Option<(u16, HeaderMap)>,
    /// So much of the body.
    pub body: Vec<u8>,
    /// The body is over.
    pub ended: bool,
    /// Something was malformed.
    pub malformed: bool,
}

/// Reads an answer that comes in these pieces, after which the connection is closed or not.
pub fn read<'p>(pieces: impl IntoIterator<Item = &'p [u8]>, closes: bool) -> Understood {
    let mut understood = Understood::default();
    let (mut input, mut reader, mut framing) = (BytesMut::new(), HeadReader::default(), None);
    for piece in pieces {
        input.extend_from_slice(piece);
        if take(&mut input, &mut reader, &mut framing, &mut understood).is_none() {
            understood.malformed = true;
            return understood;
        }
    }
    if closes && !understood.ended {
        understood.ended = framing.is_some_and(|framing| framing.closed().is_ok());
        understood.malformed = !understood.ended;
    }
    understood
}

/// Takes what is here; `None` if it is malformed.
fn take(
    input: &mut BytesMut,
    reader: &mut HeadReader,
    framing: &mut Option<Framing>,
    understood: &mut Understood,
) -> Option<()> {
    if framing.is_none() {
        let Some(head) = reader.take(input).ok()? else { return Some(()) };
        let of = Framing::of(&Method::POST, head.status(), head.version(), head.headers());
        understood.head = Some((head.status().as_u16(), head.headers().clone()));
        *framing = Some(of.ok()?);
    }
    let framing = framing.as_mut()?;
    loop {
        match framing.next(input).ok()? {
            Piece::Data(data) => {
                assert!(!data.is_empty(), "a piece with nothing in it");
                understood.body.extend_from_slice(&data);
            }
            Piece::More => return Some(()),
            Piece::End => {
                understood.ended = true;
                return Some(());
            }
        }
    }
}
