//! A short text that is put together on the stack: the value of a header that is made for each answer.

use http::HeaderValue;

/// Up to `N` bytes. What does not fit makes the whole text useless, so that nothing is ever told in part.
#[derive(Debug)]
pub struct Short<const N: usize> {
    bytes: [u8; N],
    length: usize,
}

impl<const N: usize> Default for Short<N> {
    fn default() -> Self {
        Self { bytes: [0; N], length: 0 }
    }
}

impl<const N: usize> Short<N> {
    /// Whether there is nothing in it yet.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Adds a text.
    pub fn text(&mut self, text: &str) -> &mut Self {
        self.put(text.as_bytes())
    }

    fn put(&mut self, text: &[u8]) -> &mut Self {
        let end = self.length.saturating_add(text.len());
        if let Some(room) = self.bytes.get_mut(self.length..end) {
            room.copy_from_slice(text);
        }
        self.length = end;
        self
    }

    /// Adds a number.
    pub fn number(&mut self, number: u64) -> &mut Self {
        self.digits(number, 1)
    }

    /// Adds a number with zeros before it, so that it has so many digits at least.
    pub fn digits(&mut self, mut number: u64, least: usize) -> &mut Self {
        const LONGEST: usize = 20;
        let mut digits = [b'0'; LONGEST];
        let mut at = LONGEST;
        while number > 0 || LONGEST - at < least.min(LONGEST) {
            at -= 1;
            digits[at] = b'0' + (number % 10) as u8;
            number /= 10;
        }
        self.put(&digits[at..])
    }

    /// The text, if all of it fitted.
    pub fn as_str(&self) -> Option<&str> {
        std::str::from_utf8(self.bytes.get(..self.length)?).ok()
    }

    /// The same as the value of a header.
    pub fn header(&self) -> Option<HeaderValue> {
        HeaderValue::from_bytes(self.bytes.get(..self.length)?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_numbers_stand_one_after_the_other() {
        let mut short = Short::<64>::default();
        assert!(short.is_empty());
        short.text("kf;dur=").number(0).text(".").digits(7, 3).text(", ").number(u64::MAX).digits(1234, 3);
        assert_eq!(short.header().expect("it fits"), "kf;dur=0.007, 184467440737095516151234");
    }

    #[test]
    fn a_text_that_does_not_fit_is_not_told_in_part() {
        let mut short = Short::<4>::default();
        short.text("abcd");
        assert_eq!(short.as_str(), Some("abcd"));
        short.text("e").text("");
        assert_eq!(short.as_str(), None);
        assert!(short.header().is_none());
    }
}
