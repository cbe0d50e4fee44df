//! Bodies of requests, written in place: a key stands in one buffer, which is wiped.

use base64::{Engine, engine::general_purpose::STANDARD};
use keyferry_envelope::SecretBytes;

/// A member of the body, which is one flat object of texts.
pub(super) enum Field<'a> {
    /// Bytes, sent as Base64.
    Encoded(&'static str, &'a [u8]),
    /// Text that needs no escaping in JSON.
    Plain(&'static str, &'a str),
}

impl Field<'_> {
    const fn name(&self) -> &'static str {
        match self {
            Self::Encoded(name, _) | Self::Plain(name, _) => name,
        }
    }

    const fn value_len(&self) -> usize {
        match self {
            Self::Encoded(_, bytes) => bytes.len().div_ceil(3) * 4,
            Self::Plain(_, text) => text.len(),
        }
    }

    fn write_value(&self, to: &mut [u8]) {
        match self {
            Self::Encoded(_, bytes) => {
                STANDARD.encode_slice(bytes, to).expect("the place is as long as the encoding");
            }
            Self::Plain(_, text) => to.copy_from_slice(text.as_bytes()),
        }
    }
}

/// `{"name":"value",…}`.
pub(super) fn body(fields: &[Field<'_>]) -> SecretBytes {
    /// `"":""` around each.
    const AROUND: usize = 5;
    let members: usize = fields.iter().map(|field| AROUND + field.name().len() + field.value_len()).sum();
    let len = 2 + members + fields.len().saturating_sub(1);
    SecretBytes::init(len, |buf| {
        let mut at = 0;
        let mut put = |len: usize, write: &dyn Fn(&mut [u8])| {
            write(&mut buf[at..at + len]);
            at += len;
        };
        let text = |text: &'static str| move |to: &mut [u8]| to.copy_from_slice(text.as_bytes());
        put(1, &text("{"));
        for (index, field) in fields.iter().enumerate() {
            if index > 0 {
                put(1, &text(","));
            }
            put(1, &text("\""));
            put(field.name().len(), &text(field.name()));
            put(3, &text("\":\""));
            put(field.value_len(), &|to| field.write_value(to));
            put(1, &text("\""));
        }
        put(1, &text("}"));
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_to_say_is_an_empty_object() {
        assert_eq!(body(&[]).expose(), b"{}");
    }

    #[test]
    fn a_body_is_an_object_of_texts_without_room_to_spare() {
        let body = body(&[
            Field::Encoded("plaintext", &[0xFF; 32]),
            Field::Plain("ciphertext", "vault:v1:AA=="),
            Field::Encoded("context", b"a"),
            Field::Encoded("empty", b""),
        ]);
        let read: serde_json::Value = serde_json::from_slice(body.expose()).expect("JSON");
        let expected = serde_json::json!({
            "plaintext": "//////////////////////////////////////////8=",
            "ciphertext": "vault:v1:AA==",
            "context": "YQ==",
            "empty": "",
        });
        assert_eq!(read, expected);
        assert_eq!(body.expose().len(), expected.to_string().len());
    }
}
