//! HTTP/1.1 as far as it is needed here: heads, and bodies by their length or in chunks.

use anyhow::bail;
use memchr::{memchr, memmem};

/// How the end of a body is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    Length(usize),
    Chunked,
}

/// What a head says.
#[derive(Debug)]
pub struct Head<'a> {
    /// Its length.
    pub length: usize,
    /// 0 in a request.
    pub status: u16,
    pub framing: Framing,
    /// The other side closes the connection behind this.
    pub closes: bool,
    pub authorization: Option<&'a [u8]>,
}

/// The head at the beginning of the bytes, if it is all there.
pub fn head(bytes: &[u8], request: bool) -> anyhow::Result<Option<Head<'_>>> {
    if memmem::find(bytes, b"\r\n\r\n").is_none() {
        return Ok(None);
    }
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let (length, status) = if request {
        let mut parsed = httparse::Request::new(&mut headers);
        (parsed.parse(bytes)?, 0)
    } else {
        let mut parsed = httparse::Response::new(&mut headers);
        (parsed.parse(bytes)?, parsed.code.unwrap_or_default())
    };
    let httparse::Status::Complete(length) = length else { return Ok(None) };
    let mut head = Head { length, status, framing: Framing::Length(0), closes: false, authorization: None };
    for header in headers.iter().take_while(|header| !header.name.is_empty()) {
        let is = |name: &str| header.name.eq_ignore_ascii_case(name);
        if is("content-length") {
            let length = std::str::from_utf8(header.value)?.trim().parse()?;
            head.framing = Framing::Length(length);
        } else if is("transfer-encoding") {
            head.framing = Framing::Chunked;
        } else if is("connection") {
            head.closes = header.value.eq_ignore_ascii_case(b"close");
        } else if is("authorization") {
            head.authorization = Some(header.value);
        }
    }
    Ok(Some(head))
}

/// Takes chunks apart as they come.
#[derive(Debug, Default)]
pub struct Chunks {
    left: usize,
    /// The line end behind a chunk is still to come.
    ends: bool,
    last: bool,
}

impl Chunks {
    /// Takes what it can from `bytes`; answers how much that was, and whether this was the end.
    pub fn take(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> anyhow::Result<(usize, bool)> {
        let mut at = 0;
        loop {
            if self.left > 0 {
                let now = self.left.min(bytes.len() - at);
                out.extend_from_slice(&bytes[at..at + now]);
                (at, self.left) = (at + now, self.left - now);
                if self.left > 0 {
                    return Ok((at, false));
                }
                self.ends = true;
            }
            let Some(end) = memchr(b'\n', &bytes[at..]) else { return Ok((at, false)) };
            let line = bytes[at..at + end].trim_ascii();
            at += end + 1;
            if self.last && line.is_empty() {
                *self = Self::default();
                return Ok((at, true));
            } else if self.last {
                // A trailer.
            } else if self.ends {
                if !line.is_empty() {
                    bail!("a chunk is longer than it said");
                }
                self.ends = false;
            } else {
                let size = std::str::from_utf8(line)?.split(';').next().unwrap_or_default();
                self.left = usize::from_str_radix(size.trim(), 16)?;
                self.last = self.left == 0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_put_together_wherever_the_bytes_are_cut() {
        let bytes = b"5\r\nhello\r\n1;x=y\r\n,\r\n6\r\n world\r\n0\r\n\r\n";
        for cut in 0..bytes.len() {
            let (mut chunks, mut out, mut held) = (Chunks::default(), Vec::new(), Vec::new());
            let mut done = false;
            for part in [&bytes[..cut], &bytes[cut..]] {
                held.extend_from_slice(part);
                let (taken, end) = chunks.take(&held, &mut out).expect("chunks");
                held.drain(..taken);
                done = end;
            }
            assert!(done && held.is_empty() && out == b"hello, world", "cut at {cut}");
        }
    }

    #[test]
    fn a_head_is_read_when_it_is_whole() {
        let text = b"HTTP/1.1 429 Too Many\r\nContent-Length: 7\r\nConnection: close\r\n\r\n";
        assert!(head(&text[..text.len() - 1], false).expect("a beginning").is_none());
        let head = head(text, false).expect("a head").expect("whole");
        assert_eq!((head.status, head.framing, head.closes), (429, Framing::Length(7), true));
        assert_eq!(head.length, text.len());
    }
}
