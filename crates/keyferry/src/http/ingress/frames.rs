//! The frames of HTTP/2 (RFC 9113 §4) as they pass, without I/O.
//!
//! Header blocks are read here and written anew, as plain literals with a mark in the place of each
//! secret; everything else passes as it came. So the library's buffers and tables never hold one.
//! Nothing is judged here that the library judges: what cannot be passed on ends the connection.

use zeroize::Zeroizing;

use super::{
    Extracted, MAX_HEAD,
    hpack::{Decoder, ENTRY, Malformed, encode},
    wipe,
};
use crate::http::secrets::{Mark, SecretHeaders, secret_name};

/// So much waits for the library before no more input is taken: a header block may come out far larger than it came in.
const MAX_OUT: usize = 64 * 1024;
/// The largest frame that we announce to take.
const MAX_FRAME: usize = 16 * 1024;
/// The longest header block, as it comes.
const MAX_BLOCK: usize = 4 * MAX_HEAD;
/// The most frames after the first one in a header block.
const MAX_CONTINUATIONS: usize = 6;

const HEADERS: u8 = 0x1;
const SETTINGS: u8 = 0x4;
const CONTINUATION: u8 = 0x9;
const ACK: u8 = 0x1;
const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

/// A GOAWAY without an error (RFC 9113 §6.8), as from a client that lets no stream of ours begin; we begin none.
const FAREWELL: [u8; 17] = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0];
/// The beginning of a frame that the library refuses by its length, and the connection with it.
const UNACCEPTABLE: [u8; 9] = [0xff; 9];

/// Follows the bytes of one connection.
pub(super) struct Frames {
    state: State,
    /// The beginning of a frame, as far as it came.
    start: Vec<u8>,
    /// The payload of a frame of a header block, as far as it came.
    payload: Zeroizing<Vec<u8>>,
    block: Option<Block>,
    /// How many header blocks have begun.
    blocks: u64,
    decoder: Decoder,
    /// The highest stream with a head so far.
    last_stream: u32,
    heads: u64,
    extracted: Vec<Extracted>,
}

enum State {
    /// So many bytes pass.
    Passing(usize),
    Start,
    /// The payload of a frame of a header block.
    Payload {
        kind: u8,
        flags: u8,
        length: usize,
    },
    Broken,
}

/// A header block that is not complete.
struct Block {
    stream: [u8; 4],
    end_stream: bool,
    frames: usize,
    bytes: Zeroizing<Vec<u8>>,
}

impl Frames {
    /// Begins with the preface, of this length.
    pub(super) fn after(preface: usize) -> Self {
        Self {
            state: State::Passing(preface),
            start: Vec::with_capacity(9),
            payload: Zeroizing::new(Vec::new()),
            block: None,
            blocks: 0,
            decoder: Decoder::new(),
            last_stream: 0,
            heads: 0,
            extracted: Vec::new(),
        }
    }

