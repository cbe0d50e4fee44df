//! What KMS answered, and what that means. Nothing of its words is passed on.

use base64::{Engine, engine::general_purpose::STANDARD};
use http::StatusCode;
use keyferry_core::port::root::RootError;
use keyferry_envelope::SecretBytes;
use serde::Deserialize;

use crate::http::{Answer, away, fault};

/// What a wrapped key may take at most.
const MAX_WRAPPED: usize = 4096;
const KEY_LEN: usize = 32;

/// Why there is no result.
#[derive(Debug)]
pub(super) enum Failure {
    /// It did not take our word for who we are: other credentials may do.
    Credentials(&'static str),
    /// Anything else.
    Other(RootError),
}

impl From<RootError> for Failure {
    fn from(error: RootError) -> Self {
        Self::Other(error)
    }
}

impl From<Failure> for RootError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Credentials(why) => Self::Denied(why.to_owned()),
            Failure::Other(error) => error,
        }
    }
}

/// The answer to `Encrypt`.
pub(super) fn wrapped(answer: &Answer) -> Result<Vec<u8>, Failure> {
    #[derive(Deserialize)]
    struct Encrypted<'a> {
        #[serde(rename = "CiphertextBlob", borrow)]
        blob: &'a str,
    }
    let garbage = || RootError::Garbage("no ciphertext");
    let read: Encrypted<'_> = serde_json::from_slice(successful(answer)?).map_err(|_| garbage())?;
    let wrapped = STANDARD.decode(read.blob).map_err(|_| garbage())?;
    if wrapped.is_empty() || wrapped.len() > MAX_WRAPPED {
        return Err(garbage().into());
    }
    Ok(wrapped)
}

/// The answer to `Decrypt`. The key is decoded from the answer straight into where it stays.
pub(super) fn key(answer: &Answer) -> Result<SecretBytes, Failure> {
    #[derive(Deserialize)]
    struct Decrypted<'a> {
        #[serde(rename = "Plaintext", borrow)]
        plaintext: &'a str,
    }
    let garbage = || RootError::Garbage("no key of 32 bytes");
    let read: Decrypted<'_> = serde_json::from_slice(successful(answer)?).map_err(|_| garbage())?;
    let key = SecretBytes::try_init(KEY_LEN, |key| match STANDARD.decode_slice(read.plaintext, key) {
        Ok(KEY_LEN) => Ok(()),
        _ => Err(garbage()),
    })?;
    Ok(key)
}

fn successful(answer: &Answer) -> Result<&[u8], Failure> {
    if answer.status == StatusCode::OK { Ok(answer.body.expose()) } else { Err(failure(answer)) }
}

fn failure(answer: &Answer) -> Failure {
    if answer.status.is_server_error() || answer.status.is_redirection() {
        return fault(answer.status).unwrap_or(RootError::Garbage("an unknown status")).into();
    }
    #[derive(Deserialize)]
    struct Fault<'a> {
        #[serde(rename = "__type", borrow)]
        kind: &'a str,
    }
    let Ok(Fault { kind }) = serde_json::from_slice(answer.body.expose()) else {
        return fault(answer.status).unwrap_or(RootError::Garbage("a failure without a name")).into();
    };
    // A namespace may stand before the name.
    named(kind.rsplit('#').next().unwrap_or(kind))
}

