//! Signature Version 4 of AWS for `POST /` without a query, which is all that KMS needs.
//!
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/create-signed-request.html>

use std::fmt::Write;

use aws_lc_rs::{digest, hmac};
use keyferry_core::time::Timestamp;
use keyferry_envelope::SecretBytes;

use super::credentials::Credentials;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// For which service, where and when.
pub(super) struct Scope<'a> {
    pub(super) region: &'a str,
    pub(super) service: &'a str,
    /// As [`date`] writes it.
    pub(super) date: &'a str,
}

/// The header `x-amz-date`: `20150830T123600Z`.
pub(super) fn date(now: Timestamp) -> String {
    let text = now.to_rfc3339();
    let (seconds, _millis) = text.split_once('.').unwrap_or((&text, ""));
    seconds.chars().filter(|&char| char != '-' && char != ':').chain(['Z']).collect()
}

/// The header `authorization`. `headers` are those that are signed, with lower-case names, in the order
/// of their names.
pub(super) fn authorization(
    credentials: &Credentials,
    scope: &Scope<'_>,
    headers: &[(&str, &[u8])],
    body: &[u8],
) -> String {
    let names = headers.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
    let day = scope.date.get(..8).unwrap_or_default();
    let place = format!("{day}/{}/{}/aws4_request", scope.region, scope.service);
    let to_sign = [ALGORITHM, scope.date, &place, &canonical_request(headers, &names, body)].join("\n");
    let signature = hmac::sign(&signing_key(credentials, day, scope), to_sign.as_bytes());
    format!(
        "{ALGORITHM} Credential={}/{place}, SignedHeaders={names}, Signature={}",
        credentials.access_key_id,
        hex(signature.as_ref())
    )
}

/// The digest of the canonical request. It is never written down as a whole: one of the headers may be
/// a session token.
fn canonical_request(headers: &[(&str, &[u8])], names: &str, body: &[u8]) -> String {
    let mut request = digest::Context::new(&digest::SHA256);
    request.update(b"POST\n/\n\n");
    for (name, value) in headers {
        for part in [name.as_bytes(), b":", value, b"\n"] {
            request.update(part);
        }
    }
    for part in ["\n", names, "\n", &hex(digest::digest(&digest::SHA256, body).as_ref())] {
        request.update(part.as_bytes());
    }
    hex(request.finish().as_ref())
}

fn signing_key(credentials: &Credentials, day: &str, scope: &Scope<'_>) -> hmac::Key {
    let secret = credentials.secret_access_key.expose();
    let first = SecretBytes::init(4 + secret.len(), |bytes| {
        bytes[..4].copy_from_slice(b"AWS4");
        bytes[4..].copy_from_slice(secret);
    });
    let mut key = hmac::Key::new(hmac::HMAC_SHA256, first.expose());
    for part in [day, scope.region, scope.service, "aws4_request"] {
        key = hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&key, part.as_bytes()).as_ref());
    }
    key
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut digits, byte| {
        write!(digits, "{byte:02x}").expect("writing to memory does not fail");
        digits
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    type Header = (&'static str, &'static [u8]);

    const DATE: Header = ("x-amz-date", b"20150830T123600Z");
    const HOST: Header = ("host", b"example.amazonaws.com");

    /// Signs with what all cases of the published suite have in common.
    fn signed(headers: &[Header], body: &[u8]) -> (String, String) {
        let credentials = Credentials {
            access_key_id: "AKIDEXAMPLE".to_owned(),
            secret_access_key: SecretBytes::new(b"wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_vec()),
            session_token: None,
            expires: None,
        };
        let scope = Scope { region: "us-east-1", service: "service", date: "20150830T123600Z" };
        let header = authorization(&credentials, &scope, headers, body);
        let rest = header
            .strip_prefix("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, ")
            .and_then(|rest| rest.strip_prefix("SignedHeaders="))
            .expect("the form of the header");
        let (names, signature) = rest.split_once(", Signature=").expect("the form of the header");
        (names.to_owned(), signature.to_owned())
    }

    /// Cases of AWS's own signing test suite (aws-c-auth, tests/aws-signing-test-suite/v4), by name.
    #[test]
    fn signs_as_the_published_test_suite_does() {
        let form: Header = ("content-type", b"application/x-www-form-urlencoded");
        let hash: &[u8] = b"9095672bbd1f56dfc5b65f3e153adc8731a4a654192329106275f4c7b24d0b6e";
        let cases: [(&str, &[Header], &[u8], &str); 4] = [
            (
                "post-vanilla",
                &[HOST, DATE],
                b"",
                "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
            ),
            (
                "post-header-key-sort",
                &[HOST, ("my-header1", b"value1"), DATE],
                b"",
                "c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c",
            ),
            (
                "post-header-value-case",
                &[HOST, ("my-header1", b"VALUE1"), DATE],
                b"",
                "cdbc9802e29d2942e5e10b5bccfdd67c5f22c7c4e8ae67b53629efa58b974b7d",
            ),
            (
                "post-x-www-form-urlencoded",
                &[("content-length", b"13"), form, HOST, ("x-amz-content-sha256", hash), DATE],
                b"Param1=value1",
                "d3875051da38690788ef43de4db0d8f280229d82040bfac253562e56c3f20e0b",
            ),
        ];
        for (name, headers, body, expected) in cases {
            let (names, signature) = signed(headers, body);
            assert_eq!(signature, expected, "{name}");
            assert_eq!(names.split(';').count(), headers.len(), "{name}");
        }
    }

    #[test]
    fn the_date_has_no_punctuation() {
        let at = Timestamp::parse("2015-08-30T12:36:00.999Z").expect("valid");
        assert_eq!(date(at), "20150830T123600Z");
    }
}
