//! The ingress guard's readers without a connection, for fuzzing.

use super::{
    Extracted,
    frames::Frames,
    hpack::{Decoder, encode},
    huffman,
    scan::{Scanner, Verdict},
};

/// Name and value.
pub type Field = (Vec<u8>, Vec<u8>);

/// What one connection's bytes became.
#[derive(Debug, PartialEq, Eq)]
pub struct Passed {
    /// What the library sees.
    pub out: Vec<u8>,
    /// Whether something was refused, and of a body.
    pub refused: Option<bool>,
    /// For each head with secrets: the number of its mark, and the first value of each secret header.
    pub secrets: Vec<(u64, Vec<(&'static str, Vec<u8>)>)>,
}

fn told(extracted: Extracted) -> (u64, Vec<(&'static str, Vec<u8>)>) {
    let values = extracted.secrets.all().map(|(name, value)| (name, value.to_vec())).collect();
    (extracted.mark.0, values)
}

/// HTTP/1.1 that comes in these pieces.
pub fn http1<'p>(pieces: impl IntoIterator<Item = &'p [u8]>) -> Passed {
    let mut scanner = Scanner::new();
    let mut passed = Passed { out: Vec::new(), refused: None, secrets: Vec::new() };
    for piece in pieces {
        match scanner.scan(piece, &mut passed.out) {
            Verdict::Taken => {}
            Verdict::HeadRefused(refusal) | Verdict::BodyRefused(refusal) => {
                assert_eq!(passed.refused, None, "refused again");
                assert!(scanner.is_refused());
                passed.refused = Some(refusal.of_body);
            }
        }
        passed.secrets.extend(scanner.extracted().map(told));
    }
    passed
}

/// The frames of HTTP/2 that come in these pieces, the preface first.
pub fn http2<'p>(preface: usize, pieces: impl IntoIterator<Item = &'p [u8]>) -> Passed {
    let mut frames = Frames::after(preface);
    let mut passed = Passed { out: Vec::new(), refused: None, secrets: Vec::new() };
    for piece in pieces {
        // It stops behind each head with secrets, and when enough was put out.
        let mut rest = piece;
        while !rest.is_empty() && !frames.is_broken() {
            let mut out = Vec::new();
            rest = &rest[frames.feed(rest, &mut out)..];
            passed.out.append(&mut out);
            passed.secrets.extend(frames.extracted().map(told));
        }
    }
    passed.refused = frames.is_broken().then_some(false);
    passed
}

/// The fields of header blocks that follow each other on one connection, as far as they are well-formed.
pub fn hpack<'b>(blocks: impl IntoIterator<Item = &'b [u8]>) -> Vec<Option<Vec<Field>>> {
    let mut decoder = Decoder::new();
    let mut all = Vec::new();
    for block in blocks {
        let mut fields = Vec::new();
        let read = decoder.decode(block, |name, value| fields.push((name.to_vec(), value.to_vec())));
        let is_good = read.is_ok();
        all.push(is_good.then_some(fields));
        if !is_good {
            break;
        }
    }
    all
}

/// Fields as they are put out.
pub fn literals<'f>(fields: impl IntoIterator<Item = &'f Field>) -> Vec<u8> {
    let mut block = Vec::new();
    fields.into_iter().for_each(|(name, value)| encode(name, value, &mut block));
    block
}

/// The text of a Huffman code.
pub fn huffman(code: &[u8]) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    huffman::decode(code, &mut text).ok().map(|()| text)
}
