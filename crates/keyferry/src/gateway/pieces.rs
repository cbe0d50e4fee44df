//! An answer that was read whole, on its way to the client in the pieces it came in.
//!
//! It takes room until the client has it; a client that does not take it loses it.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Poll,
};

use bytes::Bytes;
use tokio::time::Instant;

use super::{
    relay::BrokeOff,
    room::Held,
    stalls::{Flowing, STALL, Stalls},
};

/// Answers up to this length are not watched: they fit into the socket's buffer.
const SMALL: u64 = 64 * 1024;

/// The pieces.
pub struct Pieces(Arc<Mutex<State>>);

struct State {
    pieces: VecDeque<Bytes>,
    left: u64,
    held: Option<Held>,
    handed_out: Option<Instant>,
}

impl Pieces {
    pub(super) fn new(pieces: Vec<Bytes>, held: Held, stalls: &Stalls) -> Self {
        let left = pieces.iter().map(|piece| piece.len() as u64).sum();
        let state = State { pieces: pieces.into(), left, held: Some(held), handed_out: None };
        let state = Arc::new(Mutex::new(state));
        if left > SMALL {
            stalls.watch(&state);
        }
        Self(state)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes still to come.
    pub fn left(&self) -> u64 {
        self.state().left
    }

    /// The next piece. They are all here, so nobody waits.
    pub fn poll_next(&self) -> Poll<Option<Result<Bytes, BrokeOff>>> {
        let mut state = self.state();
        if state.held.is_none() {
            return Poll::Ready(Some(Err(BrokeOff)));
        }
        let next = state.pieces.pop_front();
        state.left -= next.as_ref().map_or(0, |piece| piece.len() as u64);
        state.handed_out = Some(Instant::now());
        Poll::Ready(next.map(Ok))
    }
}

impl Flowing for Mutex<State> {
    fn check(&self, now: Instant) {
        let mut state = self.lock().unwrap_or_else(PoisonError::into_inner);
        if state.handed_out.is_some_and(|since| now >= since + STALL) && !state.pieces.is_empty() {
            state.pieces.clear();
            state.held = None;
        }
    }
}
