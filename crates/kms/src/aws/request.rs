//! The bodies of requests: JSON with base64 in it, written once, into memory that is wiped.

use base64::{Engine, encoded_len, engine::general_purpose::STANDARD};
use keyferry_envelope::{KeyContext, SecretBytes};

/// What is asked of KMS.
#[derive(Clone, Copy)]
pub(super) enum Operation {
    Encrypt,
    Decrypt,
}

impl Operation {
    /// The header `x-amz-target`.
    pub(super) const fn target(self) -> &'static str {
        match self {
            Self::Encrypt => "TrentService.Encrypt",
            Self::Decrypt => "TrentService.Decrypt",
        }
    }

    /// The field that holds what it is done to.
    const fn field(self) -> &'static str {
        match self {
            Self::Encrypt => "Plaintext",
            Self::Decrypt => "CiphertextBlob",
        }
    }
}

/// The body for `operation` on `bytes`, bound to `context`.
///
/// The key's name is part of a request to decrypt too: what another key wrapped is refused, rather than
/// opened by whatever key the bytes name.
pub(super) fn body(
    operation: Operation,
    key_id: &str,
    context: &KeyContext<'_>,
    bytes: &[u8],
) -> SecretBytes {
    let pairs: serde_json::Map<String, serde_json::Value> =
        context.pairs().map(|(name, value)| (name.to_owned(), value.into())).collect();
    let head = format!(
        r#"{{"KeyId":{},"EncryptionContext":{},"{}":""#,
        serde_json::Value::from(key_id),
        serde_json::Value::from(pairs),
        operation.field()
    );
    let encoded = encoded_len(bytes.len(), true).expect("a key or what it was wrapped to");
    SecretBytes::init(head.len() + encoded + 2, |body| {
        let (start, rest) = body.split_at_mut(head.len());
        start.copy_from_slice(head.as_bytes());
        let (middle, end) = rest.split_at_mut(encoded);
        STANDARD.encode_slice(bytes, middle).expect("it is as long as it must be");
        end.copy_from_slice(b"\"}");
    })
}

#[cfg(test)]
mod tests {
    use keyferry_envelope::KeyPurpose;

    use super::*;

    #[test]
    fn a_body_names_key_context_and_bytes() {
        let context = KeyContext { purpose: KeyPurpose::TenantKek, owner: "ac\"me", id: "kek_1" };
        let body = body(Operation::Encrypt, "alias/\"k", &context, b"\xff\xfe\xfd\xfc");
        let read: serde_json::Value = serde_json::from_slice(body.expose()).expect("JSON");
        assert_eq!(
            read,
            serde_json::json!({
                "KeyId": "alias/\"k",
                "EncryptionContext":
                    {"keyferry": "1", "purpose": "tenant-kek", "tenant": "ac\"me", "key": "kek_1"},
                "Plaintext": "//79/A==",
            })
        );
    }
}
