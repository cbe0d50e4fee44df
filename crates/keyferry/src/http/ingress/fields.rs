//! Rules for header fields, the same for both versions of HTTP.

use super::{MAX_FIELDS, Reason};

/// How a body is delimited (RFC 9112 §6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// There is none.
    None,
    /// So many bytes.
    Length(u64),
    /// Chunks.
    Chunked,
}

pub(super) const NO_BODY: Reason = Reason("A request with this method has no body.");

/// Content on any other method has no meaning (RFC 9110 §9.3.1), and so two readings.
pub(super) fn may_have_body(method: &[u8]) -> bool {
    matches!(method, b"POST" | b"PUT" | b"PATCH")
}

/// What was learned from the fields so far.
#[derive(Default)]
pub(super) struct Fields {
    count: usize,
    host: bool,
    length: Option<u64>,
    chunked: bool,
}

impl Fields {
    /// Takes the next field. `name` is as it came; `value` has no white space around it.
    pub(super) fn take(&mut self, name: &[u8], value: &[u8]) -> Result<(), Reason> {
        self.count += 1;
        if self.count > MAX_FIELDS {
            return Err(Reason("The request has too many header fields."));
        }
        if name.is_empty() || !name.iter().all(|&b| is_token(b)) {
            return Err(Reason("A header field's name is not valid."));
        }
        if value.iter().any(|&b| (b < 0x20 && b != b'\t') || b == 0x7f) {
            return Err(Reason("A header field's value has a control character."));
        }
        let is = |wanted: &str| name.eq_ignore_ascii_case(wanted.as_bytes());
        if is("host") {
            self.host(value)
        } else if is("content-length") {
            self.length(value)
        } else if is("transfer-encoding") {
            self.coding(value)
        } else if is("connection") {
            connection(value)
        } else if is("expect") && !value.eq_ignore_ascii_case(b"100-continue") {
            Err(Reason("The header Expect may only say 100-continue."))
        } else if is("upgrade") || is("http2-settings") {
            Err(Reason("Protocol upgrades are not accepted."))
        } else if is("content-encoding") && !value.eq_ignore_ascii_case(b"identity") {
            Err(Reason("Compressed request bodies are not accepted."))
        } else {
            Ok(())
        }
    }

    /// Judges all fields together.
    pub(super) fn finish(self, method: &[u8]) -> Result<Framing, Reason> {
        if !self.host {
            return Err(Reason("The request needs exactly one Host header."));
        }
        let framing = match (self.length, self.chunked) {
            (Some(_), true) => {
                return Err(Reason("Content-Length and Transfer-Encoding exclude each other."));
            }
            (None, true) => Framing::Chunked,
            (Some(0) | None, false) => Framing::None,
            (Some(length), false) => Framing::Length(length),
        };
        if framing != Framing::None && !may_have_body(method) {
            return Err(NO_BODY);
        }
        Ok(framing)
    }

    fn host(&mut self, value: &[u8]) -> Result<(), Reason> {
        if self.host {
            return Err(Reason("The request needs exactly one Host header."));
        }
        if !is_authority(value) {
            return Err(Reason("The Host header is not a host name with an optional port."));
        }
        self.host = true;
        Ok(())
    }

    fn length(&mut self, value: &[u8]) -> Result<(), Reason> {
        const WRONG: Reason = Reason("Content-Length must be one decimal number.");
        if self.length.is_some() || value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
            return Err(WRONG);
        }
        let number = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
        self.length = Some(number.filter(|&n| n <= u64::MAX / 2).ok_or(WRONG)?);
        Ok(())
    }

    fn coding(&mut self, value: &[u8]) -> Result<(), Reason> {
        if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
            return Err(Reason("Transfer-Encoding may only say chunked, once."));
        }
        self.chunked = true;
        Ok(())
    }
}

/// Only what is about the connection itself: naming another field would make it hop-by-hop and
/// could strip a credential or the framing.
fn connection(value: &[u8]) -> Result<(), Reason> {
    let known = |token: &[u8]| {
        let token = token.trim_ascii();
        [b"close".as_slice(), b"keep-alive", b"te"].iter().any(|known| token.eq_ignore_ascii_case(known))
    };
    if value.split(|&b| b == b',').all(known) {
        Ok(())
    } else {
        Err(Reason("The header Connection may only say close or keep-alive."))
    }
}

/// `host`, `host:port`, `[v6]` or `[v6]:port`, and nothing else.
pub(super) fn is_authority(value: &[u8]) -> bool {
    let (host, port) = if let [b'[', rest @ ..] = value {
        let Some(end) = rest.iter().position(|&b| b == b']') else { return false };
        let (inner, after) = (&rest[..end], &rest[end + 1..]);
        if !inner.iter().all(|b| b.is_ascii_hexdigit() || matches!(b, b':' | b'.')) {
            return false;
        }
        (inner, (!after.is_empty()).then_some(after))
    } else {
        let end = value.iter().position(|&b| b == b':').unwrap_or(value.len());
        let host = &value[..end];
        if !host.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_')) {
            return false;
        }
        (host, (end < value.len()).then_some(&value[end..]))
    };
    let port_ok = port.is_none_or(|port| match port {
        [b':', digits @ ..] => {
            let number = std::str::from_utf8(digits).ok().and_then(|text| text.parse::<u16>().ok());
            digits.iter().all(u8::is_ascii_digit) && number.is_some()
        }
        _ => false,
    });
    !host.is_empty() && port_ok
}

/// Which bytes are characters of a token (RFC 9110 §5.6.2).
const TOKEN: [bool; 256] = {
    let others = b"!#$%&'*+-.^_`|~";
    let mut table = [false; 256];
    let mut at = 0;
    while at < table.len() {
        table[at] = (at as u8).is_ascii_alphanumeric();
        at += 1;
    }
    at = 0;
    while at < others.len() {
        table[others[at] as usize] = true;
        at += 1;
    }
    table
};

/// A character of a token.
pub(super) fn is_token(byte: u8) -> bool {
    TOKEN[usize::from(byte)]
}

#[cfg(test)]
mod tests {
    use super::is_authority;

    #[test]
    fn a_host_is_a_name_and_at_most_a_port() {
        for good in ["gw.example", "gw.example:8484", "127.0.0.1:80", "[::1]", "[::1]:8484", "my_host"] {
            assert!(is_authority(good.as_bytes()), "{good}");
        }
        for bad in
            ["", "gw/", "user@gw", "gw:", "gw:99999", "gw:8x", "[::1", "[]", "a,b", "gw example", ":80"]
        {
            assert!(!is_authority(bad.as_bytes()), "{bad}");
        }
    }
}
