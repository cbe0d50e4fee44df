//! Holds one provider key that is safe to place in an HTTP header. It must never accept a byte that could end a header
//! line, nor show more of the key than its last four characters.

use std::ops::RangeInclusive;

use crate::error::InvalidApiKey;
use crate::secret::SecretBytes;

/// Accepted lengths, in bytes. The longest keys seen in the field are about 200.
const LENGTHS: RangeInclusive<usize> = 8..=512;

/// Below this length four characters would be a quarter or more of the secret, so none are shown.
const SHORTEST_WITH_HINT: usize = 16;

/// A provider's API key in the clear: 8 to 512 visible ASCII characters, wiped on drop, never printed or cloned.
pub struct ApiKey(SecretBytes);

#[expect(clippy::len_without_is_empty, reason = "a parsed key is never empty")]
impl ApiKey {
    /// Checks that `secret` is 8 to 512 bytes in 0x21..=0x7e. A refused `secret` is wiped.
    ///
    /// Nothing is trimmed: what is sealed is what was given, or nothing.
    pub fn parse(secret: SecretBytes) -> Result<Self, InvalidApiKey> {
        if !LENGTHS.contains(&secret.expose().len()) {
            return Err(InvalidApiKey::Length);
        }
        if !secret.expose().iter().all(u8::is_ascii_graphic) {
            return Err(InvalidApiKey::Character);
        }
        Ok(Self(secret))
    }

    /// The characters of the key, for the one place that writes them to the provider.
    pub fn expose(&self) -> &[u8] {
        self.0.expose()
    }

    /// Length in bytes, which is also the length in characters.
    pub fn len(&self) -> usize {
        self.expose().len()
    }

    /// The last four characters, for a person to recognise the key by; empty if the key has fewer than 16.
    pub fn last4(&self) -> String {
        if self.len() < SHORTEST_WITH_HINT {
            return String::new();
        }
        self.expose()[self.len() - 4..].iter().copied().map(char::from).collect()
    }

    /// Compares without a data-dependent branch. The time depends on the lengths only.
    #[must_use]
    pub fn ct_eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(bytes: &[u8]) -> Result<ApiKey, InvalidApiKey> {
        ApiKey::parse(SecretBytes::new(bytes.to_vec()))
    }

    #[test]
    fn accepts_8_to_512_characters() {
        for (length, accepted) in [(0, false), (7, false), (8, true), (512, true), (513, false)] {
            assert_eq!(parse(&vec![b'k'; length]).is_ok(), accepted, "length {length}");
        }
    }

    #[test]
    fn accepts_visible_ascii_and_no_other_byte() {
        for byte in 0..=u8::MAX {
            let mut text = *b"sk-test-0000";
            text[5] = byte;
            assert_eq!(parse(&text).is_ok(), (0x21..=0x7e).contains(&byte), "byte {byte:#04x}");
        }
    }

    #[test]
    fn shows_four_characters_of_a_long_key_and_none_of_a_short_one() {
        assert_eq!(parse(b"sk-test-00001234").map(|key| key.last4()).as_deref(), Ok("1234"));
        assert_eq!(parse(b"sk-test-0001234").map(|key| key.last4()).as_deref(), Ok(""));
    }
}
