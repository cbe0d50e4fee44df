//! Says what went wrong, in words that are safe for any log. It must never carry bytes of a key, of a plaintext or of a
//! ciphertext.

use thiserror::Error;

/// An envelope did not open.
///
/// There is one value and one text for every cause (wrong key, wrong context, tampering, malformed bytes), on purpose:
/// a caller who could tell them apart would hold an oracle, and no honest caller would act differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the envelope does not open in this context")]
pub struct OpenError(());

impl OpenError {
    /// The only value, made in this crate only.
    pub(crate) const OPAQUE: Self = Self(());
}

/// A key could not be sealed. Nothing was written anywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SealError {
    /// A field of the [`Context`](crate::Context) is empty, so the key would be bound to nobody in particular.
    #[error("the context of a sealed key must name a tenant, a provider, an origin and a credential")]
    IncompleteContext,
    /// A [`SealFor`](crate::SealFor) names no tenant, a provider whose name cannot stand in a sealed key's text, or a
    /// time too far away to be one.
    #[error(
        "a key is sealed for a tenant and a provider with a name of 1 to 64 characters of A-Z a-z 0-9 . _ -"
    )]
    Unsealable,
    /// The cryptographic library refused. Not expected with valid key sizes.
    #[error("the cryptographic library failed")]
    Crypto,
}

/// The text is not a provider key. Carries no part of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum InvalidApiKey {
    /// Shorter than 8 or longer than 512 bytes.
    #[error("a provider key has 8 to 512 characters")]
    Length,
    /// A byte outside 0x21..=0x7e. Space, CR, LF and NUL would let a stored key inject an HTTP header.
    #[error("a provider key has visible ASCII characters only: no spaces, no line breaks")]
    Character,
}

/// The text is not a usable master secret. Carries no part of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum InvalidMasterSecret {
    /// Not 64 characters, with or without one line feed after them.
    #[error("a master secret is 64 hexadecimal characters, with at most one line feed after them")]
    Length,
    /// A character other than 0-9, a-f, A-F.
    #[error("a master secret has hexadecimal characters only")]
    NotHexadecimal,
    /// All 32 bytes are equal: a placeholder or a broken generator, not a secret.
    #[error("the master secret repeats one byte: generate a random one")]
    Constant,
}

/// Something is not what a sealing key or its signature is made of. Carries no part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum InvalidSealingKey {
    /// Not a name.
    #[error(
        "the name of a sealing key has 1 to 64 characters of A-Z a-z 0-9 . _ - and begins with a letter or digit"
    )]
    Kid,
    /// Of another length, not on the curve, or of a low order.
    #[error("this is no public key of the suite")]
    PublicKey,
    /// Not a private Ed25519 key as `openssl genpkey -algorithm ed25519` writes it.
    #[error("this is no Ed25519 private key in PEM (PKCS #8, not encrypted)")]
    PrivatePem,
    /// Not a public Ed25519 key as `openssl pkey -pubout` writes it.
    #[error("this is no Ed25519 public key in PEM (SubjectPublicKeyInfo)")]
    PublicPem,
}

/// A signed text is not what the key signed.
///
/// One value for every cause: whoever wants to know more has the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the signature does not hold")]
pub struct BadSignature(());

impl BadSignature {
    /// The only value, made in this crate only.
    pub(crate) const OPAQUE: Self = Self(());
}

/// A primitive failed. Private: every caller turns it into its own public error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CryptoFailure;

impl From<CryptoFailure> for SealError {
    fn from(_: CryptoFailure) -> Self {
        Self::Crypto
    }
}

impl From<CryptoFailure> for OpenError {
    fn from(_: CryptoFailure) -> Self {
        Self::OPAQUE
    }
}