fn named(kind: &str) -> Failure {
    let denied = |why: &str| Failure::Other(RootError::Denied(why.to_owned()));
    match kind {
        "InvalidCiphertextException" | "IncorrectKeyException" => RootError::Refused.into(),
        "ThrottlingException" | "Throttling" | "LimitExceededException" | "RequestLimitExceeded" => {
            away("it is throttling").into()
        }
        "DisabledException" => away("the key is disabled").into(),
        "KMSInvalidStateException" => away("the key's state allows no use of it").into(),
        "KMSInternalException"
        | "KMSInternal"
        | "DependencyTimeoutException"
        | "KeyUnavailableException"
        | "ServiceUnavailable"
        | "ServiceUnavailableException"
        | "InternalFailure" => away("it fails inside").into(),
        "AccessDeniedException" | "AccessDenied" | "NotAuthorizedException" | "NotAuthorized" => denied(
            "policy does not allow this with the key, or the bytes are of a key that it does not allow",
        ),
        "NotFoundException" => denied("there is no such key in this account and region"),
        "InvalidKeyUsageException" => denied("the key is not one to encrypt and decrypt with"),
        "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException" => Failure::Credentials("it does not know the access key"),
        "ExpiredTokenException" | "ExpiredToken" | "RequestExpired" => {
            Failure::Credentials("the credentials have run out")
        }
        "InvalidSignatureException"
        | "SignatureDoesNotMatch"
        | "IncompleteSignature"
        | "IncompleteSignatureException" => {
            Failure::Credentials("it does not accept the signature: the secret key or the clock is wrong")
        }
        _ => denied("it does not accept the request"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        let status = StatusCode::from_u16(status).expect("a status");
        Answer { status, body: SecretBytes::new(body.as_bytes().to_vec()) }
    }

    fn failure_of(status: u16, body: &str) -> RootError {
        key(&answer(status, body)).err().expect("a failure").into()
    }

    #[test]
    fn a_key_is_32_bytes_in_base64() {
        let body = |text: &str| format!(r#"{{"KeyId":"k","Plaintext":"{text}"}}"#);
        let good = STANDARD.encode([7; 32]);
        let read = key(&answer(200, &body(&good))).expect("a key");
        assert_eq!(read.expose(), [7; 32]);
        for bad in [
            STANDARD.encode([7; 31]),
            STANDARD.encode([7; 33]),
            String::new(),
            good.replace('=', ""),
            good.replace('B', "!"),
        ] {
            assert!(matches!(failure_of(200, &body(&bad)), RootError::Garbage(_)), "{bad}");
        }
    }

    #[test]
    fn what_is_no_json_of_theirs_is_garbage() {
        for body in ["", "{}", "[]", "null", "<html>", r#"{"Plaintext":7}"#, r#"{"Plaintext":"\u0041"}"#] {
            assert!(matches!(failure_of(200, body), RootError::Garbage(_)), "{body}");
            assert!(matches!(wrapped(&answer(200, body)), Err(Failure::Other(RootError::Garbage(_)))));
        }
        assert!(matches!(failure_of(400, "<html>"), RootError::Garbage(_)));
    }

    #[test]
    fn a_wrapped_key_is_not_empty_and_at_most_4_kib() {
        let of = |len| format!(r#"{{"CiphertextBlob":"{}"}}"#, STANDARD.encode(vec![7; len]));
        assert_eq!(wrapped(&answer(200, &of(4096))).expect("fits").len(), 4096);
        assert!(wrapped(&answer(200, &of(4097))).is_err());
        assert!(wrapped(&answer(200, &of(0))).is_err());
    }

    #[test]
    fn failures_are_told_apart_by_name_and_never_quoted() {
        let of = |name: &str| failure_of(400, &format!(r#"{{"__type":"{name}","message":"secret"}}"#));
        for name in ["InvalidCiphertextException", "com.amazonaws.kms#IncorrectKeyException"] {
            assert!(matches!(of(name), RootError::Refused), "{name}");
        }
        for name in
            ["ThrottlingException", "KMSInternalException", "DisabledException", "KMSInvalidStateException"]
        {
            assert!(matches!(of(name), RootError::Away(_)), "{name}");
        }
        for name in ["AccessDeniedException", "NotFoundException", "ExpiredTokenException", "Whatever"] {
            let error = of(name);
            assert!(matches!(error, RootError::Denied(_)), "{name}");
            assert!(!format!("{error} {error:?}").contains("secret"));
            assert!(!format!("{error} {error:?}").contains(name), "{name}");
        }
    }

    #[test]
    fn a_failing_server_is_away_whatever_it_says() {
        for body in ["", "garbage", r#"{"__type":"InvalidCiphertextException"}"#] {
            for status in [500, 502, 503, 301] {
                assert!(matches!(failure_of(status, body), RootError::Away(_)), "{status} {body}");
            }
        }
        assert!(matches!(failure_of(403, "no JSON"), RootError::Denied(_)));
        assert!(matches!(failure_of(429, "no JSON"), RootError::Away(_)));
    }
}
