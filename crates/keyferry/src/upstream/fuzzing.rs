//! The injector in front of a connection that takes as little as it likes, for fuzzing.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use keyferry_core::provider::AuthSlot;
use keyferry_envelope::{ApiKey, Entropy};
use tokio::io::AsyncWrite;

use super::inject::{Armed, Injector, Slot};

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
    vectored: bool,
    seen: Vec<u8>,
}

impl Wire {
    fn step(&mut self) -> Option<usize> {
        let step = self.steps.get(self.at).copied().unwrap_or(Step::Take(255));
        self.at += 1;
        match step {
            Step::Take(most) => Some(usize::from(most.max(1))),
            Step::Wait => None,
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let Some(most) = self.step() else { return Poll::Pending };
        let taken = most.min(buf.len());
        self.seen.extend_from_slice(&buf[..taken]);
        Poll::Ready(Ok(taken))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let Some(most) = self.step() else { return Poll::Pending };
        let all: Vec<u8> = bufs.iter().flat_map(|buf| buf.iter().copied()).take(most).collect();
        self.seen.extend_from_slice(&all);
        Poll::Ready(Ok(all.len()))
    }

    fn is_write_vectored(&self) -> bool {
        self.vectored
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// A key that waits for its head.
pub struct Waiting(Armed);

impl Waiting {
    /// For this header.
    pub fn new(slot: AuthSlot, key: Arc<ApiKey>, entropy: &dyn Entropy) -> Self {
        Self(Armed::new(slot, key, entropy))
    }

    /// The value that stands in the header.
    pub fn value(&self) -> Vec<u8> {
        self.0.header_value().as_bytes().to_vec()
    }
}

/// Writes these pieces; answers what the wire saw, and whether an error ended it.
pub fn inject<'p>(
    waiting: Waiting,
    pieces: impl IntoIterator<Item = &'p [u8]>,
    steps: Vec<Step>,
    vectored: bool,
) -> (Vec<u8>, bool) {
    let slot = Slot::default();
    slot.arm(waiting.0);
    let wire = Wire { steps, at: 0, vectored, seen: Vec::new() };
    let mut injector = Injector::new(wire, slot);
    let mut cx = Context::from_waker(Waker::noop());
    for mut piece in pieces {
        while !piece.is_empty() {
            let poll = if vectored {
                let (left, right) = piece.split_at(piece.len() / 2);
                let both = [IoSlice::new(left), IoSlice::new(right)];
                Pin::new(&mut injector).poll_write_vectored(&mut cx, &both)
            } else {
                Pin::new(&mut injector).poll_write(&mut cx, piece)
            };
            match poll {
                Poll::Ready(Ok(taken)) => {
                    assert!(taken > 0, "nothing was taken, and no error told");
                    piece = &piece[taken..];
                }
                Poll::Ready(Err(_)) => return (injector.into_wire().seen, true),
                Poll::Pending => {}
            }
        }
    }
    loop {
        match Pin::new(&mut injector).poll_flush(&mut cx) {
            Poll::Ready(flushed) => return (injector.into_wire().seen, flushed.is_err()),
            Poll::Pending => {}
        }
    }
}
