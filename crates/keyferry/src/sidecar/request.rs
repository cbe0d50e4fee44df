//! What may be asked for, read from the bytes of a frame.
//!
//! The JSON library quotes what it could not use, and that may be a key: a refusal says what was
//! expected, never what stood there. And a key that stands in a field which is sent as it is, in an
//! address or a body, must not get that far.

use keyferry_core::{
    id::{CredentialId, ProviderId, TenantId},
    mask,
};
use keyferry_envelope::{ApiKey, SealPurpose, SecretBytes};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::custody::provider_key;

/// A request.
pub struct Request {
    /// Whose.
    pub tenant: TenantId,
    /// What.
    pub op: Op,
}

/// What is asked for.
pub enum Op {
    /// To store a key.
    Store {
        /// Which provider it opens.
        provider: ProviderId,
        /// To tell keys of one provider apart.
        label: Option<String>,
        /// The key.
        key: ApiKey,
    },
    /// To put a new key in the place of another.
    Rotate {
        /// The other.
        credential: CredentialId,
        /// How long the other is kept.
        overlap_seconds: Option<u32>,
        /// The key.
        key: ApiKey,
    },
    /// To ask the provider whether a stored key works.
    Test {
        /// Which.
        credential: CredentialId,
    },
    /// To seal a key and hand it back.
    Seal {
        /// Which provider it opens.
        provider: ProviderId,
        /// What it is sealed for.
        purpose: Purpose,
        /// The key.
        key: ApiKey,
    },
}

impl Op {
    /// Its name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Store { .. } => "store",
            Self::Rotate { .. } => "rotate",
            Self::Test { .. } => "test",
            Self::Seal { .. } => "seal",
        }
    }
}

/// What a key is sealed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Purpose {
    /// To come with one request.
    Request,
    /// To be stored.
    Store,
}

impl From<Purpose> for SealPurpose {
    fn from(purpose: Purpose) -> Self {
        match purpose {
            Purpose::Request => Self::Request,
            Purpose::Store => Self::Store,
        }
    }
}

/// Why something is not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Of the gateway's list of codes.
    pub code: String,
    /// For people.
    pub detail: String,
}

impl Refusal {
    /// With these words.
    pub fn new(code: &str, detail: impl Into<String>) -> Self {
        Self { code: code.to_owned(), detail: detail.into() }
    }

    fn invalid(detail: impl Into<String>) -> Self {
        Self::new("invalid_request", detail)
    }

    /// As it is answered.
    pub fn to_json(&self) -> Value {
        json!({"ok": false, "code": self.code, "detail": self.detail})
    }
}

/// The fields that requests have. The key is borrowed from the frame.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields<'a> {
    op: &'a str,
    tenant: Option<TenantId>,
    provider: Option<ProviderId>,
    label: Option<String>,
    credential: Option<CredentialId>,
    api_key: Option<&'a str>,
    overlap_seconds: Option<u32>,
    purpose: Option<Purpose>,
}

const SHAPES: &str = "Expected one of: \
    {\"op\":\"store\",\"tenant\",\"provider\",\"label\"?,\"api_key\"}, \
    {\"op\":\"rotate\",\"tenant\",\"credential\",\"api_key\",\"overlap_seconds\"?}, \
    {\"op\":\"test\",\"tenant\",\"credential\"}, \
    {\"op\":\"seal\",\"tenant\",\"provider\",\"purpose\",\"api_key\"}; the key without JSON escapes.";

/// Letters and digits in a row, some of them digits, that make no word.
const LONGEST_WORD: usize = 20;

/// Reads a request. `only` is the tenant of a sidecar that serves a single one: then it need not be
/// named, and no other may be.
pub fn parse(bytes: &[u8], only: Option<&TenantId>) -> Result<Request, Refusal> {
    // The derived reader would take a list too, by position.
    if !bytes.trim_ascii_start().starts_with(b"{") {
        return Err(Refusal::invalid(SHAPES));
    }
    let fields: Fields<'_> = serde_json::from_slice(bytes).map_err(|_| Refusal::invalid(SHAPES))?;
    let key = fields
        .api_key
        .map(|text| provider_key(SecretBytes::new(text.as_bytes().to_vec())))
        .transpose()
        .map_err(|error| Refusal::invalid(error.to_string()))?;
    no_key_in_the_wrong_place(&fields)?;
    let tenant = match (&fields.tenant, only) {
        (Some(named), Some(only)) if named != only => {
            return Err(Refusal::new("forbidden", "This sidecar serves another tenant."));
        }
        (Some(tenant), _) | (None, Some(tenant)) => tenant.clone(),
        (None, None) => return Err(Refusal::invalid("Name the tenant.")),
    };
    let op = op(fields, key).ok_or_else(|| Refusal::invalid(SHAPES))?;
    Ok(Request { tenant, op })
}

