//! The text in which a client sends a provider key that only the gateway can open. It must never accept a second
//! spelling of a text, nor open one for another purpose, tenant or provider than it was sealed for.
//!
//! ```text
//! v=1;kid=<name>;provider=<name>;ts=<Unix seconds>;n=<16 random bytes>;enc=<encapsulated key>;ct=<ciphertext and tag>
//!
//! info      = "keyferry/sealed/v1" || 0x00 || kid
//! aad       = purpose || LF || tenant || LF || provider || LF || ts || LF || n      each as it stands in the text
//! plaintext = the provider key
//! ```
//!
//! Every field stands once, in this order. Binary values are base64url without padding, in its canonical form; `ts` has no
//! leading zeros; the names have 1 to 64 characters of `A-Z a-z 0-9 . _ -`. All fields but the tenant are without line
//! feeds, so no two lists of fields have one `aad`. The plaintext is not padded: the length of a provider key is visible
//! to whoever sees the text.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::api_key::ApiKey;
use crate::entropy::{Entropy, draw};
use crate::error::{OpenError, SealError};
use crate::hpke;
use crate::sealing::{Kid, SealingKey, SealingPublicKey, is_name};

/// Bytes of the longest text that is looked at. The longest one that is written has about 1100.
const MAX_LEN: usize = 4096;

/// Bytes of the nonce against replay.
pub const SEAL_NONCE_LEN: usize = 16;

/// What begins the `info`, before a zero byte and the key's name.
const INFO: &[u8] = b"keyferry/sealed/v1";

/// Digits of the longest time: more than enough for a million years.
const MAX_TS_DIGITS: usize = 15;

/// Bytes of a ciphertext: a provider key of 8 to 512, and the tag.
const CIPHERTEXT_LENGTHS: std::ops::RangeInclusive<usize> = 24..=528;

/// What a key is sealed for. It is bound, so that what was sent with one request is not stored, and the other way round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SealPurpose {
    /// To serve the request it comes with.
    Request,
    /// To be stored.
    Store,
}

impl SealPurpose {
    /// The word in the associated data.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Store => "store",
        }
    }
}

/// What a sender says about the key it seals.
#[derive(Debug, Clone, Copy)]
pub struct SealFor<'a> {
    /// What it is sealed for.
    pub purpose: SealPurpose,
    /// The tenant whose key it is.
    pub tenant: &'a str,
    /// The provider that issued it.
    pub provider: &'a str,
    /// Now, in seconds since the Unix epoch.
    pub ts: u64,
}

/// Seals `key` to the public key called `kid`. Draws 16 bytes from `entropy` for `n`, then 32 for the ephemeral key.
///
/// Fails if the provider's name cannot stand in the text, or the tenant has none.
pub fn seal_key(
    public: &SealingPublicKey,
    kid: &Kid,
    sealed_for: &SealFor<'_>,
    key: &ApiKey,
    entropy: &dyn Entropy,
) -> Result<String, SealError> {
    let SealFor { purpose, tenant, provider, ts } = *sealed_for;
    if !is_name(provider) || tenant.is_empty() || ts.to_string().len() > MAX_TS_DIGITS {
        return Err(SealError::Unsealable);
    }
    let n = URL_SAFE_NO_PAD.encode(draw::<SEAL_NONCE_LEN>(entropy));
    let ts = ts.to_string();
    let aad = aad(purpose, tenant, provider, &ts, &n);
    let message =
        hpke::seal(public.kem(), public.as_bytes(), &info(kid.as_str()), &aad, key.expose(), entropy)?;
    let [enc, ct] = [message.enc, message.ciphertext].map(|bytes| URL_SAFE_NO_PAD.encode(bytes));
    Ok(format!("v=1;kid={kid};provider={provider};ts={ts};n={n};enc={enc};ct={ct}"))
}

/// A sealed key as it came, taken apart and not opened. Nothing in it is proven, and nothing in it is secret.
///
/// Whether `kid` is known, `ts` is near and `n` is new is for the caller to ask; what it does not ask before opening,
/// [`open`](Self::open) proves to be what the sender wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedKey<'a> {
    kid: &'a str,
    provider: &'a str,
    ts: u64,
    ts_text: &'a str,
    n: [u8; SEAL_NONCE_LEN],
    n_text: &'a str,
    enc: Vec<u8>,
    ciphertext: Vec<u8>,
}

impl<'a> SealedKey<'a> {
    /// Takes a text apart. Refuses every spelling but the one that [`seal_key`] writes.
    pub fn parse(text: &'a [u8]) -> Result<Self, OpenError> {
        if text.len() > MAX_LEN {
            return Err(OpenError::OPAQUE);
        }
        std::str::from_utf8(text).ok().and_then(Self::read).ok_or(OpenError::OPAQUE)
    }

    fn read(text: &'a str) -> Option<Self> {
        let mut fields = text.split(';');
        let [v, kid, provider, ts_text, n_text, enc, ct] =
            ["v", "kid", "provider", "ts", "n", "enc", "ct"].map(|name| field(name, fields.next()));
        if v? != "1" || fields.next().is_some() {
            return None;
        }
        let (kid, provider, ts_text, n_text) = (kid?, provider?, ts_text?, n_text?);
        let sealed = Self {
            kid,
            provider,
            ts: seconds(ts_text)?,
            ts_text,
            n: binary(n_text)?.try_into().ok()?,
            n_text,
            enc: binary(enc?)?,
            ciphertext: binary(ct?)?,
        };
        let lengths = hpke::Kem::ALL.iter().any(|kem| kem.public_len() == sealed.enc.len())
            && CIPHERTEXT_LENGTHS.contains(&sealed.ciphertext.len());
        (is_name(kid) && is_name(provider) && lengths).then_some(sealed)
    }

