//! Where the body of an answer ends (RFC 9112 §6).

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, StatusCode, Version, header};

use super::chunks::Chunks;

/// What was read is not what its head says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// How the end of a body is known.
#[derive(Debug)]
pub enum Framing {
    /// So many bytes are still to come.
    Length(u64),
    /// The chunks say it.
    Chunked(Chunks),
    /// The connection ends with it.
    UntilClose,
}

/// What can be said of the bytes that are here.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece {
    /// They go on.
    Data(Bytes),
    /// There must come more.
    More,
    /// The body is over.
    End,
}

impl Framing {
    /// What the head of an answer to such a request says.
    ///
    /// Two ways of saying it are one too many: where they differ, two readers would find two ends.
    pub fn of(
        method: &Method,
        status: StatusCode,
        version: Version,
        headers: &HeaderMap,
    ) -> Result<Self, Malformed> {
        let length = content_length(headers)?;
        let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
        let coding = codings.next();
        if matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
            || *method == Method::HEAD
            || status.is_informational()
        {
            return Ok(Self::Length(0));
        }
        match (coding, length) {
            (None, Some(length)) => Ok(Self::Length(length)),
            (None, None) => Ok(Self::UntilClose),
            (Some(coding), None)
                if codings.next().is_none()
                    && version == Version::HTTP_11
                    && coding.as_bytes().eq_ignore_ascii_case(b"chunked") =>
            {
                Ok(Self::Chunked(Chunks::default()))
            }
            (Some(_), _) => Err(Malformed),
        }
    }

    /// Takes the next piece out of what was read.
    pub fn next(&mut self, input: &mut BytesMut) -> Result<Piece, Malformed> {
        match self {
            _ if self.is_over() => Ok(Piece::End),
            Self::Chunked(chunks) => chunks.next(input),
            _ if input.is_empty() => Ok(Piece::More),
            Self::Length(left) => {
                let take = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                *left -= take as u64;
                Ok(Piece::Data(input.split_to(take).freeze()))
            }
            Self::UntilClose => Ok(Piece::Data(input.split().freeze())),
        }
    }

    /// What it means when the connection ends here.
    pub fn closed(&self) -> Result<(), Malformed> {
        if matches!(self, Self::UntilClose) { Ok(()) } else { Err(Malformed) }
    }

    /// Whether nothing more comes, as far as that is known without asking.
    pub fn is_over(&self) -> bool {
        match self {
            Self::Length(left) => *left == 0,
            Self::Chunked(chunks) => chunks.is_over(),
            Self::UntilClose => false,
        }
    }

    /// So many bytes are still to come, where that is said.
    pub fn length(&self) -> Option<u64> {
        match self {
            Self::Length(left) => Some(*left),
            _ => None,
        }
    }
}

/// All that say a length must say the same, in digits alone.
fn content_length(headers: &HeaderMap) -> Result<Option<u64>, Malformed> {
    let mut found = None;
    for value in headers.get_all(header::CONTENT_LENGTH) {
        let digits = value.as_bytes();
        if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
            return Err(Malformed);
        }
        let length = std::str::from_utf8(digits).ok().and_then(|text| text.parse().ok()).ok_or(Malformed)?;
        if found.is_some_and(|other: u64| other != length) {
            return Err(Malformed);
        }
        found = Some(length);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn of(
        status: u16,
        version: Version,
        headers: &[(&'static str, &'static str)],
    ) -> Result<Framing, Malformed> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_static(value));
        }
        Framing::of(&Method::POST, StatusCode::from_u16(status).expect("a status"), version, &map)
    }

    #[test]
    fn a_head_says_where_the_body_ends() {
        let told = |headers| of(200, Version::HTTP_11, headers).expect("it is told");
        assert!(matches!(told(&[("content-length", "7")]), Framing::Length(7)));
        assert!(matches!(told(&[("content-length", "7"), ("content-length", "7")]), Framing::Length(7)));
        assert!(matches!(told(&[("transfer-encoding", "Chunked")]), Framing::Chunked(_)));
        assert!(matches!(told(&[]), Framing::UntilClose));
        for status in [204, 304] {
            let framing = of(status, Version::HTTP_11, &[("content-length", "7")]).expect("it is told");
            assert!(framing.is_over(), "{status} has no body");
        }
    }

    #[test]
    fn a_head_that_can_be_read_in_two_ways_is_refused() {
        let chunked = ("transfer-encoding", "chunked");
        for headers in [
            &[("content-length", "1"), ("content-length", "2")][..],
            &[("content-length", "+1")],
            &[("content-length", "1, 1")],
            &[("content-length", "")],
            &[("content-length", "99999999999999999999")],
            &[chunked, ("content-length", "1")],
            &[chunked, chunked],
            &[("transfer-encoding", "gzip, chunked")],
            &[("transfer-encoding", "identity")],
        ] {
            assert!(of(200, Version::HTTP_11, headers).is_err(), "{headers:?}");
        }
        assert!(of(200, Version::HTTP_10, &[chunked]).is_err(), "an old server knows no chunks");
    }

    #[test]
    fn whoever_asks_again_hears_again_that_it_is_over() {
        let mut framing = Framing::Chunked(Chunks::default());
        let mut input = BytesMut::from("1\r\na\r\n0\r\n\r\n");
        assert_eq!(framing.next(&mut input), Ok(Piece::Data("a".into())));
        for _ in 0..2 {
            assert_eq!(framing.next(&mut input), Ok(Piece::End));
        }
    }

    #[test]
    fn a_body_ends_where_it_is_said_and_what_stands_behind_it_is_left() {
        let mut framing = Framing::Length(5);
        let mut input = BytesMut::from("abc");
        assert_eq!(framing.next(&mut input), Ok(Piece::Data("abc".into())));
        assert_eq!(framing.next(&mut input), Ok(Piece::More));
        assert_eq!(framing.closed(), Err(Malformed));
        input.extend_from_slice(b"deHTTP");
        assert_eq!(framing.next(&mut input), Ok(Piece::Data("de".into())));
        assert_eq!((framing.next(&mut input), &input[..]), (Ok(Piece::End), &b"HTTP"[..]));
    }
}