/// Every field beside the key is sent in the clear.
fn no_key_in_the_wrong_place(fields: &Fields<'_>) -> Result<(), Refusal> {
    let tenant = fields.tenant.as_ref().map(TenantId::as_str);
    let provider = fields.provider.as_ref().map(ProviderId::as_str);
    for (field, text) in [("tenant", tenant), ("provider", provider), ("label", fields.label.as_deref())] {
        let may_be_key = text.is_some_and(|text| {
            // Eight bytes of it in a row, in whatever spelling.
            mask::scrub(text.as_bytes(), fields.api_key.map(str::as_bytes)) != text.as_bytes()
                || field == "provider" && is_random(text)
        });
        if may_be_key {
            let detail = format!("'{field}' looks like a key. Keys go into api_key and nowhere else.");
            return Err(Refusal::invalid(detail));
        }
    }
    if fields.credential.as_ref().is_some_and(|credential| !credential.has_made_form()) {
        let detail = "'credential' is the id of a stored key: cred_ and 26 letters and digits.";
        return Err(Refusal::invalid(detail));
    }
    Ok(())
}

/// Keys of some providers begin in no known way. Nobody names a provider like one: so many letters
/// and digits without a break.
fn is_random(name: &str) -> bool {
    name.split(['-', '_', '.'])
        .any(|word| word.len() >= LONGEST_WORD && word.bytes().any(|byte| byte.is_ascii_digit()))
}

