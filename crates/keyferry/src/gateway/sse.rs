//! Event boundaries of a server-sent event stream.
//!
//! A provider that breaks off in the middle of an event leaves half of it; an error put behind
//! that half could not be read as one. So the bytes after the last complete event are held until
//! the event is complete. Providers write whole events, so nothing is held in practice.

use bytes::{Bytes, BytesMut};

/// The longest unfinished event that is held; a longer one passes as it comes.
const MAX_HELD: usize = 64 * 1024;

/// Holds back unfinished events.
#[derive(Default)]
pub(super) struct Boundary {
    held: BytesMut,
    /// Whether the bytes let through so far end inside an event.
    inside: bool,
}

impl Boundary {
    /// Takes what came; answers what may go on.
    pub(super) fn pass(&mut self, chunk: Bytes) -> Bytes {
        if chunk.is_empty() {
            return chunk;
        }
        if self.held.is_empty() {
            let end = last_boundary(&chunk, 0);
            if end == chunk.len() {
                self.inside = false;
                return chunk;
            }
            self.held.extend_from_slice(&chunk[end..]);
            if end > 0 {
                self.inside = false;
            }
            let ready = chunk.slice(..end);
            return if self.held.len() > MAX_HELD { self.release(&ready) } else { ready };
        }
        // What was held has been searched; only a boundary that begins in its last bytes is new.
        let searched = self.held.len().saturating_sub(3);
        self.held.extend_from_slice(&chunk);
        let end = last_boundary(&self.held, searched);
        if end > 0 {
            self.inside = false;
            return self.held.split_to(end).freeze();
        }
        if self.held.len() > MAX_HELD { self.release(&Bytes::new()) } else { Bytes::new() }
    }

    /// What is left at the end of the stream.
    pub(super) fn rest(&mut self) -> Bytes {
        self.held.split().freeze()
    }

    /// Whether an event can be put in here.
    pub(super) fn is_clean(&self) -> bool {
        !self.inside
    }

    fn release(&mut self, before: &Bytes) -> Bytes {
        self.inside = true;
        let mut all = BytesMut::from(&before[..]);
        all.unsplit(self.held.split());
        all.freeze()
    }
}

/// The end of the last blank line that ends behind `from`: LF LF, CR LF CR LF or CR CR (WHATWG HTML
/// §9.2.6).
fn last_boundary(bytes: &[u8], from: usize) -> usize {
    let mut end = bytes.len();
    while let Some(at) = memchr::memrchr2(b'\n', b'\r', &bytes[from..end]).map(|at| from + at) {
        let before = &bytes[..at];
        let blank = match bytes[at] {
            b'\n' => before.ends_with(b"\n") || before.ends_with(b"\n\r") || before.ends_with(b"\r\r"),
            _ => before.ends_with(b"\r") || before.ends_with(b"\n"),
        };
        // A CR that ends the bytes may be the first half of CR LF: wait for the rest.
        let undecided = bytes[at] == b'\r' && at + 1 == bytes.len();
        if blank && !undecided {
            return at + 1;
        }
        end = at;
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_events_pass_and_halves_wait() {
        let mut boundary = Boundary::default();
        assert_eq!(boundary.pass(Bytes::from("data: 1\n\n")), "data: 1\n\n");
        assert_eq!(boundary.pass(Bytes::from("data: 2\n\ndata: ")), "data: 2\n\n");
        assert_eq!(boundary.pass(Bytes::from("3\n")), "");
        assert_eq!(boundary.pass(Bytes::from("\ndata: 4\r\n\r\n")), "data: 3\n\ndata: 4\r\n\r\n");
        assert!(boundary.is_clean());
    }

    #[test]
    fn every_split_gives_the_same_bytes() {
        for newline in ["\n", "\r\n"] {
            let stream: String =
                (0..5).map(|i| format!("event: x{newline}data: {i}{newline}{newline}")).collect();
            for piece in 1..stream.len() {
                let mut boundary = Boundary::default();
                let mut out = Vec::new();
                for part in stream.as_bytes().chunks(piece) {
                    let passed = boundary.pass(Bytes::copy_from_slice(part));
                    out.extend_from_slice(&passed);
                }
                out.extend_from_slice(&boundary.rest());
                assert_eq!(out, stream.as_bytes());
            }
        }
    }

    #[test]
    fn an_endless_event_is_not_held_for_ever() {
        let mut boundary = Boundary::default();
        let mut passed = 0;
        for _ in 0..100 {
            passed += boundary.pass(Bytes::from(vec![b'x'; 4096])).len();
        }
        assert!(passed >= 4096 * 84);
        assert!(!boundary.is_clean());
        // Nothing does not end it.
        boundary.rest();
        assert_eq!(boundary.pass(Bytes::new()), "");
        assert!(!boundary.is_clean());
    }
}
