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
//! RFC 9052 gives the structure, RFC 9053 the algorithm; labels below -65536 are for private use. Reading takes the
//! four variable fields out, writes a layer from them anew and requires the same bytes. So unknown or missing headers,
//! another algorithm, another order, longer lengths and trailing bytes are all refused by one comparison.

use coset::cbor::Value;
use coset::cbor::de::from_reader_with_recursion_limit;
use coset::{
    CoseEncrypt0, EncryptionContext, Header, HeaderBuilder, ProtectedHeader, RegisteredLabelWithPrivate,
    TaggedCborSerializable, enc_structure_data, iana,
};

use crate::context::Purpose;
use crate::error::OpenError;
use crate::hazmat::{KEY_LEN, NONCE_LEN};

/// Bytes of the largest layer that is read. The longest one written, with a 512-byte provider key, has about 800.
pub(crate) const MAX_LEN: usize = 8 * 1024;

/// The value of the suite header: derivation and commitment by HKDF-SHA-256, content by AES-256-GCM.
const SUITE_ID: u8 = 1;

/// Private header labels, each critical. In this order they are also in the order of deterministic CBOR.
const SUITE: i64 = -70001;
const SALT: i64 = -70002;
const COMMITMENT: i64 = -70003;

/// Nesting of a layer: tag, array, map, value, with one to spare. It bounds the parser's use of the stack.
const MAX_DEPTH: usize = 5;

/// What is authenticated in the protected header beside the constants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Protected {
    /// Makes the derived key unique to this layer.
    pub(crate) salt: [u8; KEY_LEN],
    /// Commits to the key and the context.
    pub(crate) commitment: [u8; KEY_LEN],
}

/// One layer of an envelope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Layer {
    pub(crate) protected: Protected,
    pub(crate) nonce: [u8; NONCE_LEN],
    /// Ciphertext with the tag appended.
    pub(crate) ciphertext: Vec<u8>,
}

impl Protected {
    fn header(&self, purpose: Purpose) -> ProtectedHeader {
        let header = [SUITE, SALT, COMMITMENT]
            .map(RegisteredLabelWithPrivate::PrivateUse)
            .into_iter()
            .fold(HeaderBuilder::new(), HeaderBuilder::add_critical_label)
            .algorithm(iana::Algorithm::A256GCM)
            .content_type(content_type(purpose).to_owned())
            .value(SUITE, Value::from(SUITE_ID))
            .value(SALT, Value::Bytes(self.salt.to_vec()))
            .value(COMMITMENT, Value::Bytes(self.commitment.to_vec()))
            .build();
        ProtectedHeader { original_data: None, header }
    }

    /// The associated data of the AEAD: `Enc_structure` of RFC 9052 §5.3, which joins the protected header and
    /// `external_aad`.
    pub(crate) fn enc_structure(&self, purpose: Purpose, external_aad: &[u8]) -> Vec<u8> {
        enc_structure_data(EncryptionContext::CoseEncrypt0, self.header(purpose), external_aad)
    }
}

impl Layer {
    /// The one encoding of this layer.
    pub(crate) fn encode(&self, purpose: Purpose) -> Vec<u8> {
        let cose = CoseEncrypt0 {
            protected: self.protected.header(purpose),
            unprotected: Header { iv: self.nonce.to_vec(), ..Header::default() },
            ciphertext: Some(self.ciphertext.clone()),
        };
        cose.to_tagged_vec().expect("encoding to memory does not fail")
    }

    /// Reads what [`encode`](Self::encode) wrote for the same `purpose`, and nothing else.
    pub(crate) fn decode(bytes: &[u8], purpose: Purpose) -> Result<Self, OpenError> {
        if bytes.len() > MAX_LEN {
            return Err(OpenError::OPAQUE);
        }
        let layer = Self::read(bytes).ok_or(OpenError::OPAQUE)?;
        if layer.encode(purpose) != bytes {
            return Err(OpenError::OPAQUE);
        }
        Ok(layer)
    }

    /// Finds the variable fields. Lenient: only the comparison in [`decode`](Self::decode) makes the result count.
    fn read(bytes: &[u8]) -> Option<Self> {
        let Value::Tag(_, body) = parse(bytes)? else { return None };
        let Value::Array(parts) = *body else { return None };
        let [protected, unprotected, ciphertext] = <[Value; 3]>::try_from(parts).ok()?;
        let protected = parse(protected.as_bytes()?)?;
        Some(Self {
            protected: Protected {
                salt: field(&protected, SALT)?,
                commitment: field(&protected, COMMITMENT)?,
            },
            nonce: field(&unprotected, iana::HeaderParameter::Iv as i64)?,
            ciphertext: ciphertext.into_bytes().ok()?,
        })
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

/// One CBOR item at the start of `bytes`.
fn parse(bytes: &[u8]) -> Option<Value> {
    from_reader_with_recursion_limit(bytes, MAX_DEPTH).ok()
}

/// The byte string of exactly `N` bytes under `label` in `map`.
fn field<const N: usize>(map: &Value, label: i64) -> Option<[u8; N]> {
    let (_, value) = map.as_map()?.iter().find(|(key, _)| *key == Value::from(label))?;
    value.as_bytes()?.as_slice().try_into().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn layer() -> Layer {
        Layer {
            protected: Protected { salt: [0x51; 32], commitment: [0xc0; 32] },
            nonce: [0x12; NONCE_LEN],
            ciphertext: vec![0xee; 48],
        }
    }

    /// A layer with other headers than ours, encoded by the COSE library.
    fn encode_with(protected: Header, unprotected: Header) -> Vec<u8> {
        let protected = ProtectedHeader { original_data: None, header: protected };
        let cose = CoseEncrypt0 { protected, unprotected, ciphertext: Some(layer().ciphertext) };
        cose.to_tagged_vec().expect("encodes")
    }

    fn headers() -> (Header, Header) {
        let protected = layer().protected.header(Purpose::Record).header;
        (protected, Header { iv: layer().nonce.to_vec(), ..Header::default() })
    }

    #[test]
    fn reads_what_it_wrote() {
        let (protected, unprotected) = headers();
        let bytes = layer().encode(Purpose::Record);
        assert_eq!(encode_with(protected, unprotected), bytes);
        assert_eq!(Layer::decode(&bytes, Purpose::Record), Ok(layer()));
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
        let largest = |len| Layer { ciphertext: vec![0; len], ..layer() }.encode(Purpose::Record);
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
