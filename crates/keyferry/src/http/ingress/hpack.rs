//! Reads the header blocks of HTTP/2 (RFC 7541), and keeps secrets in memory that is wiped while it does.

use std::collections::VecDeque;

use keyferry_envelope::SecretBytes;
use zeroize::Zeroizing;

use super::{MAX_FIELDS, huffman, wipe};
use crate::http::secrets::secret_name;

/// A block breaks a rule, or asks for more than is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// The size of the table that a client may use before it has read our settings, in which it is zero.
const MAX_TABLE: usize = 4096;
/// So many bytes of secrets a table remembers at most. Until it has read our settings, a client that serves some may send
/// the keys of several; beyond that only those are of use that nobody refers to again.
const MAX_SECRETS: usize = 1024;
/// What an entry counts for besides its texts (RFC 7541 §4.1).
pub(super) const ENTRY: usize = 32;
/// The most fields of a block. Some more than a request may have, so that one with a few too many gets an answer.
const MAX_IN_BLOCK: usize = 2 * MAX_FIELDS;

/// The state of one connection's compression.
pub(super) struct Decoder {
    table: VecDeque<Entry>,
    size: usize,
    max: usize,
    /// What `max` may be set to.
    limit: usize,
    /// How much the secrets in the table take up, about.
    secrets: usize,
}

struct Entry {
    name: Vec<u8>,
    value: Value,
}

enum Value {
    Plain(Vec<u8>),
    Secret(SecretBytes),
    /// A secret of this length that is not kept.
    Forgotten(usize),
}

impl Entry {
    fn value(&self) -> Result<&[u8], Malformed> {
        match &self.value {
            Value::Plain(value) => Ok(value),
            Value::Secret(value) => Ok(value.expose()),
            Value::Forgotten(_) => Err(Malformed),
        }
    }

    fn size(&self) -> usize {
        let value = match &self.value {
            Value::Plain(value) => value.len(),
            Value::Secret(value) => value.expose().len(),
            Value::Forgotten(length) => *length,
        };
        self.name.len() + value + ENTRY
    }

    /// What it takes up of locked memory, about.
    fn locked(&self) -> usize {
        if let Value::Secret(value) = &self.value { room(value.expose().len()) } else { 0 }
    }
}

/// What a secret of this length takes up, about.
fn room(length: usize) -> usize {
    length.max(64)
}

impl Decoder {
    pub(super) fn new() -> Self {
        Self { table: VecDeque::new(), size: 0, max: MAX_TABLE, limit: MAX_TABLE, secrets: 0 }
    }

    /// The client has read our settings: from here on there is no table (RFC 9113 §4.3.1).
    pub(super) fn end_table(&mut self) {
        (self.max, self.limit) = (0, 0);
        self.shrink_to(0);
    }

    /// Whether there are secrets in the table.
    pub(super) fn keeps_secrets(&self) -> bool {
        self.secrets > 0
    }

    /// Reads a block and shows each field, name and value.
    pub(super) fn decode(
        &mut self,
        mut block: &[u8],
        mut field: impl FnMut(&[u8], &[u8]),
    ) -> Result<(), Malformed> {
        let mut fields = 0;
        let (mut name, mut value) = (Zeroizing::new(Vec::new()), Zeroizing::new(Vec::new()));
        while let Some(&first) = block.first() {
            if first & 0xe0 == 0x20 {
                let max = integer(&mut block, 5)?;
                if fields > 0 || max > self.limit {
                    return Err(Malformed);
                }
                self.max = max;
                self.shrink_to(max);
                continue;
            }
            fields += 1;
            if fields > MAX_IN_BLOCK {
                return Err(Malformed);
            }
            if first & 0x80 != 0 {
                let (known, text) = self.field(integer(&mut block, 7)?)?;
                field(known, text);
                continue;
            }
            let indexed = first & 0x40 != 0;
            let index = integer(&mut block, if indexed { 6 } else { 4 })?;
            if index == 0 {
                string(&mut block, &mut name)?;
            } else {
                name.extend_from_slice(self.name(index)?);
            }
            string(&mut block, &mut value)?;
            field(&name, &value);
            if indexed {
                self.insert(&name, &value);
            }
            wipe(&mut name);
            wipe(&mut value);
        }
        Ok(())
    }

