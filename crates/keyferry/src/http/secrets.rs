//! The secrets of a request, beside it and not in it.
//!
//! Whoever reads the bytes of a head first moves the values of its secret headers out, into memory
//! that is wiped. The HTTP library and everything after it get a [`Mark`] in the place of each: no
//! read buffer and no header map ever holds a key.

use std::sync::{Arc, Mutex, PoisonError};

use http::HeaderMap;
use keyferry_core::headers::SECRET;
use keyferry_envelope::SecretBytes;

use super::door::Unproven;

/// The values of a request's secret headers: one at most of each.
#[derive(Default)]
pub struct SecretHeaders {
    found: Vec<Found>,
    private: bool,
    place: Option<Unproven>,
}

struct Found {
    name: &'static str,
    /// As many as there were.
    count: usize,
    value: SecretBytes,
}

/// Secrets on their way through a router, to whoever takes them first.
#[derive(Clone)]
pub struct Handed(Arc<Mutex<SecretHeaders>>);

impl Handed {
    /// Hands them to the router.
    pub fn new(secrets: SecretHeaders) -> Self {
        Self(Arc::new(Mutex::new(secrets)))
    }

    /// Takes all of them.
    pub fn take(&self) -> SecretHeaders {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A header that may stand once stands more than once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repeated(pub &'static str);

/// What stands in the place of a secret value, as long as it: the number of its head on the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark(pub u64);

impl Mark {
    /// Overwrites a value.
    pub fn write(self, value: &mut [u8]) {
        value.iter_mut().rev().zip(self.bytes()).for_each(|(place, byte)| *place = byte);
    }

    fn is(self, value: &[u8]) -> bool {
        value.iter().rev().zip(self.bytes()).all(|(found, byte)| *found == byte)
    }

    /// From the last byte on.
    fn bytes(self) -> impl Iterator<Item = u8> {
        let digit = |rest: u64| if rest == 0 { b'*' } else { b"0123456789abcdef"[(rest & 15) as usize] };
        std::iter::successors(Some(self.0), |rest| Some(rest >> 4)).map(digit)
    }
}

/// The name as it stands in the list, if a secret may arrive in this header.
pub fn secret_name(name: &[u8]) -> Option<&'static str> {
    SECRET.into_iter().find(|secret| name.eq_ignore_ascii_case(secret.as_bytes()))
}

impl SecretHeaders {
    /// Keeps a value. A second one of a header is only counted.
    pub fn add(&mut self, name: &'static str, value: &[u8]) {
        match self.found.iter_mut().find(|found| found.name == name) {
            Some(found) => found.count += 1,
            None => self.found.push(Found { name, count: 1, value: SecretBytes::incoming(value) }),
        }
    }

    /// How much they take up, about.
    pub fn size(&self) -> usize {
        self.found.iter().map(|found| found.value.expose().len().max(64)).sum()
    }

    /// Whether there is a secret header in a map.
    pub fn are_in(headers: &HeaderMap) -> bool {
        SECRET.into_iter().any(|name| headers.contains_key(name))
    }

    /// Whether a header map has this request's marks: one in the place of each secret, and no other.
    pub fn fit(&self, headers: &HeaderMap, mark: Mark) -> bool {
        let mut names = 0;
        for name in headers.keys() {
            let Some(secret) = secret_name(name.as_str().as_bytes()) else { continue };
            let Some(found) = self.found.iter().find(|found| found.name == secret) else { return false };
            let (mut count, mut right) = (0, true);
            for value in headers.get_all(name) {
                let first_length = found.value.expose().len();
                right &= mark.is(value.as_bytes()) && (count > 0 || value.len() == first_length);
                count += 1;
            }
            if !right || count != found.count {
                return false;
            }
            names += 1;
        }
        names == self.found.len()
    }

    /// Takes this request's marks out of the header map that they fit.
    pub fn unmark(&self, headers: &mut HeaderMap) {
        for found in &self.found {
            headers.remove(found.name);
        }
    }

    /// Keeps the place of the request until somebody takes it.
    pub fn keep_place(&mut self, place: Option<Unproven>) {
        self.place = place;
    }

    /// The place of the request, to be held until it is known who sent it.
    pub fn take_place(&mut self) -> Option<Unproven> {
        self.place.take()
    }

    /// Notes whether nobody on the way could read them.
    pub fn privately(mut self, private: bool) -> Self {
        self.private = private;
        self
    }

    /// Whether nobody on the way could read them.
    pub fn came_privately(&self) -> bool {
        self.private
    }

    /// The first value of each, in the order in which they came.
    #[cfg(fuzzing)]
    pub fn all(&self) -> impl Iterator<Item = (&'static str, &[u8])> {
        self.found.iter().map(|found| (found.name, found.value.expose()))
    }

    /// Takes a header's value out. A header that stood twice has none that could be used.
    pub fn take(&mut self, name: &str) -> Result<Option<SecretBytes>, Repeated> {
        let Some(at) = self.found.iter().position(|found| found.name == name) else { return Ok(None) };
        let found = self.found.swap_remove(at);
        if found.count > 1 {
            return Err(Repeated(found.name));
        }
        Ok(Some(found.value))
    }
}

/// A secret that is a part of another one. It stays in the share of locked memory for what comes in: it is copied before
/// anybody knows who sent it.
pub fn copy(value: &[u8]) -> SecretBytes {
    SecretBytes::incoming(value)
}

impl std::fmt::Display for Repeated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "The header {} stands more than once.", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(headers: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().expect("a value"));
        }
        map
    }

    #[test]
    fn a_value_is_taken_once_and_one_that_stood_twice_never() {
        let mut secrets = SecretHeaders::default();
        secrets.add("x-byok-key", b"one-key");
        secrets.add("authorization", b"a");
        secrets.add("authorization", b"b");
        let taken = secrets.take("x-byok-key").expect("once").expect("there");
        assert_eq!(taken.expose(), b"one-key");
        assert!(secrets.take("x-byok-key").expect("taken").is_none());
        assert!(secrets.take("x-api-key").expect("never there").is_none());
        assert_eq!(secrets.take("authorization").err(), Some(Repeated("authorization")));
    }

    #[test]
    fn a_mark_is_as_long_as_the_value_and_says_which_head_it_is_of() {
        for (number, length, expected) in
            [(1, 4, "***1"), (0x1f, 4, "**1f"), (0, 3, "***"), (0x1234_5678, 3, "678"), (7, 0, "")]
        {
            let mut value = vec![b'k'; length];
            Mark(number).write(&mut value);
            assert_eq!(value, expected.as_bytes());
            assert!(Mark(number).is(&value));
        }
        assert!(!Mark(2).is(b"***1"));
    }

    #[test]
    fn secrets_fit_the_head_they_were_taken_from_and_to_no_other() {
        let mut secrets = SecretHeaders::default();
        secrets.add("x-api-key", b"12345");
        secrets.add("authorization", b"abc");
        secrets.add("authorization", b"abcd");
        let right = [("x-api-key", "****9"), ("authorization", "**9"), ("authorization", "***9")];
        let mut headers = map(&right);
        assert!(SecretHeaders::are_in(&headers) && secrets.fit(&headers, Mark(9)));
        secrets.unmark(&mut headers);
        assert!(headers.is_empty() && !SecretHeaders::are_in(&headers));
        assert!(!secrets.fit(&map(&right), Mark(8)), "another head's");
        assert!(!secrets.fit(&map(&right[..2]), Mark(9)), "one is missing");
        assert!(!secrets.fit(&map(&right[1..]), Mark(9)), "one is missing");
        assert!(!SecretHeaders::default().fit(&map(&right), Mark(9)), "one too many");
        let longer = [("x-api-key", "*****9"), right[1], right[2]];
        assert!(!secrets.fit(&map(&longer), Mark(9)), "of another length");
        let plain = [("x-api-key", "12345"), right[1], right[2]];
        assert!(!secrets.fit(&map(&plain), Mark(9)), "not a mark");
    }
}
