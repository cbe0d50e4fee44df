//! Reads token usage out of an answer while it streams past. Never changes, delays or keeps what it reads.
//!
//! Bytes go through once: [`sse`] finds the data lines, [`scan`] walks the JSON in them without building a tree,
//! [`place`] knows the few paths of each dialect that matter, [`reading`] adds up what was found there. Memory is a
//! few hundred bytes however long a line, a string or a nesting is.

mod bounded;
mod place;
mod reading;
mod scan;
mod sse;
pub(crate) mod structure;

use crate::{
    dialect::Dialect,
    usage::{TokenUsage, UsageSource},
};

use bounded::Bounded;
use reading::Reading;
use scan::Scanner;
use sse::{Field, Lines, Piece};

/// What an answer told about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metered {
    /// The counts; all zero when `source` is [`UsageSource::None`].
    pub usage: TokenUsage,
    /// Where the counts come from. With `Estimated` and an `input` of zero the provider told nothing about the
    /// prompt either: the caller estimates it from the request.
    pub source: UsageSource,
    /// The model that answered, as the provider names it.
    pub model: Option<String>,
    /// The answer reached an end of its own: the terminal event of its dialect, an error event, or for JSON the end
    /// of the top-level value. A stream for which this is false was cut.
    pub ended: bool,
    /// The answer says that the request failed, whatever the status it began with.
    pub failed: bool,
    /// Bytes of generated text seen, as UTF-8 without JSON escapes.
    pub output_bytes: u64,
}

/// Follows one answer.
#[derive(Debug)]
pub struct Meter {
    framing: Framing,
    scanner: Scanner,
    reading: Reading,
}

impl Meter {
    /// For a body that is one JSON text.
    pub fn json(dialect: Dialect) -> Self {
        Self::new(dialect, Framing::Json)
    }

    /// For a `text/event-stream`.
    pub fn sse(dialect: Dialect) -> Self {
        Self::new(dialect, Framing::Sse(Events::default()))
    }

    fn new(dialect: Dialect, framing: Framing) -> Self {
        Self { framing, scanner: Scanner::new(dialect), reading: Reading::new(dialect) }
    }

    /// Takes the next bytes. They may be cut anywhere; the result does not depend on where.
    pub fn feed(&mut self, chunk: &[u8]) {
        match &mut self.framing {
            Framing::Json => self.scanner.feed(chunk, &mut self.reading),
            Framing::Sse(events) => events.feed(chunk, &mut self.scanner, &mut self.reading),
        }
    }

    /// The sum of what was fed.
    pub fn finish(mut self) -> Metered {
        let ended = match &self.framing {
            Framing::Json => {
                self.reading.end_event(true);
                self.scanner.is_closed()
            }
            Framing::Sse(events) => {
                // Some providers omit the empty line after the end mark; nothing is lost to a reader by that. Any
                // other event without it never reaches the caller's SDK, so it does not count as an end.
                if events.holds_end_mark() {
                    self.reading.end_mark();
                }
                self.reading.end_event(false);
                self.reading.ended()
            }
        };
        self.reading.finish(ended)
    }
}

#[derive(Debug)]
enum Framing {
    Json,
    Sse(Events),
}

/// Puts the lines of an event stream together to events.
#[derive(Debug, Default)]
struct Events {
    lines: Lines,
    name: Bounded<48>,
    /// The first bytes of the data: all that is needed to know `[DONE]`.
    head: Bounded<16>,
}

impl Events {
    fn feed(&mut self, mut chunk: &[u8], scanner: &mut Scanner, reading: &mut Reading) {
        while let Some(piece) = self.lines.next(&mut chunk) {
            match piece {
                Piece::Starts(Field::Data) => scanner.feed(b"\n", reading),
                Piece::Bytes(Field::Data, bytes) => {
                    self.head.push(bytes);
                    scanner.feed(bytes, reading);
                }
                Piece::Starts(Field::Event) => self.name.clear(),
                Piece::Bytes(Field::Event, bytes) => self.name.push(bytes),
                Piece::Blank => self.end_event(scanner, reading),
            }
        }
    }

    fn end_event(&mut self, scanner: &mut Scanner, reading: &mut Reading) {
        if self.holds_end_mark() {
            reading.end_mark();
        }
        if let Some(name) = self.name.get() {
            reading.kind(name);
        }
        reading.end_event(scanner.is_closed());
        scanner.reset();
        self.name.clear();
        self.head.clear();
    }

    fn holds_end_mark(&self) -> bool {
        self.head.get().is_some_and(|data| data.trim_ascii() == b"[DONE]")
    }
}
