//! Walks JSON as it streams past and reports what stands in the places that matter. Never builds a tree, and never
//! takes a text inside a string for structure.
//!
//! It is lenient: a malformed answer gives less, not an error, because the caller gets those bytes all the same.

use crate::dialect::Dialect;

use super::{bounded::Bounded, place::Place, reading::Reading, structure::next_structural};

/// Containers on the way to a place that matters. The longest path has six; deeper ones are nested arrays made up to
/// fill memory, and are passed over.
const MAX_LEVELS: usize = 12;

/// A number with more digits is no count of tokens.
const MAX_DIGITS: u8 = 15;

#[derive(Debug)]
pub(super) struct Scanner {
    dialect: Dialect,
    state: State,
    levels: [Level; MAX_LEVELS],
    depth: usize,
    /// Open containers below the levels, of which nothing is read.
    skipped: u32,
    /// Where the next value stands.
    slot: Place,
    expects_key: bool,
    closed: bool,
    /// The key or short value under the cursor.
    short: Bounded<128>,
}

#[derive(Clone, Copy, Debug)]
struct Level {
    place: Place,
    is_object: bool,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Outside of strings and counts, in a container that matters.
    Between,
    /// In a container of which nothing is read.
    Skipping,
    Inside(Role),
    /// After a backslash.
    Escape(Role),
    /// In the digits after `\u`.
    Unicode {
        role: Role,
        digits: u8,
        unit: u16,
    },
    Number {
        value: u64,
        digits: u8,
    },
}

/// What a string is read for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Nothing,
    Key,
    /// Its size counts.
    Text,
    /// Its value counts.
    Value,
}

impl Scanner {
    pub(super) fn new(dialect: Dialect) -> Self {
        Self {
            dialect,
            state: State::Between,
            levels: [Level { place: Place::Elsewhere, is_object: false }; MAX_LEVELS],
            depth: 0,
            skipped: 0,
            slot: Place::Root,
            expects_key: false,
            closed: false,
            short: Bounded::default(),
        }
    }

    /// Makes ready for the next JSON text.
    pub(super) fn reset(&mut self) {
        self.state = State::Between;
        self.depth = 0;
        self.skipped = 0;
        self.slot = Place::Root;
        self.expects_key = false;
        self.closed = false;
    }

    /// The top-level value has ended.
    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    pub(super) fn feed(&mut self, mut bytes: &[u8], reading: &mut Reading) {
        while !bytes.is_empty() && !self.closed {
            let used = match self.state {
                State::Between => self.between(bytes, reading),
                State::Skipping => self.skipping(bytes),
                State::Inside(role) => self.inside(role, bytes, reading),
                State::Escape(role) => self.escape(role, bytes, reading),
                State::Unicode { role, digits, unit } => self.unicode(role, digits, unit, bytes, reading),
                State::Number { value, digits } => self.number(value, digits, bytes, reading),
            };
            bytes = bytes.get(used..).unwrap_or_default();
        }
    }

    /// Goes on until the state changes.
    fn between(&mut self, bytes: &[u8], reading: &mut Reading) -> usize {
        for (at, &byte) in bytes.iter().enumerate() {
            match byte {
                b'"' => {
                    self.state = State::Inside(self.role(reading));
                    self.short.clear();
                    return at + 1;
                }
                b'{' | b'[' => {
                    self.open(byte == b'{', reading);
                    if self.skipped > 0 {
                        return at + 1;
                    }
                }
                b'}' | b']' => {
                    self.close(reading);
                    if self.closed {
                        return at + 1;
                    }
                }
                b',' => match self.top() {
                    Some(level) if level.is_object => {
                        self.expects_key = true;
                        self.slot = Place::Elsewhere;
                    }
                    Some(level) => self.slot = level.place,
                    None => {}
                },
                b'0'..=b'9' if matches!(self.slot, Place::Count(_)) => {
                    self.state = State::Number { value: 0, digits: 0 };
                    return at;
                }
                // A negative number is no count; do not read on at its digits.
                b'-' => self.slot = Place::Elsewhere,
                _ => {}
            }
        }
        bytes.len()
    }

    fn role(&self, reading: &Reading) -> Role {
        match self.slot {
            _ if self.expects_key => Role::Key,
            Place::Text => Role::Text,
            Place::Model if reading.has_model() => Role::Nothing,
            Place::Model | Place::Kind | Place::Error | Place::Finish => Role::Value,
            _ => Role::Nothing,
        }
    }

    fn top(&self) -> Option<Level> {
        self.levels.get(self.depth.checked_sub(1)?).copied()
    }

