//! The memory that bodies may take together, requests and answers alike.
//!
//! It is taken as bytes arrive, not as they are announced: a client that declares much and sends
//! little holds little. When there is no more, the newest request is refused, not the process.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::http::Problem;

/// All bodies together, in KiB.
const ROOM_KIB: usize = 512 * 1024;

/// The memory for bodies.
#[derive(Clone)]
pub(super) struct Room(Arc<Semaphore>);

impl Default for Room {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(ROOM_KIB)))
    }
}

/// What one body takes of it; given back on drop.
pub(super) struct Held {
    room: Room,
    bytes: usize,
    permit: Option<OwnedSemaphorePermit>,
}

impl Room {
    /// Nothing yet.
    pub(super) fn hold(&self) -> Held {
        Held { room: self.clone(), bytes: 0, permit: None }
    }
}

impl Held {
    /// Takes room for so many more bytes.
    pub(super) fn add(&mut self, bytes: usize) -> Result<(), Problem> {
        let before = self.bytes.div_ceil(1024);
        self.bytes += bytes;
        let more = u32::try_from(self.bytes.div_ceil(1024) - before).unwrap_or(u32::MAX);
        if more == 0 {
            return Ok(());
        }
        let permit = Arc::clone(&self.room.0)
            .try_acquire_many_owned(more)
            .map_err(|_| Problem::unavailable("Too many large bodies are under way."))?;
        match &mut self.permit {
            Some(held) => held.merge(permit),
            None => self.permit = Some(permit),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_taken_as_it_is_used_and_given_back() {
        let room = Room(Arc::new(Semaphore::new(2)));
        let mut first = room.hold();
        first.add(1).expect("room");
        first.add(1023).expect("the same KiB");
        let mut second = room.hold();
        second.add(1024).expect("room");
        assert!(first.add(1).is_err());
        drop(second);
        first.add(1).expect("room again");
    }
}