    /// The name of the key it is sealed to.
    pub fn kid(&self) -> &'a str {
        self.kid
    }

    /// The provider whose key it is.
    pub fn provider(&self) -> &'a str {
        self.provider
    }

    /// When it was sealed, in seconds since the Unix epoch, by the sender's clock.
    pub fn ts(&self) -> u64 {
        self.ts
    }

    /// What makes it one of its kind.
    pub fn n(&self) -> &[u8; SEAL_NONCE_LEN] {
        &self.n
    }

    /// Opens it if, and only if, it was sealed to `key` under the name that it says, for this purpose and tenant.
    pub fn open(&self, key: &SealingKey, purpose: SealPurpose, tenant: &str) -> Result<ApiKey, OpenError> {
        let aad = aad(purpose, tenant, self.provider, self.ts_text, self.n_text);
        let (kem, pair) = (key.public().kem(), key.pair()?);
        let secret = hpke::open(kem, &pair, &info(self.kid), &aad, &self.enc, &self.ciphertext)?;
        ApiKey::parse(secret).map_err(|_| OpenError::OPAQUE)
    }
}

fn info(kid: &str) -> Vec<u8> {
    [INFO, &[0], kid.as_bytes()].concat()
}

fn aad(purpose: SealPurpose, tenant: &str, provider: &str, ts: &str, n: &str) -> Vec<u8> {
    [purpose.as_str(), tenant, provider, ts, n].join("\n").into_bytes()
}

/// The value of `name=value`.
fn field<'a>(name: &str, text: Option<&'a str>) -> Option<&'a str> {
    text?.strip_prefix(name)?.strip_prefix('=')
}

/// Digits without a sign and without leading zeros.
fn seconds(text: &str) -> Option<u64> {
    let plain = text.len() <= MAX_TS_DIGITS && text.bytes().all(|digit| digit.is_ascii_digit());
    let canonical = text == "0" || !text.starts_with('0');
    text.parse().ok().filter(|_| plain && canonical)
}

/// Canonical base64url: no padding, no stray bits at the end, no other alphabet.
fn binary(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Kem, SecretBytes, SystemEntropy};

    /// A text whose sender seals whatever it likes, and does so correctly.
    fn sealed(plaintext: &[u8]) -> (String, SealingKey) {
        let key = SealingKey::generate(Kem::P256, &SystemEntropy);
        let n = URL_SAFE_NO_PAD.encode([7; SEAL_NONCE_LEN]);
        let aad = aad(SealPurpose::Store, "acme", "openai", "5", &n);
        let public = key.public();
        let message =
            hpke::seal(public.kem(), public.as_bytes(), &info("k"), &aad, plaintext, &SystemEntropy);
        let message = message.expect("seals");
        let [enc, ct] = [message.enc, message.ciphertext].map(|bytes| URL_SAFE_NO_PAD.encode(bytes));
        (format!("v=1;kid=k;provider=openai;ts=5;n={n};enc={enc};ct={ct}"), key)
    }

    #[test]
    fn what_was_sealed_and_is_no_provider_key_is_refused_like_what_does_not_open() {
        let too_long = [b'k'; 513];
        let cases: [(&[u8], bool); 7] = [
            (b"12345678", true),
            (&too_long[..512], true),
            (b"1234567", false),
            (&too_long, false),
            (b"", false),
            (b"sk-test 0000", false),
            (b"sk-test\r\nx: y", false),
        ];
        for (plaintext, accepted) in cases {
            let (text, key) = sealed(plaintext);
            let opened = SealedKey::parse(text.as_bytes())
                .and_then(|sealed| sealed.open(&key, SealPurpose::Store, "acme"))
                .map(|opened| {
                    opened.ct_eq(&ApiKey::parse(SecretBytes::new(plaintext.to_vec())).expect("a key"))
                });
            assert_eq!(opened, if accepted { Ok(true) } else { Err(OpenError::OPAQUE) });
        }
    }

    #[test]
    fn info_and_associated_data_are_the_documented_ones() {
        let bound = aad(SealPurpose::Request, "acme", "openai", "1800000000", "AAAAAAAAAAAAAAAAAAAAAA");
        assert_eq!(bound, b"request\nacme\nopenai\n1800000000\nAAAAAAAAAAAAAAAAAAAAAA");
        assert_eq!(info("kid_1"), b"keyferry/sealed/v1\0kid_1");
    }

    proptest! {
        /// Tenants may hold line feeds here, whatever other crates say about them; the other fields cannot.
        #[test]
        fn different_fields_have_different_associated_data(
            [left, right] in prop::array::uniform2(("[a\n]{1,4}", "[a0]{1,2}", "[01]{1,2}", "[a0]{1,2}")),
        ) {
            let of = |fields: &(String, String, String, String)| {
                aad(SealPurpose::Store, &fields.0, &fields.1, &fields.2, &fields.3)
            };
            prop_assert_eq!(left == right, of(&left) == of(&right));
        }
    }
}
