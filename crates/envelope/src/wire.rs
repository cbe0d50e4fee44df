//! Writes one layer of an envelope as COSE_Encrypt0 and reads it back. It must never accept bytes that it would not
//! have written itself.
//!
//! ```text
//! 16([ << { 1: 3,                                      alg: A256GCM
//!          2: [-70001, -70002, -70003],                crit: whoever does not know them must refuse
//!          3: "application/vnd.keyferry.api-key",      content type: what the plaintext is
//!          -70001: 1,                                  suite: HKDF-SHA-256, commitment, AES-256-GCM
//!          -70002: h'..32..',                          salt
//!          -70003: h'..32..' } >>,                     commitment
//!      { 5: h'..12..' },                               nonce
//!      h'..' ])                                        ciphertext with its tag
//! ```
//!
//! RFC 9052 gives the structure, RFC 9053 the algorithm; labels below -65536 are for private use. A layer has one
//! spelling: reading compares every byte that is not one of the four variable fields with what must stand there. So
//! unknown or missing headers, another algorithm, another order, longer lengths and trailing bytes are all refused.
//!
//! A stored key is opened for every request, so this is written byte by byte. The tests read and write the same with a
//! COSE library.

use crate::cbor;
use crate::context::Purpose;
use crate::error::OpenError;
use crate::hazmat::{KEY_LEN, NONCE_LEN};

/// Bytes of the largest layer that is read. The longest one written, with a 512-byte provider key, has about 800.
pub(crate) const MAX_LEN: usize = 8 * 1024;

/// Tag 16, COSE_Encrypt0, and the head of its array of three.
const BEGIN: &[u8] = &[0xd0, 0x83];
/// A map of six: algorithm A256GCM, and the three critical labels.
const ALGORITHM: &[u8] = b"\xa6\x01\x03\x02\x83\x3a\x00\x01\x11\x70\x3a\x00\x01\x11\x71\x3a\x00\x01\x11\x72";
/// The label of the content type. All of them are texts of 24 to 255 bytes, whose length takes a byte of its own.
const CONTENT_TYPE: &[u8] = &[0x03, 0x78];
/// Suite 1: derivation and commitment by HKDF-SHA-256, content by AES-256-GCM. Then the label of the salt, and its head.
const SUITE: &[u8] = b"\x3a\x00\x01\x11\x70\x01\x3a\x00\x01\x11\x71\x58\x20";
/// The label of the commitment, and its head.
const COMMITMENT: &[u8] = b"\x3a\x00\x01\x11\x72\x58\x20";
/// The unprotected header: a map of one, its label, and the head of the nonce.
const NONCE: &[u8] = &[0xa1, 0x05, 0x4c];
/// What is authenticated: an array of three, and its first item, the text `Encrypt0`.
const ENC_STRUCTURE: &[u8] = b"\x83\x68Encrypt0";

/// What is authenticated in the protected header beside the constants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Protected<'a> {
    /// Makes the derived key unique to this layer.
    pub(crate) salt: &'a [u8; KEY_LEN],
    /// Commits to the key and the context.
    pub(crate) commitment: &'a [u8; KEY_LEN],
}

/// One layer of an envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Layer<'a> {
    pub(crate) protected: Protected<'a>,
    pub(crate) nonce: [u8; NONCE_LEN],
    /// Ciphertext with the tag appended.
    pub(crate) ciphertext: &'a [u8],
}

