//! AES-GCM in a token, and how a wrapped key is written down:
//! one byte of format version, 12 bytes of IV, the ciphertext, 16 bytes of tag.

use cryptoki::{
    error::{Error, RvError},
    mechanism::{Mechanism, aead::GcmParams},
    object::ObjectHandle,
    session::Session,
    types::Ulong,
};
use keyferry_envelope::{Entropy, SecretBytes};

const VERSION: u8 = 1;
const IV_LEN: usize = 12;
const TAG_LEN: usize = 16;

/// The version's byte, IV, ciphertext of a key of 32 bytes, and tag.
const WRAPPED_LEN: usize = 1 + IV_LEN + 32 + TAG_LEN;

/// The number used once.
pub(super) type Iv = [u8; IV_LEN];

/// Writes down what [`encrypt`] returned; `None` if it is not the size of a key.
pub(super) fn write(iv: &Iv, sealed: &[u8]) -> Option<Vec<u8>> {
    let wrapped = [&[VERSION], iv.as_slice(), sealed].concat();
    (wrapped.len() == WRAPPED_LEN).then_some(wrapped)
}

/// Takes apart what [`write`] wrote.
pub(super) fn read(wrapped: &[u8]) -> Option<(Iv, &[u8])> {
    let (iv, sealed) = wrapped.strip_prefix(&[VERSION])?.split_first_chunk()?;
    (wrapped.len() == WRAPPED_LEN).then_some((*iv, sealed))
}

fn tag_bits() -> Result<Ulong, Error> {
    Ulong::try_from(8 * TAG_LEN)
}

/// Encrypts. The IV comes back, because a token may insist on one of its own and writes it over ours.
pub(super) fn encrypt(
    session: &Session,
    key: ObjectHandle,
    aad: &[u8],
    plaintext: &[u8],
    entropy: &dyn Entropy,
) -> Result<(Iv, Vec<u8>), Error> {
    let mut iv = [0; IV_LEN];
    entropy.fill(&mut iv);
    let parameters = GcmParams::new(&mut iv, aad, tag_bits()?)?;
    let sealed = session.encrypt(&Mechanism::AesGcm(parameters), key, plaintext)?;
    Ok((iv, sealed))
}

/// Decrypts. The bytes go into the secret as they are, without a copy.
pub(super) fn decrypt(
    session: &Session,
    key: ObjectHandle,
    aad: &[u8],
    mut iv: Iv,
    sealed: &[u8],
) -> Result<SecretBytes, Error> {
    let parameters = GcmParams::new(&mut iv, aad, tag_bits()?)?;
    session.decrypt(&Mechanism::AesGcm(parameters), key, sealed).map(SecretBytes::new)
}

/// Whom a failed decryption is to be blamed on.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Blame {
    /// The data.
    Data,
    /// The token, or the way to it.
    Token,
    /// The code does not tell. SoftHSM 2 answers `CKR_GENERAL_ERROR` to a wrong tag, others a code of
    /// their own.
    Unclear,
}

/// Reads a return code of `C_Decrypt`.
pub(super) const fn blame(error: &Error) -> Blame {
    let Error::Pkcs11(code, _) = error else { return Blame::Token };
    match code {
        RvError::EncryptedDataInvalid | RvError::EncryptedDataLenRange => Blame::Data,
        RvError::GeneralError
        | RvError::FunctionFailed
        | RvError::ArgumentsBad
        | RvError::DataInvalid
        | RvError::DataLenRange
        | RvError::SignatureInvalid
        | RvError::SignatureLenRange
        | RvError::VendorDefined(_)
        | RvError::UnknownErrorCode(_) => Blame::Unclear,
        _ => Blame::Token,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_down_is_read_back() {
        let wrapped = write(&[5; 12], &[7; 48]).expect("a key's size");
        assert_eq!(wrapped.len(), 61);
        assert_eq!(read(&wrapped), Some(([5; 12], [7; 48].as_slice())));
    }

    #[test]
    fn another_size_or_version_is_nothing_of_ours() {
        assert_eq!(write(&[5; 12], &[7; 47]), None);
        let wrapped = write(&[5; 12], &[7; 48]).expect("a key's size");
        assert_eq!(read(&wrapped[..60]), None);
        assert_eq!(read(&[&wrapped[..], &[0]].concat()), None);
        assert_eq!(read(&[&[2], &wrapped[1..]].concat()), None);
        assert_eq!(read(&[]), None);
        assert_eq!(read(&[1]), None);
    }
}
