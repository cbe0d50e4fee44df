//! HTTP/2 by hand: frames and header blocks that no library would write.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::timeout,
};

/// What a connection begins with (RFC 9113 §3.4).
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const MAX_FRAME: usize = 16_384;
const PATIENCE: Duration = Duration::from_secs(5);

pub(crate) const DATA: u8 = 0x0;
pub(crate) const HEADERS: u8 = 0x1;
pub(crate) const RST_STREAM: u8 = 0x3;
pub(crate) const SETTINGS: u8 = 0x4;
const PING: u8 = 0x6;
pub(crate) const GOAWAY: u8 = 0x7;
const CONTINUATION: u8 = 0x9;

pub(crate) const END_STREAM: u8 = 0x1;
const ACK: u8 = 0x1;
pub(crate) const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY_FLAG: u8 = 0x20;

/// One frame.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a frame's length").to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// A field as a literal without indexing, its name spelled out (RFC 7541 §6.2.2).
pub(crate) fn literal(name: &[u8], value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0];
    for text in [name, value] {
        integer(&mut bytes, text.len());
        bytes.extend_from_slice(text);
    }
    bytes
}

fn integer(bytes: &mut Vec<u8>, number: usize) {
    if number < 127 {
        bytes.push(number as u8);
        return;
    }
    bytes.push(127);
    let mut rest = number - 127;
    while rest >= 128 {
        bytes.push((rest % 128) as u8 | 0x80);
        rest /= 128;
    }
    bytes.push(rest as u8);
}

/// A head in as many frames as it needs.
pub(crate) fn head(stream: u32, fields: &[(Vec<u8>, Vec<u8>)], end_stream: bool) -> Vec<u8> {
    let block: Vec<u8> = fields.iter().flat_map(|(name, value)| literal(name, value)).collect();
    let pieces: Vec<&[u8]> = block.chunks(MAX_FRAME).collect();
    let mut bytes = Vec::new();
    for (at, piece) in pieces.iter().enumerate() {
        let kind = if at == 0 { HEADERS } else { CONTINUATION };
        let mut flags = if at + 1 == pieces.len() { END_HEADERS } else { 0 };
        if at == 0 && end_stream {
            flags |= END_STREAM;
        }
        bytes.extend(frame(kind, flags, stream, piece));
    }
    bytes
}

/// The beginning of a client's connection: the preface, and settings that forbid a dynamic table.
pub(crate) fn hello() -> Vec<u8> {
    let no_table = [0, 1, 0, 0, 0, 0];
    [PREFACE, &frame(SETTINGS, 0, 0, &no_table)].concat()
}

/// What became of a stream.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// The status, if there was an answer.
    pub(crate) status: Option<u16>,
    /// Its body.
    pub(crate) body: Vec<u8>,
    /// All that came back, as it came.
    pub(crate) raw: Vec<u8>,
    /// The stream or the connection ended in an error, or the connection was closed.
    pub(crate) refused: bool,
}

impl Outcome {
    /// Denied in any of the ways that count as such.
    pub(crate) fn is_denied(&self) -> bool {
        match self.status {
            Some(status) => (400..500).contains(&status),
            None => self.refused,
        }
    }
}

/// Sends a request on a new connection's first stream and reads what comes back.
pub(crate) async fn exchange<T>(mut io: T, fields: &[(Vec<u8>, Vec<u8>)], body: Option<&[u8]>) -> Outcome
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let mut bytes = hello();
    bytes.extend(head(1, fields, body.is_none()));
    if let Some(body) = body {
        bytes.extend(frame(DATA, END_STREAM, 1, body));
    }
    send(&mut io, &bytes).await;
    read(&mut io, 1).await
}

/// Writes; a peer that refuses may close before it has read all, which is no failure of a test.
pub(crate) async fn send<T: AsyncWrite + Unpin>(io: &mut T, bytes: &[u8]) {
    let _ = timeout(PATIENCE, async {
        let _ = io.write_all(bytes).await;
        let _ = io.flush().await;
    })
    .await;
}

/// Reads frames until the stream has ended in some way.
pub(crate) async fn read<T>(io: &mut T, stream: u32) -> Outcome
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let mut outcome = Outcome::default();
    let ended = timeout(PATIENCE, async {
        while let Some((kind, flags, on, payload)) = next(io, &mut outcome.raw).await {
            match kind {
                SETTINGS if flags & ACK == 0 => send(io, &frame(SETTINGS, ACK, 0, &[])).await,
                PING if flags & ACK == 0 => send(io, &frame(PING, ACK, 0, &payload)).await,
                HEADERS if on == stream => {
                    outcome.status = outcome.status.or(status(block_of(flags, &payload)));
                    if flags & END_STREAM != 0 {
                        return;
                    }
                }
                DATA if on == stream => {
                    outcome.body.extend_from_slice(&payload);
                    if flags & END_STREAM != 0 {
                        return;
                    }
                }
                RST_STREAM if on == stream => {
                    outcome.refused = true;
                    return;
                }
                GOAWAY => {
                    // A graceful one lets the stream end.
                    let error = payload.get(4..8).is_some_and(|code| code != [0; 4]);
                    if error {
                        outcome.refused = true;
                        return;
                    }
                }
                _ => {}
            }
        }
        outcome.refused = true;
    });
    assert!(ended.await.is_ok(), "stream {stream} was neither answered nor refused: {outcome:?}");
    outcome
}