    /// The secrets of the heads that were put out, in their order.
    pub(super) fn extracted(&mut self) -> std::vec::Drain<'_, Extracted> {
        self.extracted.drain(..)
    }

    /// How many bytes may pass without being looked at.
    pub(super) fn passing(&self) -> usize {
        match self.state {
            State::Passing(left) => left,
            _ => 0,
        }
    }

    /// So many bytes have passed.
    pub(super) fn passed(&mut self, bytes: usize) {
        if let State::Passing(left) = &mut self.state {
            *left -= bytes.min(*left);
            if *left == 0 {
                self.state = State::Start;
            }
        }
    }

    /// The header block that has begun and is not complete, by its number.
    pub(super) fn in_block(&self) -> Option<u64> {
        self.block.as_ref().map(|_| self.blocks)
    }

    /// Whether the client has sent secrets to be remembered, and not acknowledged the settings that forbid it.
    pub(super) fn owes_an_acknowledgement(&self) -> bool {
        self.decoder.keeps_secrets()
    }

    /// Tells the library that the client is about to leave: it ends the connection when nothing is answered on it any
    /// more, and names the last stream that it served. False in the middle of a frame, where nothing can be told.
    pub(super) fn say_farewell(&self, out: &mut Vec<u8>) -> bool {
        if matches!(self.state, State::Passing(_)) {
            return false;
        }
        out.extend_from_slice(&FAREWELL);
        true
    }

    /// Ends the connection, for example because a header block came too slowly.
    pub(super) fn break_off(&mut self, out: &mut Vec<u8>) {
        self.state = State::Broken;
        self.block = None;
        wipe(&mut self.payload);
        out.extend_from_slice(&UNACCEPTABLE);
    }

    /// Nothing more is put out.
    pub(super) fn is_broken(&self) -> bool {
        matches!(self.state, State::Broken)
    }

    /// Takes input and puts out what the library may see. Answers how much was taken: it stops behind each head with
    /// secrets, and when enough was put out.
    pub(super) fn feed(&mut self, input: &[u8], out: &mut Vec<u8>) -> usize {
        let mut rest = input;
        while !rest.is_empty() && self.extracted.is_empty() && out.len() < MAX_OUT {
            let taken = match self.state {
                State::Passing(left) => {
                    let taken = left.min(rest.len());
                    out.extend_from_slice(&rest[..taken]);
                    self.passed(taken);
                    taken
                }
                State::Start => self.begin(rest, out),
                State::Payload { kind, flags, length } => {
                    let taken = (length - self.payload.len()).min(rest.len());
                    self.payload.extend_from_slice(&rest[..taken]);
                    if self.payload.len() == length && self.end_payload(kind, flags, out).is_err() {
                        self.break_off(out);
                    }
                    taken
                }
                State::Broken => rest.len(),
            };
            rest = &rest[taken..];
        }
        input.len() - rest.len()
    }

    /// Takes of the beginning of a frame: length, kind, flags, stream.
    fn begin(&mut self, input: &[u8], out: &mut Vec<u8>) -> usize {
        let taken = (9 - self.start.len()).min(input.len());
        self.start.extend_from_slice(&input[..taken]);
        let Ok(start) = <[u8; 9]>::try_from(self.start.as_slice()) else { return taken };
        self.start.clear();
        let [l0, l1, l2, kind, flags, stream @ ..] = start;
        let length = u32::from_be_bytes([0, l0, l1, l2]) as usize;
        let wanted = match (&self.block, kind) {
            (None, HEADERS) => true,
            (None, CONTINUATION) => false,
            (None, _) => {
                if kind == SETTINGS && flags & ACK != 0 {
                    // There is one frame of ours to acknowledge, the first.
                    self.decoder.end_table();
                }
                out.extend_from_slice(&start);
                self.state = if length == 0 { State::Start } else { State::Passing(length) };
                return taken;
            }
            (Some(block), CONTINUATION) => {
                block.stream == stream
                    && block.frames < MAX_CONTINUATIONS
                    && block.bytes.len() + length <= MAX_BLOCK
            }
            (Some(_), _) => false,
        };
        if !wanted || length > MAX_FRAME {
            self.break_off(out);
            return taken;
        }
        if let Some(block) = &mut self.block {
            block.frames += 1;
        } else {
            self.blocks += 1;
            let bytes = Zeroizing::new(Vec::new());
            self.block = Some(Block { stream, end_stream: flags & END_STREAM != 0, frames: 0, bytes });
        }
        self.payload.reserve(length);
        self.state = State::Payload { kind, flags, length };
        if length == 0 && self.end_payload(kind, flags, out).is_err() {
            self.break_off(out);
        }
        taken
    }

    /// A frame of a header block is complete.
    fn end_payload(&mut self, kind: u8, flags: u8, out: &mut Vec<u8>) -> Result<(), Malformed> {
        let Some(mut block) = self.block.take() else { return Err(Malformed) };
        let fragment = if kind == HEADERS { fragment(flags, &self.payload)? } else { &self.payload };
        block.bytes.extend_from_slice(fragment);
        wipe(&mut self.payload);
        self.state = State::Start;
        if flags & END_HEADERS == 0 {
            self.block = Some(block);
            return Ok(());
        }
        let fields = self.rewrite(&block)?;
        put_out(&block, &fields, out);
        Ok(())
    }

    /// The same fields as literals, without the secrets.
    fn rewrite(&mut self, block: &Block) -> Result<Vec<u8>, Malformed> {
        // A second block of a stream is its trailers, and a lower number the library refuses. Nobody asks for secrets of
        // either.
        let stream = u32::from_be_bytes(block.stream) & 0x7fff_ffff;
        let is_head = stream > self.last_stream;
        self.last_stream = self.last_stream.max(stream);
        let mark = Mark(self.heads + 1);
        let (mut secrets, mut any) = (SecretHeaders::default(), false);
        let (mut fields, mut size) = (Vec::new(), 0);
        let mut marked = Zeroizing::new(Vec::new());
        self.decoder.decode(&block.bytes, |name, value| {
            // What is beyond the limit need not be shown to the library for it to refuse the rest.
            if size > MAX_HEAD {
                return;
            }
            size += name.len() + value.len() + ENTRY;
            let Some(known) = secret_name(name) else {
                encode(name, value, &mut fields);
                return;
            };
            marked.clear();
            marked.extend_from_slice(value);
            let inner = inner(value);
            if !is_head
                || name != known.as_bytes()
                || value.iter().any(|&b| (b < 0x20 && b != b'\t') || b == 0x7f)
            {
                // The library must not take for good what stands behind the mark.
                marked.fill(0);
            } else {
                secrets.add(known, &value[inner.clone()]);
                mark.write(&mut marked[inner]);
                any = true;
            }
            encode(name, &marked, &mut fields);
        })?;
        if any {
            self.heads += 1;
            self.extracted.push(Extracted { mark, secrets });
        }
        Ok(fields)
    }
}

