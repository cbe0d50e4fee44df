//! HTTP/1.1 connections: the guard lets out the same bytes however they come, and another reader finds in them the
//! heads that the guard found, none with a secret.
#![no_main]

use keyferry::fuzzing::ingress::http1;
use keyferry_core::headers::SECRET;
use keyferry_fuzz::cut;
use libfuzzer_sys::fuzz_target;

const STAND_IN: &[u8] = b"GET /.refused HTTP/1.1\r\nhost: refused\r\nconnection: close\r\n\r\n";

fuzz_target!(|data: &[u8]| {
    let Some((whole, pieces)) = cut(data) else { return };
    let at_once = http1([whole]);
    let in_pieces = http1(pieces);
    if at_once.refused == Some(true) {
        // Of a body that breaks off, more may have come out before.
        assert!(in_pieces.out.starts_with(&at_once.out));
        assert_eq!((&at_once.refused, &at_once.secrets), (&in_pieces.refused, &in_pieces.secrets));
    } else {
        assert_eq!(at_once, in_pieces);
    }

    let mut rest = at_once.out.as_slice();
    if at_once.refused == Some(false) {
        rest = rest.strip_suffix(STAND_IN).expect("the stand-in");
    } else {
        assert!(rest.len() <= whole.len());
    }
    // Follows the connection as the HTTP library behind the guard does: it has the same parser of heads.
    let mut extracted = at_once.secrets.iter();
    while !rest.is_empty() {
        let mut fields = [httparse::EMPTY_HEADER; 64];
        let mut head = httparse::Request::new(&mut fields);
        let Ok(httparse::Status::Complete(len)) = head.parse(rest) else { panic!("a head that is none") };
        let (mark, secrets) = extracted.next().expect("each head is told of");
        let (mut length, mut chunked, mut seen) = (0_usize, false, Vec::new());
        for field in head.headers.iter() {
            let name = field.name.to_ascii_lowercase();
            match name.as_str() {
                "content-length" => length = std::str::from_utf8(field.value).unwrap().parse().unwrap(),
                "transfer-encoding" => chunked = true,
                _ => {}
            }
            if let Some(known) = SECRET.into_iter().find(|secret| *secret == name) {
                assert!(is_mark(field.value, *mark));
                if !seen.contains(&known) {
                    let value = secrets.iter().find(|(name, _)| *name == known).map(|(_, value)| value);
                    assert_eq!(value.map(Vec::len), Some(field.value.len()));
                    seen.push(known);
                }
            }
        }
        assert_eq!(seen.len(), secrets.len());
        rest = &rest[len..];
        rest = if chunked { after_chunks(rest) } else { &rest[length.min(rest.len())..] };
    }
    assert!(extracted.next().is_none(), "a head was told of that did not come out");
});

fn is_mark(value: &[u8], number: u64) -> bool {
    let digits = format!("{number:x}").into_bytes();
    value
        .iter()
        .rev()
        .enumerate()
        .all(|(at, &byte)| byte == digits.len().checked_sub(at + 1).map_or(b'*', |digit| digits[digit]))
}

/// What follows a chunked body, or nothing if it is not complete.
fn after_chunks(mut rest: &[u8]) -> &[u8] {
    loop {
        let (len, size) = match httparse::parse_chunk_size(rest) {
            Ok(httparse::Status::Complete(chunk)) => chunk,
            Ok(httparse::Status::Partial) => return &[],
            Err(_) => panic!("a chunk that is none"),
        };
        let data = &rest[len..];
        let size = usize::try_from(size).unwrap().min(data.len());
        let end = &data[size..];
        match end {
            [] | [b'\r'] => return &[],
            [b'\r', b'\n', after @ ..] if size > 0 => rest = after,
            [b'\r', b'\n', after @ ..] => return after,
            _ => panic!("a chunk without an end"),
        }
    }
}
