//! Chunks of a body (RFC 9112 §7.1), taken apart as they come. Extensions and trailers are passed over.

use bytes::BytesMut;
use memchr::memchr;

use super::framing::{Malformed, Piece};

/// The longest line of a size with its extensions, and of a trailer.
const MAX_LINE: usize = 4096;
/// Extensions and trailers altogether: what is passed over is counted by nobody else.
const MAX_EXTRAS: usize = 16 * 1024;

/// Where in the chunks the next byte belongs.
#[derive(Debug, Default)]
pub struct Chunks {
    state: State,
    /// How long extensions and trailers were so far.
    extras: usize,
}

#[derive(Clone, Copy, Debug, Default)]
enum State {
    /// A line with the size of the next chunk.
    #[default]
    Size,
    /// So many bytes of a chunk.
    Data(u64),
    /// The end of the line behind a chunk.
    DataEnd,
    /// A trailer, or the empty line that ends all.
    Trailer,
    Over,
    /// Something was no chunk.
    Broken,
}

impl Chunks {
    /// Whether the last of them was taken.
    pub fn is_over(&self) -> bool {
        matches!(self.state, State::Over)
    }

    /// Takes the next piece out of what was read.
    pub fn next(&mut self, input: &mut BytesMut) -> Result<Piece, Malformed> {
        loop {
            match self.state {
                State::Data(left) => {
                    if input.is_empty() {
                        return Ok(Piece::More);
                    }
                    let take = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
                    let left = left - take as u64;
                    let data = input.split_to(take).freeze();
                    self.state = if left == 0 { State::DataEnd } else { State::Data(left) };
                    // What ends the chunk is mostly here as well, and so is the end of the body.
                    if left == 0 {
                        self.pass_ends(input);
                    }
                    return Ok(Piece::Data(data));
                }
                State::Over => return Ok(Piece::End),
                State::Broken => return Err(Malformed),
                _ => {
                    if !self.pass_line(input)? {
                        return Ok(Piece::More);
                    }
                }
            }
        }
    }

    /// Passes what needs no more bytes and brings no data. What is wrong with it is told when more is asked for: the
    /// piece before it was right.
    fn pass_ends(&mut self, input: &mut BytesMut) {
        while !matches!(self.state, State::Data(_) | State::Over) && self.pass_line(input) == Ok(true) {}
    }

    /// Passes one line, if all of it is here. Behind one that is wrong nothing is read any more.
    fn pass_line(&mut self, input: &mut BytesMut) -> Result<bool, Malformed> {
        let passed = self.read_line(input);
        if passed.is_err() {
            self.state = State::Broken;
        }
        passed
    }

    /// So many bytes say nothing that anybody reads.
    fn pass_over(&mut self, bytes: usize) -> Result<(), Malformed> {
        self.extras += bytes;
        if self.extras > MAX_EXTRAS { Err(Malformed) } else { Ok(()) }
    }

    fn read_line(&mut self, input: &mut BytesMut) -> Result<bool, Malformed> {
        let Some(end) = memchr(b'\n', input) else {
            return if input.len() > MAX_LINE { Err(Malformed) } else { Ok(false) };
        };
        if end > MAX_LINE {
            return Err(Malformed);
        }
        let line = input.split_to(end + 1);
        let line = line.strip_suffix(b"\r\n").ok_or(Malformed)?;
        self.state = match self.state {
            State::Size => {
                let (size, extension) = size(line)?;
                self.pass_over(extension)?;
                if size == 0 { State::Trailer } else { State::Data(size) }
            }
            State::DataEnd if line.is_empty() => State::Size,
            State::Trailer if line.is_empty() => State::Over,
            State::Trailer => {
                self.pass_over(line.len())?;
                State::Trailer
            }
            State::DataEnd | State::Data(_) | State::Over | State::Broken => return Err(Malformed),
        };
        Ok(true)
    }
}

/// The size that stands at the beginning of a line, and how long the extension behind it is.
fn size(line: &[u8]) -> Result<(u64, usize), Malformed> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let (digits, rest) = line.split_at(digits);
    let extension = rest.iter().find(|byte| !matches!(byte, b' ' | b'\t'));
    if digits.is_empty() || digits.len() > 16 || extension.is_some_and(|first| *first != b';') {
        return Err(Malformed);
    }
    // A line end inside of it is one for other readers.
    if rest.contains(&b'\r') {
        return Err(Malformed);
    }
    Ok((digits.iter().fold(0, |size, digit| size << 4 | u64::from(value(*digit))), rest.len()))
}

/// What a hexadecimal digit stands for.
fn value(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes it apart, given in pieces of this length; the data, and whether it ended.
    fn read(text: &[u8], step: usize) -> Result<(Vec<u8>, bool), Malformed> {
        let (mut chunks, mut input, mut data) = (Chunks::default(), BytesMut::new(), Vec::new());
        for piece in text.chunks(step) {
            input.extend_from_slice(piece);
            loop {
                match chunks.next(&mut input)? {
                    Piece::Data(more) => data.extend_from_slice(&more),
                    Piece::More => break,
                    Piece::End => return Ok((data, true)),
                }
            }
        }
        Ok((data, false))
    }

    #[test]
    fn chunks_are_put_together_however_they_come() {
        let text = b"3\r\nabc\r\n0A ; ext=\"1\"\r\n0123456789\r\n0\r\nx-trailer: 1\r\n\r\n";
        for step in 1..text.len() {
            assert_eq!(read(text, step), Ok((b"abc0123456789".to_vec(), true)), "{step}");
            assert_eq!(read(&text[..text.len() - 1], step).map(|read| read.1), Ok(false), "{step}");
        }
    }

    #[test]
    fn the_end_is_known_with_the_last_piece_when_it_is_here() {
        let (mut chunks, mut input) = (Chunks::default(), BytesMut::from("1\r\na\r\n0\r\n\r\n"));
        assert_eq!(chunks.next(&mut input), Ok(Piece::Data("a".into())));
        assert!(chunks.is_over() && input.is_empty());
    }

    #[test]
    fn what_is_wrong_behind_a_good_piece_is_told_after_it_and_ever_after() {
        let (mut chunks, mut input) = (Chunks::default(), BytesMut::from("1\r\na\r\nno size\r\n"));
        assert_eq!(chunks.next(&mut input), Ok(Piece::Data("a".into())));
        for _ in 0..2 {
            assert_eq!(chunks.next(&mut input), Err(Malformed));
        }
    }

    #[test]
    fn what_is_no_chunk_is_refused() {
        let long = format!("{}\r\n", "1".repeat(17));
        let line = format!("1;{}\r\n", "x".repeat(5000));
        let trailers = format!("0\r\n{}\r\n", "x: 0123456789\r\n".repeat(2000));
        let extensions = format!("1;{}\r\na\r\n", "x".repeat(4000)).repeat(5);
        for text in [
            "zz\r\n",
            "\r\n",
            "-1\r\n",
            "+1\r\n",
            "0x1\r\n",
            "1 1\r\n",
            "1\n",
            "1\r\nab\r\n",
            "1\r\na\n",
            "1;a\rb\r\n",
            "1\r\r\n",
            "1\r;a\r\n",
            "1\u{c};a\r\n",
            &long,
            &line,
            &trailers,
            &extensions,
        ] {
            for step in [1, 7, text.len()] {
                assert_eq!(read(text.as_bytes(), step), Err(Malformed), "{text:.60?} {step}");
            }
        }
    }
}