    fn open(&mut self, is_object: bool, reading: &mut Reading) {
        let place = if self.expects_key { Place::Elsewhere } else { self.slot };
        match self.levels.get_mut(self.depth) {
            Some(level) if place != Place::Elsewhere => {
                *level = Level { place, is_object };
                self.depth += 1;
                self.expects_key = is_object;
                reading.entered(place, is_object);
            }
            _ => {
                self.skipped = 1;
                self.state = State::Skipping;
            }
        }
    }

    fn close(&mut self, reading: &mut Reading) {
        if let Some(level) = self.top() {
            reading.left(level.place);
            self.depth -= 1;
            self.value_ended();
        }
    }

    fn value_ended(&mut self) {
        self.slot = Place::Elsewhere;
        self.expects_key = false;
        self.closed = self.depth == 0;
    }

    fn skipping(&mut self, bytes: &[u8]) -> usize {
        let at = next_structural(bytes);
        match bytes.get(at) {
            Some(b'"') => self.state = State::Inside(Role::Nothing),
            Some(b'{' | b'[') => self.skipped = self.skipped.saturating_add(1),
            Some(_) => {
                self.skipped -= 1;
                if self.skipped == 0 {
                    self.state = State::Between;
                    self.value_ended();
                }
            }
            None => return bytes.len(),
        }
        at + 1
    }

    fn inside(&mut self, role: Role, bytes: &[u8], reading: &mut Reading) -> usize {
        let end = memchr::memchr2(b'"', b'\\', bytes).unwrap_or(bytes.len());
        let (run, after) = bytes.split_at(end);
        match role {
            Role::Nothing => {}
            Role::Text => reading.text(run.len()),
            Role::Key | Role::Value => self.short.push(run),
        }
        match after.first() {
            Some(b'"') => self.string_ended(role, reading),
            Some(_) => self.state = State::Escape(role),
            None => return end,
        }
        end + 1
    }

    fn string_ended(&mut self, role: Role, reading: &mut Reading) {
        if self.skipped > 0 {
            self.state = State::Skipping;
            return;
        }
        self.state = State::Between;
        if role == Role::Key {
            let place = self.top().map_or(Place::Elsewhere, |level| level.place);
            self.slot = self.short.get().map_or(Place::Elsewhere, |key| place.child(self.dialect, key));
            self.expects_key = false;
        } else {
            if role == Role::Value {
                reading.value(self.slot, self.short.get());
            }
            self.value_ended();
        }
    }

    fn escape(&mut self, role: Role, bytes: &[u8], reading: &mut Reading) -> usize {
        let escaped = bytes.first().copied();
        self.state = State::Inside(role);
        match (role, escaped) {
            (Role::Text, Some(b'u')) => self.state = State::Unicode { role, digits: 0, unit: 0 },
            (Role::Text, _) => reading.text(1),
            // The one escape that common writers put into model names.
            (Role::Key | Role::Value, Some(b'/')) => self.short.push(b"/"),
            (Role::Key | Role::Value, _) => self.short.spoil(),
            (Role::Nothing, _) => {}
        }
        1
    }

    fn unicode(&mut self, role: Role, digits: u8, unit: u16, bytes: &[u8], reading: &mut Reading) -> usize {
        let digit = bytes.first().and_then(|&byte| char::from(byte).to_digit(16));
        let Some(digit) = digit else {
            // Malformed; what stands here is read as the string goes on.
            self.state = State::Inside(role);
            return 0;
        };
        let unit = unit << 4 | digit as u16;
        self.state = if digits < 3 {
            State::Unicode { role, digits: digits + 1, unit }
        } else {
            reading.text(match unit {
                0..0x80 => 1,
                // Half of a pair that makes four bytes.
                0x80..0x800 | 0xD800..0xE000 => 2,
                _ => 3,
            });
            State::Inside(role)
        };
        1
    }

    fn number(&mut self, mut value: u64, mut digits: u8, bytes: &[u8], reading: &mut Reading) -> usize {
        for (at, &byte) in bytes.iter().enumerate() {
            if byte.is_ascii_digit() {
                value = value.wrapping_mul(10).wrapping_add(u64::from(byte - b'0'));
                digits = digits.saturating_add(1);
                continue;
            }
            let is_integer = !matches!(byte, b'.' | b'e' | b'E' | b'+' | b'-');
            if let (Place::Count(count), true) = (self.slot, is_integer && digits <= MAX_DIGITS) {
                reading.count(count, value);
            }
            self.slot = Place::Elsewhere;
            self.state = State::Between;
            return at;
        }
        self.state = State::Number { value, digits };
        bytes.len()
    }
}
