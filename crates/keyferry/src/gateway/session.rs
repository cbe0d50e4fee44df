//! Session mode: a key that came sealed under another key beside it. Kept for clients that speak it.

use std::sync::Arc;

use data_encoding::BASE64_NOPAD;
use keyferry_core::code::Code;
use keyferry_envelope::{ApiKey, SecretBytes, open_session};

use crate::{custody::provider_key, http::Problem};

/// What came in `X-Encrypted-Key` and in `X-Session-Key`.
pub(super) struct SessionKey {
    pub(super) encrypted: Option<SecretBytes>,
    pub(super) session: Option<SecretBytes>,
}

impl SessionKey {
    /// Opens it. What was wrong is not said: the answer to every failure is the same.
    pub(super) fn open(&self) -> Result<Arc<ApiKey>, Problem> {
        self.opened().map(Arc::new).ok_or_else(|| {
            Problem::new(
                Code::DecryptionFailed,
                "The key in X-Encrypted-Key does not open with X-Session-Key. No other key was used in its place.",
            )
        })
    }

    fn opened(&self) -> Option<ApiKey> {
        // Both are decoded before either is judged.
        let (sealed, key) = (decode(self.encrypted.as_ref()), decode(self.session.as_ref()));
        provider_key(open_session(&key?, &sealed?).ok()?).ok()
    }
}

/// Base64 as browsers' `btoa` writes it (RFC 4648 §4, with padding).
fn decode(text: Option<&SecretBytes>) -> Option<SecretBytes> {
    let text = text?.expose();
    let padding = text.iter().rev().take(2).take_while(|&&b| b == b'=').count();
    if text.len() % 4 != 0 {
        return None;
    }
    let digits = &text[..text.len() - padding];
    let length = BASE64_NOPAD.decode_len(digits.len()).ok()?;
    SecretBytes::try_incoming(length, |place| BASE64_NOPAD.decode_mut(digits, place).map(drop)).ok()
}

#[cfg(test)]
mod tests {
    use data_encoding::BASE64;

    use super::*;

    fn text(bytes: &[u8]) -> SecretBytes {
        crate::http::copy(bytes)
    }

    #[test]
    fn base64_is_read_in_its_one_form() {
        for length in 0..70 {
            let bytes: Vec<u8> = (0..length).collect();
            let encoded = BASE64.encode(&bytes);
            let decoded = decode(Some(&text(encoded.as_bytes()))).expect("it is base64");
            assert_eq!(decoded.expose(), bytes);
        }
        for wrong in
            ["A", "AA", "AAA", "AA=", "AB==", "A===", "====", "AA==AA==", "-_-_", "AA A", "AAAA\n", "=AAA"]
        {
            assert!(decode(Some(&text(wrong.as_bytes()))).is_none(), "{wrong:?}");
        }
        assert!(decode(None).is_none());
    }
}