/// The operation, if it has exactly its fields.
fn op(fields: Fields<'_>, key: Option<ApiKey>) -> Option<Op> {
    let Fields { op, provider, label, credential, overlap_seconds, purpose, .. } = fields;
    match (op, provider, credential, key, label, overlap_seconds, purpose) {
        ("store", Some(provider), None, Some(key), label, None, None) => {
            Some(Op::Store { provider, label, key })
        }
        ("rotate", None, Some(credential), Some(key), None, overlap_seconds, None) => {
            Some(Op::Rotate { credential, overlap_seconds, key })
        }
        ("test", None, Some(credential), None, None, None, None) => Some(Op::Test { credential }),
        ("seal", Some(provider), None, Some(key), None, None, Some(purpose)) => {
            Some(Op::Seal { provider, purpose, key })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;

    use super::*;

    const KEY: &str = "sk-proj-Zq7Hc2Vt9Lm4Xw8Rb0001Kd6Ny3Pf5Sg1";

    fn acme() -> TenantId {
        "acme".parse().expect("a name")
    }

    fn refusal(text: &str) -> Refusal {
        parse(text.as_bytes(), None).err().unwrap_or_else(|| panic!("accepted: {text}"))
    }

    #[test]
    fn each_operation_is_read_with_its_fields() {
        for (text, name) in [
            (format!(r#"{{"op":"store","tenant":"acme","provider":"openai","api_key":"{KEY}"}}"#), "store"),
            (
                format!(
                    r#" {{"op":"store","tenant":"acme","provider":"openai","label":"x","api_key":"{KEY}"}} "#
                ),
                "store",
            ),
            (
                format!(
                    r#"{{"op":"rotate","tenant":"acme","credential":"cred_01k8zq5v7d3m9x2n4b6c8f0gth","api_key":"{KEY}","overlap_seconds":60}}"#
                ),
                "rotate",
            ),
            (
                r#"{"op":"test","tenant":"acme","credential":"cred_01k8zq5v7d3m9x2n4b6c8f0gth"}"#.to_owned(),
                "test",
            ),
            (
                format!(
                    r#"{{"op":"seal","tenant":"acme","provider":"openai","purpose":"store","api_key":"{KEY}"}}"#
                ),
                "seal",
            ),
        ] {
            let request =
                parse(text.as_bytes(), None).unwrap_or_else(|refusal| panic!("{text}: {refusal:?}"));
            assert_eq!((request.op.name(), request.tenant), (name, acme()));
        }
    }

    #[test]
    fn what_has_another_shape_is_refused_without_being_quoted() {
        let key = format!(r#""api_key":"{KEY}""#);
        for text in [
            String::new(),
            "[]".to_owned(),
            format!(r#"["store","acme","openai",null,null,"{KEY}"]"#),
            "{".to_owned(),
            format!(r#"{{"op":"moon","tenant":"acme",{key}}}"#),
            format!(r#"{{"op":"store","tenant":"acme",{key}}}"#),
            format!(r#"{{"op":"store","tenant":"acme","provider":"openai",{key},{key}}}"#),
            format!(r#"{{"op":"store","tenant":"acme","provider":"openai",{key},"moon":1}}"#),
            format!(r#"{{"op":"store","tenant":"acme","provider":"{KEY} ",{key}}}"#),
            format!(r#"{{"op":"store","tenant":"../x","provider":"openai",{key}}}"#),
            format!(r#"{{"op":"store","tenant":"acme","provider":"openai","api_key":"\u0041{KEY}"}}"#),
            format!(
                r#"{{"op":"test","tenant":"acme","credential":"cred_01k8zq5v7d3m9x2n4b6c8f0gth",{key}}}"#
            ),
            format!(r#"{{"op":"rotate","tenant":"acme","credential":"a/b",{key}}}"#),
            format!(r#"{{"op":"seal","tenant":"acme","provider":"openai","purpose":"{KEY}",{key}}}"#),
            format!(r#"{{"op":"store","tenant":"acme","provider":"openai",{key}}} {{}}"#),
        ] {
            let refusal = refusal(&text);
            assert_eq!(refusal.code, "invalid_request", "{text}");
            assert!(!refusal.detail.contains("Zq7Hc2Vt9L"), "{text}: {refusal:?}");
        }
    }

    #[test]
    fn a_key_in_a_field_that_is_sent_in_the_clear_is_refused() {
        let unknown = "Zq7Hc2Vt9Lm4Xw8Rb0001Kd6Ny3Pf5Sg1";
        for text in [
            format!(r#"{{"op":"test","tenant":"acme","credential":"{KEY}"}}"#),
            format!(r#"{{"op":"test","tenant":"acme","credential":"{unknown}"}}"#),
            format!(r#"{{"op":"test","tenant":"{KEY}","credential":"cred_01k8zq5v7d3m9x2n4b6c8f0gth"}}"#),
            format!(r#"{{"op":"rotate","tenant":"acme","credential":"{KEY}","api_key":"{KEY}"}}"#),
            format!(r#"{{"op":"store","tenant":"acme","provider":"{KEY}","api_key":"{KEY}"}}"#),
            format!(r#"{{"op":"store","tenant":"acme","provider":"{unknown}","api_key":"{KEY}"}}"#),
            format!(r#"{{"op":"store","tenant":"acme","provider":"x","label":"x {KEY}","api_key":"{KEY}"}}"#),
            format!(
                r#"{{"op":"store","tenant":"{unknown}","provider":"x","label":"x","api_key":"{unknown}"}}"#
            ),
            format!(
                r#"{{"op":"store","tenant":"acme","provider":"x","label":"{unknown}","api_key":"{unknown}"}}"#
            ),
        ] {
            let refusal = refusal(&text);
            assert_eq!(refusal.code, "invalid_request", "{text}");
            assert!(!refusal.detail.contains("Zq7Hc2Vt9L"), "{text}: {refusal:?}");
            assert!(refusal.detail != SHAPES, "it says which field: {text}");
        }
        let piece = base64::engine::general_purpose::STANDARD.encode(&KEY[9..27]);
        let text = format!(
            r#"{{"op":"store","tenant":"acme","provider":"x","label":"app {piece}","api_key":"{KEY}"}}"#
        );
        assert!(refusal(&text).detail.contains("'label'"), "a piece of the key in base64");
        let names = format!(
            r#"{{"op":"store","tenant":"0f8fad5bd9cb469fa16570867728950e","provider":"azure-openai-2-east","label":"app","api_key":"{KEY}"}}"#
        );
        assert!(parse(names.as_bytes(), None).is_ok());
    }

    #[test]
    fn a_sidecar_of_one_tenant_serves_no_other() {
        let only = acme();
        let parse = |text: &str| parse(text.as_bytes(), Some(&only));
        let unnamed = parse(r#"{"op":"test","credential":"cred_01k8zq5v7d3m9x2n4b6c8f0gth"}"#);
        assert_eq!(unnamed.ok().map(|request| request.tenant), Some(acme()));
        assert!(
            parse(r#"{"op":"test","tenant":"acme","credential":"cred_01k8zq5v7d3m9x2n4b6c8f0gth"}"#).is_ok()
        );
        let other = parse(r#"{"op":"test","tenant":"other","credential":"cred_01k8zq5v7d3m9x2n4b6c8f0gth"}"#);
        assert_eq!(other.err().map(|refusal| refusal.code).as_deref(), Some("forbidden"));
        assert_eq!(
            refusal(r#"{"op":"test","credential":"cred_01k8zq5v7d3m9x2n4b6c8f0gth"}"#).detail,
            "Name the tenant."
        );
    }
}