/// Reads frames until so many streams have ended with an answer; their bodies.
pub(crate) async fn bodies<T>(io: &mut T, streams: usize) -> HashMap<u32, Vec<u8>>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let (mut bodies, mut ended) = (HashMap::<u32, Vec<u8>>::new(), 0);
    let read = timeout(PATIENCE, async {
        while ended < streams {
            let (kind, flags, on, payload) = next(io, &mut Vec::new()).await.expect("more frames");
            match kind {
                SETTINGS if flags & ACK == 0 => send(io, &frame(SETTINGS, ACK, 0, &[])).await,
                DATA => {
                    bodies.entry(on).or_default().extend(payload);
                    ended += usize::from(flags & END_STREAM != 0);
                }
                GOAWAY => panic!("the connection ended"),
                _ => {}
            }
        }
    });
    assert!(read.await.is_ok(), "{ended} of {streams} streams were answered");
    bodies
}

/// All frames until the connection ends: kind, flags, stream, and when they came. Nothing is answered, not
/// a ping either.
pub(crate) async fn until_the_end<T: AsyncRead + Unpin>(io: &mut T) -> Vec<(u8, u8, u32, Instant)> {
    let mut frames = Vec::new();
    let read = timeout(PATIENCE, async {
        while let Some((kind, flags, on, _)) = next(io, &mut Vec::new()).await {
            frames.push((kind, flags, on, Instant::now()));
        }
    });
    assert!(read.await.is_ok(), "the connection is still open: {frames:?}");
    frames
}

/// The next frame, or nothing at the end of the connection.
async fn next<T: AsyncRead + Unpin>(io: &mut T, raw: &mut Vec<u8>) -> Option<(u8, u8, u32, Vec<u8>)> {
    let mut start = [0; 9];
    io.read_exact(&mut start).await.ok()?;
    let length = u32::from_be_bytes([0, start[0], start[1], start[2]]) as usize;
    let stream = u32::from_be_bytes([start[5], start[6], start[7], start[8]]) & 0x7fff_ffff;
    let mut payload = vec![0; length];
    io.read_exact(&mut payload).await.ok()?;
    raw.extend_from_slice(&payload);
    Some((start[3], start[4], stream, payload))
}

fn block_of(flags: u8, payload: &[u8]) -> &[u8] {
    let (mut from, mut to) = (0, payload.len());
    if flags & PADDED != 0 {
        from = 1;
        to -= usize::from(payload[0]);
    }
    if flags & PRIORITY_FLAG != 0 {
        from += 5;
    }
    &payload[from..to]
}

/// The status of a header block, which comes first in it (RFC 9113 §8.3.2).
fn status(mut block: &[u8]) -> Option<u16> {
    while block.first().is_some_and(|byte| byte & 0xe0 == 0x20) {
        block = &block[1..];
    }
    let (&first, rest) = block.split_first()?;
    let indexed = [200, 204, 206, 304, 400, 404, 500];
    if first & 0x80 != 0 {
        return indexed.get(usize::from(first & 0x7f).checked_sub(8)?).copied();
    }
    let (&length, rest) = rest.split_first()?;
    let text = rest.get(..usize::from(length & 0x7f))?;
    let digits = if length & 0x80 == 0 { text.to_vec() } else { huffman_digits(text)? };
    std::str::from_utf8(&digits).ok()?.parse().ok()
}

/// Three digits in the static Huffman code: five bits for 0 to 2, six for the others.
fn huffman_digits(text: &[u8]) -> Option<Vec<u8>> {
    let bits: Vec<u8> = text.iter().flat_map(|byte| (0..8).rev().map(move |at| byte >> at & 1)).collect();
    let mut at = 0;
    let mut digits = Vec::new();
    while digits.len() < 3 {
        let number = |bits: &[u8]| bits.iter().fold(0, |sum, bit| sum * 2 + bit);
        let five = number(bits.get(at..at + 5)?);
        if five < 3 {
            digits.push(b'0' + five);
            at += 5;
        } else {
            digits.push(b'3' + number(bits.get(at..at + 6)?).checked_sub(0b01_1001)?);
            at += 6;
        }
    }
    Some(digits)
}
