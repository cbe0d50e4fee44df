//! Names of things. A name is checked when it is made, so that whoever holds one need not ask again. It is shared, not
//! copied: a request hands its names on many times.

use std::{borrow::Borrow, fmt, str::FromStr, sync::Arc};

use keyferry_envelope::Entropy;
use serde::{Deserialize, Deserializer, Serialize, de};

use crate::time::Timestamp;

/// Why a text is no identifier.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("expected 1 to 64 characters of A-Z a-z 0-9 . _ - that begin with a letter or digit")]
pub struct InvalidId;

fn is_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() <= 64
        && bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, schemars::JsonSchema)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The same text, to be shared.
            pub fn shared(&self) -> Arc<str> {
                Arc::clone(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                if is_name(text) { Ok(Self(text.into())) } else { Err(InvalidId) }
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'_, str>>::deserialize(deserializer)?;
                text.parse().map_err(de::Error::custom)
            }
        }
    };
}

identifier!(
    /// The unit of isolation and accounting; chosen by the operator.
    TenantId
);
identifier!(
    /// A provider in the configuration: `openai`, `anthropic`, `gemini` or one the operator named.
    ProviderId
);
identifier!(
    /// A provider key in custody. Made by the gateway, `cred_…`.
    CredentialId
);
identifier!(
    /// The public half of a gateway token.
    TokenId
);
identifier!(
    /// An issuer of JWTs that a tenant registered, `iss_…`.
    IssuerId
);
identifier!(
    /// One request through the data plane, `req_…`.
    RequestId
);
identifier!(
    /// A tier in the configuration.
    TierName
);
identifier!(
    /// A name in the configuration that stands for models. It has no slash, so none is also `provider/model`.
    AliasName
);

impl CredentialId {
    /// A fresh id, ordered by time.
    pub fn make(now: Timestamp, entropy: &dyn Entropy) -> Self {
        Self(make("cred_", now, entropy).into())
    }

    /// Whether it has the form of those that are made. Any name can be asked for; one of another form
    /// is nothing that a gateway gave out, and may be a key in the wrong place.
    pub fn has_made_form(&self) -> bool {
        let rest = self.0.strip_prefix("cred_").unwrap_or_default().as_bytes();
        rest.len() == LENGTH && rest.iter().all(|byte| ALPHABET.contains(byte))
    }
}

impl IssuerId {
    /// A fresh id, ordered by time.
    pub fn make(now: Timestamp, entropy: &dyn Entropy) -> Self {
        Self(make("iss_", now, entropy).into())
    }
}

impl RequestId {
    /// A fresh id, ordered by time.
    pub fn make(now: Timestamp, entropy: &dyn Entropy) -> Self {
        Self(make("req_", now, entropy).into())
    }
}

/// Crockford's base 32, in lower case.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// Characters of a made id behind its prefix.
const LENGTH: usize = 26;

/// The longest prefix of a made id.
const LONGEST_PREFIX: usize = 8;

/// A made id, not on the heap yet.
pub(crate) struct Made {
    text: [u8; LONGEST_PREFIX + LENGTH],
    length: usize,
}

impl Made {
    fn as_str(&self) -> &str {
        let text = std::str::from_utf8(&self.text[..self.length]);
        text.unwrap_or_else(|_| unreachable!("prefixes and the alphabet are ASCII"))
    }
}

impl From<Made> for Arc<str> {
    fn from(made: Made) -> Self {
        made.as_str().into()
    }
}

impl From<Made> for String {
    fn from(made: Made) -> Self {
        made.as_str().to_owned()
    }
}

/// Crockford's base 32 of 48 bits of milliseconds and 80 random bits: 26 characters that sort by
/// time (the ULID layout).
pub(crate) fn make(prefix: &str, now: Timestamp, entropy: &dyn Entropy) -> Made {
    let mut bytes = [0u8; 16];
    entropy.fill(&mut bytes[6..]);
    bytes[..6].copy_from_slice(&now.millis().max(0).to_be_bytes()[2..]);
    let mut number = u128::from_be_bytes(bytes);
    let (mut text, length) = ([0u8; LONGEST_PREFIX + LENGTH], prefix.len() + LENGTH);
    text[..prefix.len()].copy_from_slice(prefix.as_bytes());
    for slot in text[prefix.len()..length].iter_mut().rev() {
        *slot = ALPHABET[(number & 31) as usize];
        number >>= 5;
    }
    Made { text, length }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keyferry_envelope::SystemEntropy;

    #[test]
    fn made_ids_sort_by_time_and_never_repeat() {
        let early = RequestId::make(Timestamp::from_millis(1000), &SystemEntropy);
        let late = RequestId::make(Timestamp::from_millis(2000), &SystemEntropy);
        assert!(early < late);
        assert_ne!(late, RequestId::make(Timestamp::from_millis(2000), &SystemEntropy));
        assert_eq!(late.as_str().len(), 30);
    }

    #[test]
    fn a_credential_that_was_made_is_told_from_other_names() {
        let made = CredentialId::make(Timestamp::from_millis(1000), &SystemEntropy);
        assert!(made.has_made_form(), "{made}");
        for other in ["cred_1", "sk-proj-Zq7Hc2Vt9Lm4Xw8Rb0001Kd6", "cred_Zq7Hc2Vt9Lm4Xw8Rb0001Kd6Ny"] {
            assert!(!other.parse::<CredentialId>().expect("a name").has_made_form(), "{other}");
        }
    }

    #[test]
    fn names_that_could_change_a_path_are_refused() {
        for bad in ["", ".", "..", "a/b", "a b", "ä", "-a", "a%2f", &"x".repeat(65)] {
            assert_eq!(bad.parse::<TenantId>(), Err(InvalidId), "{bad:?}");
        }
        assert!("acme-Corp_1.eu".parse::<TenantId>().is_ok());
    }
}
