//! An answer on its way in.

use std::time::Instant;

use bench_tools::wire::{self, Chunks, Framing};

#[derive(Default)]
pub struct Answer {
    head: Vec<u8>,
    pub status: u16,
    framing: Option<Framing>,
    chunks: Chunks,
    /// What was read of a chunk's line and is not whole yet.
    left: Vec<u8>,
    pub body: Vec<u8>,
    pub closes: bool,
    /// When the first piece of the body came, and the last one.
    pub first: Option<Instant>,
    pub pieces: u32,
}

impl Answer {
    /// Makes it ready for the next answer, and keeps its memory.
    pub fn clear(&mut self) {
        self.head.clear();
        self.left.clear();
        self.body.clear();
        self.chunks = Chunks::default();
        (self.framing, self.first, self.pieces) = (None, None, 0);
    }

    /// Takes what was read; answers whether the answer is whole.
    pub fn take(&mut self, bytes: &[u8], now: Instant) -> anyhow::Result<bool> {
        if self.framing.is_some() {
            return self.take_body(bytes, now);
        }
        let before = self.head.len();
        self.head.extend_from_slice(bytes);
        let Some(head) = wire::head(&self.head, false)? else { return Ok(false) };
        (self.status, self.framing, self.closes) = (head.status, Some(head.framing), head.closes);
        let rest = head.length - before;
        self.take_body(&bytes[rest..], now)
    }

    fn take_body(&mut self, bytes: &[u8], now: Instant) -> anyhow::Result<bool> {
        let before = self.body.len();
        let done = match self.framing {
            Some(Framing::Chunked) if self.left.is_empty() => {
                let (taken, done) = self.chunks.take(bytes, &mut self.body)?;
                self.left.extend_from_slice(&bytes[taken..]);
                done
            }
            Some(Framing::Chunked) => {
                self.left.extend_from_slice(bytes);
                let (taken, done) = self.chunks.take(&self.left, &mut self.body)?;
                self.left.drain(..taken);
                done
            }
            Some(Framing::Length(length)) => {
                self.body.extend_from_slice(bytes);
                self.body.len() >= length
            }
            None => false,
        };
        if self.body.len() > before {
            self.first.get_or_insert(now);
            self.pieces += 1;
        }
        anyhow::ensure!(!done || self.left.is_empty(), "there is more behind the answer");
        Ok(done)
    }
}
