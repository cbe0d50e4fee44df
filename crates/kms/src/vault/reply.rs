//! What the server's answers mean. None of their text goes anywhere: what is told is told in words of
//! ours.

use base64::{Engine, engine::general_purpose::STANDARD};
use keyferry_core::port::root::RootError;
use keyferry_envelope::SecretBytes;
use serde::Deserialize;

use crate::http::{Answer, away, fault};

/// The length of every key that is wrapped.
const KEY: usize = 32;
/// Nonce, key and tag.
const LEAST: usize = 12 + KEY + 16;
/// What the port promises of wrapped keys.
const MOST: usize = 4096;

/// `vault:v<version>:<Base64>`, as OpenBao writes it too.
pub(super) struct Ciphertext<'a> {
    text: &'a str,
    version: u32,
}

impl<'a> Ciphertext<'a> {
    pub(super) fn read(bytes: &'a [u8]) -> Option<Self> {
        let text = str::from_utf8(bytes).ok().filter(|text| text.len() <= MOST)?;
        let (version, encoded) = text.strip_prefix("vault:v")?.split_once(':')?;
        let number: u32 = version.parse().ok().filter(|number| *number > 0)?;
        let is_whole = STANDARD.decode(encoded).is_ok_and(|sealed| sealed.len() >= LEAST);
        // `+1` and `01` are numbers as well, but not as the server writes them.
        (is_whole && number.to_string() == version).then_some(Self { text, version: number })
    }

    pub(super) const fn text(&self) -> &'a str {
        self.text
    }

    /// The version of the Transit key.
    pub(super) const fn version(&self) -> u32 {
        self.version
    }
}

/// A wrapped key.
pub(super) fn wrapped(answer: &Answer) -> Result<Vec<u8>, RootError> {
    #[derive(Deserialize)]
    struct Encrypted<'a> {
        ciphertext: &'a str,
    }
    judged(answer, Asked::ToEncrypt)?;
    let data: Encrypted<'_> = data(answer)?;
    Ciphertext::read(data.ciphertext.as_bytes())
        .map(|ciphertext| ciphertext.text().as_bytes().to_vec())
        .ok_or(RootError::Garbage("no ciphertext of Transit"))
}

/// An unwrapped key. It is decoded from the body, which is wiped, to its place.
pub(super) fn key(answer: &Answer) -> Result<SecretBytes, RootError> {
    #[derive(Deserialize)]
    struct Decrypted<'a> {
        plaintext: &'a str,
    }
    judged(answer, Asked::ToDecrypt)?;
    let data: Decrypted<'_> = data(answer)?;
    SecretBytes::try_init(KEY, |to| match STANDARD.decode_slice(data.plaintext, to) {
        Ok(KEY) => Ok(()),
        Ok(_) | Err(_) => Err(RootError::Garbage("no key of 32 bytes")),
    })
}

/// The token that asked, as the server sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Lease {
    /// Seconds left; 0 for ever.
    #[serde(alias = "lease_duration")]
    pub(super) ttl: u64,
    #[serde(default)]
    pub(super) renewable: bool,
}

/// The answer to `lookup-self`.
pub(super) fn looked_up(answer: &Answer) -> Result<Lease, RootError> {
    judged(answer, Asked::AboutToken)?;
    data(answer)
}

/// The answer to `renew-self`.
pub(super) fn renewed(answer: &Answer) -> Result<Lease, RootError> {
    #[derive(Deserialize)]
    struct Renewed {
        auth: Lease,
    }
    judged(answer, Asked::AboutToken)?;
    let renewed: Renewed = serde_json::from_slice(answer.body.expose()).map_err(|_| NO_ANSWER)?;
    Ok(renewed.auth)
}

const NO_ANSWER: RootError = RootError::Garbage("not an answer of Vault");

/// The member `data`. Texts are borrowed from the body; one that would have to be unescaped into a
/// copy is an error.
fn data<'a, T: Deserialize<'a>>(answer: &'a Answer) -> Result<T, RootError> {
    #[derive(Deserialize)]
    struct Data<T> {
        data: T,
    }
    let whole: Data<T> = serde_json::from_slice(answer.body.expose()).map_err(|_| NO_ANSWER)?;
    Ok(whole.data)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    ToEncrypt,
    ToDecrypt,
    AboutToken,
}

/// Whether the answer is one to what was asked.
fn judged(answer: &Answer, asked: Asked) -> Result<(), RootError> {
    let denied = |words: &str| Err(RootError::Denied(words.to_owned()));
    match answer.status.as_u16() {
        200 => Ok(()),
        400 if asked == Asked::AboutToken => denied("the token in `token_file` cannot be renewed"),
        400 => match OperatorsFault::named_in(answer.body.expose()) {
            Some(fault @ OperatorsFault::TooOld) if asked == Asked::ToDecrypt => {
                Err(RootError::Outdated(fault.words()))
            }
            Some(fault) => denied(fault.words()),
            None if asked == Asked::ToDecrypt => Err(RootError::Refused),
            None => denied("it does not encrypt with this Transit `key`: is its type aes256-gcm96?"),
        },
        401 | 403 => denied(
            "the token in `token_file` is not valid any more, or its policy does not allow this: are \
             `mount` and `key` those of the policy?",
        ),
        404 => denied("there is no Transit engine at this `mount` in this `namespace`"),
        405 => denied("what is at this `mount` is not a Transit engine"),
        412 | 472 | 473 => Err(away("this server cannot answer now")),
        503 => Err(away("it is sealed or in maintenance")),
        _ => Err(fault(answer.status).unwrap_or(NO_ANSWER)),
    }
}

/// Where a 400 does not speak of the ciphertext but of the Transit key. It must not pass for a key
/// that does not open: the operator can mend it, and then every key opens again.
#[derive(Clone, Copy)]
enum OperatorsFault {
    NoKey,
    TooOld,
    Deleted,
    WrongType,
}

impl OperatorsFault {
    /// Parts of the messages of Vault and OpenBao alike.
    const MARKS: [(&'static str, Self); 6] = [
        ("encryption key not found", Self::NoKey),
        ("disallowed by policy (too old)", Self::TooOld),
        ("soft-deleted key", Self::Deleted),
        ("for non-AEAD cipher suite", Self::WrongType),
        ("not supported for key type", Self::WrongType),
        ("unsupported key type", Self::WrongType),
    ];

    fn named_in(body: &[u8]) -> Option<Self> {
        let body = str::from_utf8(body).ok()?;
        Self::MARKS.iter().find(|(mark, _)| body.contains(mark)).map(|(_, fault)| *fault)
    }

    const fn words(self) -> &'static str {
        match self {
            Self::NoKey => "the Transit `key` does not exist: create or restore it",
            Self::TooOld => "the version of the Transit key is below its min_decryption_version: lower that",
            Self::Deleted => "the Transit `key` is soft-deleted: restore it",
            Self::WrongType => "the Transit `key` is of the wrong type: aes256-gcm96 is expected",
        }
    }
}

#[cfg(test)]
mod tests;
