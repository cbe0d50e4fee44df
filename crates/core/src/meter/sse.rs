//! Splits an event stream into its lines and fields. Never buffers a line: values are handed on as they come.
//!
//! Line ends are those of the HTML standard: LF, CR LF, or CR alone.

use super::bounded::Bounded;

/// The fields that are read; all others and comments are passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Data,
    Event,
}

/// What comes next in the stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// A line of this field begins.
    Starts(Field),
    /// A part of its value, never empty.
    Bytes(Field, &'a [u8]),
    /// The empty line that ends an event.
    Blank,
}

#[derive(Clone, Copy, Debug, Default)]
enum Part {
    #[default]
    Name,
    /// After the colon, where one space belongs to the framing.
    Colon(Option<Field>),
    Value(Option<Field>),
}

#[derive(Debug, Default)]
pub(super) struct Lines {
    part: Part,
    name: Bounded<8>,
    /// The last byte was a CR, so that an LF now belongs to the same line end.
    after_cr: bool,
}

impl Lines {
    /// Takes the next piece off the front of `rest`; nothing when more bytes are needed.
    pub(super) fn next<'a>(&mut self, rest: &mut &'a [u8]) -> Option<Piece<'a>> {
        loop {
            let (&first, tail) = rest.split_first()?;
            if std::mem::take(&mut self.after_cr) && first == b'\n' {
                *rest = tail;
                continue;
            }
            match self.part {
                Part::Name => {
                    *rest = tail;
                    match first {
                        b'\r' | b'\n' => {
                            let blank = self.name.get().is_some_and(<[u8]>::is_empty);
                            self.end_line(first);
                            if blank {
                                return Some(Piece::Blank);
                            }
                        }
                        b':' => self.part = Part::Colon(self.field()),
                        // A byte-order mark before the first name.
                        0x80.. if self.name.get().is_some_and(<[u8]>::is_empty) => {}
                        _ => self.name.push(&[first]),
                    }
                }
                Part::Colon(field) => {
                    if first == b' ' {
                        *rest = tail;
                    }
                    self.part = Part::Value(field);
                    if let Some(field) = field {
                        return Some(Piece::Starts(field));
                    }
                }
                Part::Value(field) => {
                    let all: &'a [u8] = rest;
                    let end = memchr::memchr2(b'\r', b'\n', all).unwrap_or(all.len());
                    let (value, after) = all.split_at(end);
                    *rest = match after.split_first() {
                        Some((&line_end, after)) => {
                            self.end_line(line_end);
                            after
                        }
                        None => after,
                    };
                    if let (Some(field), false) = (field, value.is_empty()) {
                        return Some(Piece::Bytes(field, value));
                    }
                }
            }
        }
    }

    fn end_line(&mut self, line_end: u8) {
        self.after_cr = line_end == b'\r';
        self.part = Part::Name;
        self.name.clear();
    }

    fn field(&self) -> Option<Field> {
        match self.name.get()? {
            b"data" => Some(Field::Data),
            b"event" => Some(Field::Event),
            _ => None,
        }
    }
}