    fn field(&self, index: usize) -> Result<(&[u8], &[u8]), Malformed> {
        match self.known(index)? {
            Known::Static(name, value) => Ok((name.as_bytes(), value.as_bytes())),
            Known::Entry(entry) => Ok((&entry.name, entry.value()?)),
        }
    }

    fn name(&self, index: usize) -> Result<&[u8], Malformed> {
        match self.known(index)? {
            Known::Static(name, _) => Ok(name.as_bytes()),
            Known::Entry(entry) => Ok(&entry.name),
        }
    }

    fn known(&self, index: usize) -> Result<Known<'_>, Malformed> {
        let index = index.checked_sub(1).ok_or(Malformed)?;
        if let Some((name, value)) = STATIC.get(index) {
            return Ok(Known::Static(name, value));
        }
        self.table.get(index - STATIC.len()).map(Known::Entry).ok_or(Malformed)
    }

    fn insert(&mut self, name: &[u8], value: &[u8]) {
        let size = name.len() + value.len() + ENTRY;
        self.shrink_to(self.max.saturating_sub(size));
        if size > self.max {
            return;
        }
        let value = match secret_name(name) {
            Some(_) if self.secrets + room(value.len()) > MAX_SECRETS => Value::Forgotten(value.len()),
            Some(_) => Value::Secret(SecretBytes::incoming(value)),
            None => Value::Plain(value.to_vec()),
        };
        let entry = Entry { name: name.to_vec(), value };
        self.size += size;
        self.secrets += entry.locked();
        self.table.push_front(entry);
    }

    fn shrink_to(&mut self, max: usize) {
        while self.size > max {
            let Some(entry) = self.table.pop_back() else { return };
            self.size -= entry.size();
            self.secrets -= entry.locked();
        }
    }
}

/// What an index leads to.
enum Known<'t> {
    Static(&'static str, &'static str),
    Entry(&'t Entry),
}

/// An integer whose first byte has this many bits of it (RFC 7541 §5.1).
fn integer(block: &mut &[u8], bits: u32) -> Result<usize, Malformed> {
    let mask = (1_u8 << bits) - 1;
    let mut value = usize::from(byte(block)? & mask);
    if value < usize::from(mask) {
        return Ok(value);
    }
    // Four more bytes are far more than any length here.
    for shift in [0, 7, 14, 21] {
        let byte = byte(block)?;
        value += usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(Malformed)
}

fn byte(block: &mut &[u8]) -> Result<u8, Malformed> {
    let (&first, rest) = block.split_first().ok_or(Malformed)?;
    *block = rest;
    Ok(first)
}

fn string(block: &mut &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    let huffman = block.first().is_some_and(|first| first & 0x80 != 0);
    let length = integer(block, 7)?;
    let (text, rest) = block.split_at_checked(length).ok_or(Malformed)?;
    *block = rest;
    if huffman {
        return huffman::decode(text, out);
    }
    out.extend_from_slice(text);
    Ok(())
}

/// A field as a literal that no table remembers.
pub(super) fn encode(name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    out.push(0);
    for text in [name, value] {
        encode_length(text.len(), out);
        out.extend_from_slice(text);
    }
}

fn encode_length(mut length: usize, out: &mut Vec<u8>) {
    if length < 127 {
        out.push(length as u8);
        return;
    }
    out.push(127);
    length -= 127;
    while length >= 128 {
        out.push(length as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
}

/// The table that every connection begins with (RFC 7541, appendix A).
#[rustfmt::skip]
const STATIC: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];

#[cfg(test)]
mod tests;
