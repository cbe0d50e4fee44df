//! The head of a request to a provider, as it is written, with a gap where the key goes in.
//!
//! No part of the program puts a key into a head: the gap is filled on the way into the socket or the TLS record, from
//! the key's own memory (see [`super::outgoing`]). What stands in a head are names and values that were checked when they
//! were made, so that none of them can end its line.

use http::{HeaderName, HeaderValue, Method};
use keyferry_core::net::host::ProviderHost;

/// Names, values and line ends of an ordinary head.
const USUAL: usize = 512;

/// The path cannot stand in a request line.
#[derive(Clone, Copy, Debug)]
pub struct BadPath;

/// Request line and headers, without the key's and without those about the body.
pub struct RequestHead {
    text: Vec<u8>,
    says_length: bool,
}

impl RequestHead {
    /// Begins with the request line (RFC 9112 §3) and `host`. `path` is a path with its query.
    pub fn new(method: &Method, path: &str, host: &ProviderHost) -> Result<Self, BadPath> {
        if !path.starts_with('/') || !path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
            return Err(BadPath);
        }
        let mut text = Vec::with_capacity(USUAL);
        for part in [method.as_str(), " ", path, " HTTP/1.1\r\nhost: ", host.as_str(), "\r\n"] {
            text.extend_from_slice(part.as_bytes());
        }
        // A body has a meaning with these, so that there is none is said (RFC 9110 §8.6).
        let says_length = matches!(*method, Method::POST | Method::PUT | Method::PATCH);
        Ok(Self { text, says_length })
    }

    /// Adds a header.
    pub fn add(&mut self, name: &HeaderName, value: &HeaderValue) {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            self.text.extend_from_slice(part);
        }
    }

    /// What was put together so far.
    pub(super) fn text(&self) -> &[u8] {
        &self.text
    }

    /// Whether a body that is empty is told of.
    pub(super) fn says_length(&self) -> bool {
        self.says_length
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(method: &Method, path: &str) -> Result<RequestHead, BadPath> {
        RequestHead::new(method, path, &ProviderHost::parse("api.openai.com").expect("a host"))
    }

    #[test]
    fn it_is_what_goes_out_but_for_the_key_and_the_body() {
        let mut head = head(&Method::POST, "/v1/x?a=b").expect("a path");
        head.add(&http::header::ACCEPT, &HeaderValue::from_static("a/b"));
        assert_eq!(head.text(), b"POST /v1/x?a=b HTTP/1.1\r\nhost: api.openai.com\r\naccept: a/b\r\n");
        assert!(head.says_length());
    }

    #[test]
    fn a_path_that_would_be_more_than_a_path_is_refused() {
        for path in ["", "v1", "/a b", "/a\r\nx: y", "/a\tb", "/a#b", "/\u{fc}", "/a\0", "http://host/"] {
            assert!(head(&Method::GET, path).is_err(), "{path:?}");
        }
    }
}