impl Protected<'_> {
    const fn len(purpose: Purpose) -> usize {
        let constant = ALGORITHM.len() + CONTENT_TYPE.len() + 1 + SUITE.len() + COMMITMENT.len();
        constant + content_type(purpose).len() + 2 * KEY_LEN
    }

    /// As a byte string.
    fn encode(&self, to: &mut Vec<u8>, purpose: Purpose) {
        let content_type = content_type(purpose).as_bytes();
        to.extend_from_slice(cbor::bytes_head(Self::len(purpose)).as_bytes());
        for part in [ALGORITHM, CONTENT_TYPE, &[content_type.len() as u8], content_type] {
            to.extend_from_slice(part);
        }
        for part in [SUITE, self.salt, COMMITMENT, self.commitment] {
            to.extend_from_slice(part);
        }
    }

    /// The associated data of the AEAD: `Enc_structure` of RFC 9052 §5.3, which joins the protected header and
    /// `external_aad`.
    pub(crate) fn enc_structure(&self, purpose: Purpose, external_aad: &[u8]) -> Vec<u8> {
        let room = ENC_STRUCTURE.len() + Self::len(purpose) + external_aad.len() + 2 * cbor::HEAD;
        let mut encoded = Vec::with_capacity(room);
        encoded.extend_from_slice(ENC_STRUCTURE);
        self.encode(&mut encoded, purpose);
        cbor::bytes(&mut encoded, external_aad);
        encoded
    }
}

impl<'a> Layer<'a> {
    /// The one encoding of this layer.
    pub(crate) fn encode(&self, purpose: Purpose) -> Vec<u8> {
        let room = BEGIN.len() + Protected::len(purpose) + NONCE.len() + NONCE_LEN + self.ciphertext.len();
        let mut encoded = Vec::with_capacity(room + 2 * cbor::HEAD);
        encoded.extend_from_slice(BEGIN);
        self.protected.encode(&mut encoded, purpose);
        encoded.extend_from_slice(NONCE);
        encoded.extend_from_slice(&self.nonce);
        cbor::bytes(&mut encoded, self.ciphertext);
        encoded
    }

    /// Reads what [`encode`](Self::encode) wrote for the same `purpose`, and nothing else.
    pub(crate) fn decode(bytes: &'a [u8], purpose: Purpose) -> Result<Self, OpenError> {
        if bytes.len() > MAX_LEN {
            return Err(OpenError::OPAQUE);
        }
        Self::read(bytes, purpose).ok_or(OpenError::OPAQUE)
    }

    fn read(bytes: &'a [u8], purpose: Purpose) -> Option<Self> {
        let content_type = content_type(purpose).as_bytes();
        let mut rest = Rest(bytes);
        rest.must_be(BEGIN)?;
        // The head of a byte string of 24 to 255 bytes.
        rest.must_be(&[0x58, Protected::len(purpose) as u8])?;
        rest.must_be(ALGORITHM)?;
        rest.must_be(CONTENT_TYPE)?;
        rest.must_be(&[content_type.len() as u8])?;
        rest.must_be(content_type)?;
        rest.must_be(SUITE)?;
        let salt = rest.take()?;
        rest.must_be(COMMITMENT)?;
        let commitment = rest.take()?;
        rest.must_be(NONCE)?;
        let nonce = *rest.take()?;
        let ciphertext = cbor::last_bytes(rest.0)?;
        Some(Self { protected: Protected { salt, commitment }, nonce, ciphertext })
    }
}

/// What is not read yet.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn must_be(&mut self, expected: &[u8]) -> Option<()> {
        self.0 = self.0.strip_prefix(expected)?;
        Some(())
    }

    fn take<const N: usize>(&mut self) -> Option<&'a [u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(taken)
    }
}

/// Says what the plaintext is, so that a stray file can be recognised.
const fn content_type(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Record => "application/vnd.keyferry.api-key",
        Purpose::Dek => "application/vnd.keyferry.dek",
        Purpose::Key => "application/vnd.keyferry.key",
    }
}

/// What is written as one byte of length behind its head must be so long.
const _: () = {
    let purposes = [Purpose::Record, Purpose::Dek, Purpose::Key];
    let mut at = 0;
    while at < purposes.len() {
        assert!(content_type(purposes[at]).len() > 23 && Protected::len(purposes[at]) < 256);
        at += 1;
    }
};

#[cfg(test)]
mod tests {
    use coset::cbor::Value;
    use coset::{
        CoseEncrypt0, EncryptionContext, Header, HeaderBuilder, ProtectedHeader, RegisteredLabelWithPrivate,
        TaggedCborSerializable, enc_structure_data, iana,
    };
    use proptest::prelude::*;

