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

/// Answers up to this length are not watched: a client that does not take one holds up little.
const SMALL: u64 = 8 * 1024;

/// The pieces.
pub struct Pieces(Kind);

enum Kind {
    /// Nobody else looks at them.
    Small(State),
    /// Shared with whoever watches that they flow.
    Watched(Arc<Mutex<State>>),
}

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
        if left <= SMALL {
            return Self(Kind::Small(state));
        }
        let state = Arc::new(Mutex::new(state));
        stalls.watch(&state);
        Self(Kind::Watched(state))
    }

    /// Bytes still to come.
    pub fn left(&self) -> u64 {
        match &self.0 {
            Kind::Small(state) => state.left,
            Kind::Watched(state) => lock(state).left,
        }
    }

    /// The next piece. They are all here, so nobody waits.
    pub fn poll_next(&mut self) -> Poll<Option<Result<Bytes, BrokeOff>>> {
        match &mut self.0 {
            Kind::Small(state) => Poll::Ready(state.next().map(Ok)),
            Kind::Watched(state) => {
                let mut state = lock(state);
                if state.held.is_none() {
                    return Poll::Ready(Some(Err(BrokeOff)));
                }
                state.handed_out = Some(Instant::now());
                Poll::Ready(state.next().map(Ok))
            }
        }
    }
}

impl State {
    fn next(&mut self) -> Option<Bytes> {
        let next = self.pieces.pop_front();
        self.left -= next.as_ref().map_or(0, |piece| piece.len() as u64);
        next
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Flowing for Mutex<State> {
    fn check(&self, now: Instant) {
        let mut state = lock(self);
        if state.handed_out.is_some_and(|since| now >= since + STALL) && !state.pieces.is_empty() {
            state.pieces.clear();
            state.held = None;
        }
    }
}
