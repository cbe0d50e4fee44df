//! Reading the head of an answer.

use std::mem::MaybeUninit;

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, Version, header};

use super::framing::Malformed;
use crate::http::end_of_head;

/// The longest head.
const MAX_HEAD: usize = 64 * 1024;
/// The most headers.
const MAX_HEADERS: usize = 128;
/// So many answers before the answer are passed over (RFC 9110 §15.2).
const MAX_INTERIM: usize = 32;

/// Looks for the end of a head among bytes as they come, none of them twice.
#[derive(Default)]
pub struct HeadReader {
    looked_at: usize,
    interim: usize,
}

impl HeadReader {
    /// Takes the head of an answer out of what was read, if all of it is here.
    pub fn take(&mut self, input: &mut BytesMut) -> Result<Option<Response<()>>, Malformed> {
        loop {
            // The end may lie across two reads.
            let from = self.looked_at.saturating_sub(3);
            let Some(end) = end_of_head(&input[from..]).map(|end| from + end) else {
                self.looked_at = input.len();
                return if input.len() > MAX_HEAD { Err(Malformed) } else { Ok(None) };
            };
            if end > MAX_HEAD {
                return Err(Malformed);
            }
            let head = read(&input[..end])?;
            input.advance(end);
            self.looked_at = 0;
            // That it is about to switch protocols is an answer; everything else below 200 is a word between.
            if !head.status().is_informational() || head.status() == StatusCode::SWITCHING_PROTOCOLS {
                return Ok(Some(head));
            }
            self.interim += 1;
            if self.interim > MAX_INTERIM {
                return Err(Malformed);
            }
        }
    }
}

fn read(text: &[u8]) -> Result<Response<()>, Malformed> {
    let mut fields = [MaybeUninit::uninit(); MAX_HEADERS];
    let mut parsed = httparse::Response::new(&mut []);
    let parser = httparse::ParserConfig::default();
    let done = parser.parse_response_with_uninit_headers(&mut parsed, text, &mut fields);
    if done != Ok(httparse::Status::Complete(text.len())) {
        return Err(Malformed);
    }
    let status = parsed.code.and_then(|code| StatusCode::from_u16(code).ok()).ok_or(Malformed)?;
    let mut response = Response::new(());
    *response.status_mut() = status;
    *response.version_mut() = if parsed.version == Some(1) { Version::HTTP_11 } else { Version::HTTP_10 };
    let headers = response.headers_mut();
    headers.reserve(parsed.headers.len());
    // Values share one copy of the head, so that none of them keeps the connection's buffer. In an error each has its own:
    // an error may quote the key, and whoever takes one value must not keep the others by it.
    let shared = (!quotes(status)).then(|| Bytes::copy_from_slice(text));
    for field in parsed.headers.iter() {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| Malformed)?;
        let value = match &shared {
            Some(shared) => {
                let at = field.value.as_ptr().addr() - text.as_ptr().addr();
                HeaderValue::from_maybe_shared(shared.slice(at..at + field.value.len()))
            }
            None => HeaderValue::from_bytes(field.value),
        };
        headers.try_append(name, value.map_err(|_| Malformed)?).map_err(|_| Malformed)?;
    }
    Ok(response)
}

/// Whether what such an answer says may be about the key.
pub(super) fn quotes(status: StatusCode) -> bool {
    status.as_u16() >= 400
}

/// Whether the connection may serve on after this answer (RFC 9112 §9.3).
pub(super) fn persists(version: Version, headers: &HeaderMap) -> bool {
    let says = |word: &str| {
        let mut values = headers
            .get_all(header::CONNECTION)
            .iter()
            .flat_map(|value| value.as_bytes().split(|&byte| byte == b','));
        values.any(|option| option.trim_ascii().eq_ignore_ascii_case(word.as_bytes()))
    };
    !says("close") && (version == Version::HTTP_11 || says("keep-alive"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads it in pieces of this length.
    fn take(text: &str, step: usize) -> Result<Option<(Response<()>, BytesMut)>, Malformed> {
        let (mut reader, mut input) = (HeadReader::default(), BytesMut::new());
        let mut pieces = text.as_bytes().chunks(step);
        while let Some(piece) = pieces.next() {
            input.extend_from_slice(piece);
            if let Some(head) = reader.take(&mut input)? {
                pieces.for_each(|piece| input.extend_from_slice(piece));
                return Ok(Some((head, input)));
            }
        }
        Ok(None)
    }

    #[test]
    fn a_head_is_read_however_it_comes_and_what_follows_is_left() {
        let text = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\nA: b\r\na:c \r\n\r\nbody";
        for step in 1..text.len() {
            let (head, rest) = take(text, step).expect("well-formed").expect("whole");
            assert_eq!((head.status(), head.version()), (StatusCode::OK, Version::HTTP_11));
            let values: Vec<_> = head.headers().get_all("a").iter().map(HeaderValue::as_bytes).collect();
            assert_eq!((values, &rest[..]), (vec![&b"b"[..], b"c"], &b"body"[..]), "{step}");
        }
        assert!(take(&text[..text.len() - 6], 9).expect("so far").is_none());
    }

    #[test]
    fn what_is_no_head_is_refused() {
        let long = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "x".repeat(MAX_HEAD));
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(MAX_HEADERS + 1));
        let endless = "HTTP/1.1 100 Continue\r\n\r\n".repeat(MAX_INTERIM + 1);
        for text in [
            "HTTP/2 200 OK\r\n\r\n",
            "HTTP/1.1 20 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
            "HTTP/1.1 200 OK\r\na: b\r\n c\r\n\r\n",
            "HTTP/1.1 200 OK\r\na : b\r\n\r\n",
            "HTTP/1.1 200 OK\r\na: b\0c\r\n\r\n",
            "HTTP/1.1 000 OK\r\n\r\n",
            &long,
            &many,
            &endless,
        ] {
            assert!(take(text, 4096).is_err(), "{text:.60?}");
        }
    }

    #[test]
    fn a_connection_persists_unless_one_of_both_says_otherwise() {
        let of = |version, value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONNECTION, HeaderValue::from_static(value));
            persists(version, &headers)
        };
        assert!(
            persists(Version::HTTP_11, &HeaderMap::new()) && !persists(Version::HTTP_10, &HeaderMap::new())
        );
        assert!(of(Version::HTTP_10, "Keep-Alive") && !of(Version::HTTP_11, "x, CLOSE"));
        assert!(!of(Version::HTTP_10, "keep-alive, close"));
    }
}