/// Where a value is, without the white space around it, which is refused later.
fn inner(value: &[u8]) -> std::ops::Range<usize> {
    let blank = |b: &u8| matches!(b, b' ' | b'\t');
    let start = value.iter().position(|b| !blank(b)).unwrap_or(value.len());
    let end = value.iter().rposition(|b| !blank(b)).map_or(start, |at| at + 1);
    start..end
}

/// The fragment of a header block in the payload of a HEADERS frame (RFC 9113 §6.2).
fn fragment(flags: u8, payload: &[u8]) -> Result<&[u8], Malformed> {
    let mut rest = payload;
    let mut padding = 0;
    if flags & PADDED != 0 {
        let (first, after) = rest.split_first().ok_or(Malformed)?;
        (padding, rest) = (usize::from(*first), after);
    }
    if flags & PRIORITY != 0 {
        rest = rest.get(5..).ok_or(Malformed)?;
    }
    rest.get(..rest.len().checked_sub(padding).ok_or(Malformed)?).ok_or(Malformed)
}

/// Puts out a header block in as many frames as it needs.
fn put_out(block: &Block, fields: &[u8], out: &mut Vec<u8>) {
    let mut pieces = fields.chunks(MAX_FRAME).peekable();
    let mut kind = HEADERS;
    loop {
        let piece = pieces.next().unwrap_or_default();
        let mut flags = if pieces.peek().is_none() { END_HEADERS } else { 0 };
        if kind == HEADERS && block.end_stream {
            flags |= END_STREAM;
        }
        out.extend_from_slice(&(piece.len() as u32).to_be_bytes()[1..]);
        out.extend_from_slice(&[kind, flags]);
        out.extend_from_slice(&block.stream);
        out.extend_from_slice(piece);
        if flags & END_HEADERS != 0 {
            return;
        }
        kind = CONTINUATION;
    }
}

#[cfg(test)]
mod tests;