    use super::*;

    fn layer() -> Layer<'static> {
        Layer {
            protected: Protected { salt: &[0x51; 32], commitment: &[0xc0; 32] },
            nonce: [0x12; NONCE_LEN],
            ciphertext: &[0xee; 48],
        }
    }

    /// The protected header as the COSE library has it.
    fn protected_header(layer: &Layer<'_>, purpose: Purpose) -> Header {
        [-70001, -70002, -70003]
            .map(RegisteredLabelWithPrivate::PrivateUse)
            .into_iter()
            .fold(HeaderBuilder::new(), HeaderBuilder::add_critical_label)
            .algorithm(iana::Algorithm::A256GCM)
            .content_type(content_type(purpose).to_owned())
            .value(-70001, Value::from(1))
            .value(-70002, Value::Bytes(layer.protected.salt.to_vec()))
            .value(-70003, Value::Bytes(layer.protected.commitment.to_vec()))
            .build()
    }

    /// A layer with other headers than ours, encoded by the COSE library.
    fn encode_with(protected: Header, unprotected: Header) -> Vec<u8> {
        let protected = ProtectedHeader { original_data: None, header: protected };
        let cose = CoseEncrypt0 { protected, unprotected, ciphertext: Some(layer().ciphertext.to_vec()) };
        cose.to_tagged_vec().expect("encodes")
    }

    fn headers() -> (Header, Header) {
        let protected = protected_header(&layer(), Purpose::Record);
        (protected, Header { iv: layer().nonce.to_vec(), ..Header::default() })
    }

    #[test]
    fn reads_what_it_wrote() {
        let (protected, unprotected) = headers();
        let bytes = layer().encode(Purpose::Record);
        assert_eq!(encode_with(protected, unprotected), bytes);
        assert_eq!(Layer::decode(&bytes, Purpose::Record), Ok(layer()));
    }

    /// Lengths around those at which the heads grow, and every purpose.
    #[test]
    fn the_cose_library_writes_the_same() {
        for purpose in [Purpose::Record, Purpose::Dek, Purpose::Key] {
            for len in [0, 1, 16, 23, 24, 48, 255, 256, 600, 4000] {
                let ciphertext = vec![0xee; len];
                let layer = Layer { ciphertext: &ciphertext, ..layer() };
                let header = protected_header(&layer, purpose);
                let protected = ProtectedHeader { original_data: None, header };
                let cose = CoseEncrypt0 {
                    protected: protected.clone(),
                    unprotected: Header { iv: layer.nonce.to_vec(), ..Header::default() },
                    ciphertext: Some(ciphertext.clone()),
                };
                assert_eq!(layer.encode(purpose), cose.to_tagged_vec().expect("encodes"), "{len}");
                assert_eq!(Layer::decode(&layer.encode(purpose), purpose), Ok(layer));
                let theirs = enc_structure_data(EncryptionContext::CoseEncrypt0, protected, &ciphertext);
                assert_eq!(layer.protected.enc_structure(purpose, &ciphertext), theirs, "{len}");
            }
        }
    }

    #[test]
    fn the_layout_is_the_documented_one() {
        let expected = format!(
            "d083 588b a6 0103 02833a000111703a000111713a00011172 037820{} \
             3a0001117001 3a000111715820{} 3a000111725820{} a1054c{} 5830{}",
            hex::encode("application/vnd.keyferry.api-key"),
            "51".repeat(32),
            "c0".repeat(32),
            "12".repeat(12),
            "ee".repeat(48),
        );
        assert_eq!(hex::encode(layer().encode(Purpose::Record)), expected.replace(' ', ""));
    }

    #[test]
    fn one_purpose_does_not_read_the_other() {
        assert!(Layer::decode(&layer().encode(Purpose::Record), Purpose::Dek).is_err());
        assert!(Layer::decode(&layer().encode(Purpose::Dek), Purpose::Record).is_err());
    }

    /// A change of the protected and the unprotected header.
    type Change = fn(&mut Header, &mut Header);

    #[test]
    fn refuses_other_headers_than_its_own() {
        let changes: [(&str, Change); 11] = [
            ("other algorithm", |p, _| p.alg = Some(iana::Algorithm::A128GCM.into())),
            ("no algorithm", |p, _| p.alg = None),
            ("no crit", |p, _| p.crit.clear()),
            ("one crit label missing", |p, _| p.crit.truncate(2)),
            ("unknown crit label", |p, _| p.crit.push(RegisteredLabelWithPrivate::PrivateUse(-70009))),
            ("crit in another order", |p, _| p.crit.reverse()),
            ("other suite", |p, _| p.rest[0].1 = Value::from(2)),
            ("extra protected header", |p, _| p.key_id = vec![1]),
            ("headers in another order", |p, _| p.rest.reverse()),
            ("extra unprotected header", |_, u| u.key_id = vec![1]),
            ("short nonce", |_, u| u.iv.truncate(11)),
        ];
        for (name, change) in changes {
            let (mut protected, mut unprotected) = headers();
            change(&mut protected, &mut unprotected);
            assert!(Layer::decode(&encode_with(protected, unprotected), Purpose::Record).is_err(), "{name}");
        }
    }

    #[test]
    fn refuses_other_encodings_of_the_same_layer() {
        let bytes = layer().encode(Purpose::Record);
        let whole = hex::encode(&bytes);
        let rewritten = |from: &str, to: &str| {
            assert_eq!(whole.matches(from).count(), 1, "{from}");
            hex::decode(whole.replacen(from, to, 1)).expect("hexadecimal")
        };
        let cases = [
            ("untagged", bytes[1..].to_vec()),
            ("another tag", rewritten("d083", "d183")),
            ("tag in two bytes", rewritten("d083", "d81083")),
            ("two tags", rewritten("d083", "d0d083")),
            ("indefinite array", [&rewritten("d083", "d09f")[..], &[0xff]].concat()),
            ("longer length", rewritten("5830", "590030")),
            ("longer integer", rewritten("588ba60103", "588ca6180103")),
            ("trailing byte", [&bytes[..], &[0]].concat()),
        ];
        for (name, bytes) in cases {
            assert!(Layer::decode(&bytes, Purpose::Record).is_err(), "{name}");
        }
    }

    #[test]
    fn refuses_too_many_bytes_before_reading_them() {
        let largest = |len| Layer { ciphertext: &vec![0; len], ..layer() }.encode(Purpose::Record);
        let overhead = largest(1024).len() - 1024;
        assert!(Layer::decode(&largest(MAX_LEN - overhead), Purpose::Record).is_ok());
        assert!(Layer::decode(&largest(MAX_LEN - overhead + 1), Purpose::Record).is_err());
    }

    #[test]
    fn survives_nesting_and_lengths_made_to_hurt() {
        for repeated in [0x81, 0x9f, 0xd0, 0xa1, 0xbf, 0x5f, 0x7f] {
            assert!(Layer::decode(&vec![repeated; MAX_LEN], Purpose::Record).is_err());
        }
        for length in ["5bffffffffffffffff", "9bffffffffffffffff", "bbffffffffffffffff", "7bffffffffffffffff"]
        {
            let bytes = hex::decode(format!("d083{length}")).expect("hexadecimal");
            assert!(Layer::decode(&bytes, Purpose::Record).is_err());
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_refused_or_are_their_own_encoding(
            mut bytes in prop::collection::vec(any::<u8>(), 0..64),
            cut in 0_usize..250,
        ) {
            // Half of the input is a real prefix, so that the reader gets past the first byte.
            let prefix = layer().encode(Purpose::Record);
            bytes.splice(0..0, prefix[..cut.min(prefix.len())].iter().copied());
            if let Ok(layer) = Layer::decode(&bytes, Purpose::Record) {
                prop_assert_eq!(layer.encode(Purpose::Record), bytes);
            }
        }
    }
}
