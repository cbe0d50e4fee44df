//! Runs RFC 9180's own vectors, and the same messages through an implementation on another cryptographic stack.

use std::sync::Mutex;

use ::hpke::aead::AesGcm256;
use ::hpke::kdf::HkdfSha256;
use ::hpke::kem::{DhP256HkdfSha256, X25519HkdfSha256};
use ::hpke::{Deserializable, OpModeR, OpModeS, Serializable};
use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::entropy::SystemEntropy;

/// Delivers given bytes, once.
struct Given(Mutex<Vec<u8>>);

impl Entropy for Given {
    fn fill(&self, buf: &mut [u8]) {
        let mut left = self.0.lock().expect("not poisoned");
        let rest = left.split_off(buf.len());
        buf.copy_from_slice(&left);
        *left = rest;
    }
}

fn vectors() -> Value {
    serde_json::from_str(include_str!("../../vectors/hpke/rfc9180.json")).expect("valid JSON")
}

fn bytes(case: &Value, field: &str) -> Vec<u8> {
    hex::decode(case[field].as_str().expect("text")).expect("hexadecimal")
}

fn secret(case: &Value, field: &str) -> SecretBytes {
    SecretBytes::new(bytes(case, field))
}

fn kem(case: &Value) -> Kem {
    case["kem_id"].as_u64().and_then(|id| Kem::from_id(id as u16)).expect("one of the two")
}

#[test]
fn key_pairs_and_shared_secrets_are_those_of_rfc_9180() {
    let vectors = vectors();
    let cases = vectors["kem"].as_array().expect("a list");
    assert_eq!(cases.len(), 16);
    for case in cases {
        let kem = kem(case);
        let recipient = derive_key_pair(kem, &secret(case, "ikmR")).expect("derives");
        assert_eq!(recipient.scalar.expose(), bytes(case, "skRm"));
        assert_eq!(recipient.public, bytes(case, "pkRm"));
        let ephemeral = derive_key_pair(kem, &secret(case, "ikmE")).expect("derives");
        assert_eq!(ephemeral.scalar.expose(), bytes(case, "skEm"));
        assert_eq!(ephemeral.public, bytes(case, "enc"));
        for (scalar, peer) in [(&ephemeral.scalar, &recipient.public), (&recipient.scalar, &ephemeral.public)]
        {
            let dh = agreement::agree(kem.curve(), scalar, peer).expect("agrees");
            let shared = shared_secret(kem, &dh, &[&ephemeral.public, &recipient.public]);
            assert_eq!(shared.expose(), bytes(case, "shared_secret"));
        }
    }
}

#[test]
fn messages_are_those_of_rfc_9180() {
    let vectors = vectors();
    let cases = vectors["suites"].as_array().expect("a list");
    assert_eq!(cases.len(), 2);
    for case in cases {
        let kem = kem(case);
        assert_eq!([&case["kdf_id"], &case["aead_id"]], [&Value::from(KDF_ID), &Value::from(AEAD_ID)]);
        let info = bytes(case, "info");
        let (key, nonce) = schedule(kem, &secret(case, "shared_secret"), &info).expect("derives");
        assert_eq!((key.expose(), &nonce[..]), (&bytes(case, "key")[..], &bytes(case, "base_nonce")[..]));

        let (aad, plaintext) = (bytes(case, "aad"), bytes(case, "pt"));
        let entropy = Given(Mutex::new(bytes(case, "ikmE")));
        let message = seal(kem, &bytes(case, "pkRm"), &info, &aad, &plaintext, &entropy).expect("seals");
        assert_eq!((&message.enc, &message.ciphertext), (&bytes(case, "enc"), &bytes(case, "ct")));
        let pair = derive_key_pair(kem, &secret(case, "ikmR")).expect("derives");
        let opened = open(kem, &pair, &info, &aad, &message.enc, &message.ciphertext);
        assert_eq!(opened.expect("opens").expose(), plaintext);
    }
}

/// A message by the other implementation, to the key pair derived from `ikm`, which must be the same.
fn sealed_by_other<K: ::hpke::Kem>(
    ikm: &[u8],
    info: &[u8],
    aad: &[u8],
    plaintext: &[u8],
) -> (Vec<u8>, Vec<u8>, Vec<u8>) {
    let (_, public) = K::derive_keypair(ikm);
    let (enc, ciphertext) =
        ::hpke::single_shot_seal::<AesGcm256, HkdfSha256, K>(&OpModeS::Base, &public, info, plaintext, aad)
            .expect("seals");
    (public.to_bytes().to_vec(), enc.to_bytes().to_vec(), ciphertext)
}

fn opened_by_other<K: ::hpke::Kem>(
    ikm: &[u8],
    info: &[u8],
    aad: &[u8],
    message: &Message,
) -> Option<Vec<u8>> {
    let (private, _) = K::derive_keypair(ikm);
    let enc = K::EncappedKey::from_bytes(&message.enc).ok()?;
    ::hpke::single_shot_open::<AesGcm256, HkdfSha256, K>(
        &OpModeR::Base,
        &private,
        &enc,
        info,
        &message.ciphertext,
        aad,
    )
    .ok()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn another_implementation_opens_what_this_one_seals_and_the_other_way_round(
        ikm in prop::array::uniform32(any::<u8>()),
        info in prop::collection::vec(any::<u8>(), 0..80),
        aad in prop::collection::vec(any::<u8>(), 0..80),
        plaintext in prop::collection::vec(any::<u8>(), 0..600),
        kem in prop::sample::select(Kem::ALL.to_vec()),
    ) {
        let pair = derive_key_pair(kem, &SecretBytes::new(ikm.to_vec())).expect("derives");
        let (public, enc, ciphertext) = match kem {
            Kem::P256 => sealed_by_other::<DhP256HkdfSha256>(&ikm, &info, &aad, &plaintext),
            Kem::X25519 => sealed_by_other::<X25519HkdfSha256>(&ikm, &info, &aad, &plaintext),
        };
        prop_assert_eq!(&public, &pair.public);
        let opened = open(kem, &pair, &info, &aad, &enc, &ciphertext).expect("opens");
        prop_assert_eq!(opened.expose(), &plaintext[..]);

        let message = seal(kem, &pair.public, &info, &aad, &plaintext, &SystemEntropy).expect("seals");
        let opened = match kem {
            Kem::P256 => opened_by_other::<DhP256HkdfSha256>(&ikm, &info, &aad, &message),
            Kem::X25519 => opened_by_other::<X25519HkdfSha256>(&ikm, &info, &aad, &message),
        };
        prop_assert_eq!(opened, Some(plaintext));
    }

    #[test]
    fn a_changed_message_is_refused_by_both_implementations(
        at in any::<prop::sample::Index>(),
        bit in 0..8,
        kem in prop::sample::select(Kem::ALL.to_vec()),
    ) {
        let ikm = [9; 32];
        let pair = derive_key_pair(kem, &SecretBytes::new(ikm.to_vec())).expect("derives");
        let mut message = seal(kem, &pair.public, b"info", b"aad", b"plaintext", &SystemEntropy).expect("seals");
        let at = at.index(message.enc.len() + message.ciphertext.len());
        match at.checked_sub(message.enc.len()) {
            Some(at) => message.ciphertext[at] ^= 1_u8 << bit,
            None => message.enc[at] ^= 1_u8 << bit,
        }
        prop_assert!(open(kem, &pair, b"info", b"aad", &message.enc, &message.ciphertext).is_err());
        let other = match kem {
            Kem::P256 => opened_by_other::<DhP256HkdfSha256>(&ikm, b"info", b"aad", &message),
            Kem::X25519 => opened_by_other::<X25519HkdfSha256>(&ikm, b"info", b"aad", &message),
        };
        prop_assert_eq!(other, None);
    }
}

/// The encodings of all points of a low order on Curve25519 and its twist, and the same beyond the prime: RFC 7748 takes
/// 32 bytes of any kind.
#[test]
fn an_encapsulated_key_of_low_order_is_refused() {
    let points = [
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ];
    let pair = derive_key_pair(Kem::X25519, &SecretBytes::new(vec![3; 32])).expect("derives");
    for point in points {
        let enc = hex::decode(point).expect("hexadecimal");
        // What a stranger would send who knows that the shared secret is zeros.
        let zeros = SecretBytes::new(vec![0; 32]);
        let shared = shared_secret(Kem::X25519, &zeros, &[&enc, &pair.public]);
        let (key, nonce) = schedule(Kem::X25519, &shared, b"info").expect("derives");
        let ciphertext = hazmat::aes256gcm_seal(&key, nonce, b"aad", b"plaintext").expect("seals");
        assert!(open(Kem::X25519, &pair, b"info", b"aad", &enc, &ciphertext).is_err(), "{point}");
        assert!(seal(Kem::X25519, &enc, b"info", b"aad", b"plaintext", &SystemEntropy).is_err(), "{point}");
    }
}

#[test]
fn an_encapsulated_key_that_is_no_point_is_refused() {
    let pair = derive_key_pair(Kem::P256, &SecretBytes::new(vec![3; 32])).expect("derives");
    let message = seal(Kem::P256, &pair.public, b"", b"", b"plaintext", &SystemEntropy).expect("seals");
    assert!(open(Kem::P256, &pair, b"", b"", &message.enc, &message.ciphertext).is_ok());
    let compressed = [&[2 + (message.enc[64] & 1)], &message.enc[1..33]].concat();
    let hybrid = [&[6 + (message.enc[64] & 1)], &message.enc[1..]].concat();
    let zeros = [&[4][..], &[0; 64]].concat();
    for enc in [&compressed, &hybrid, &zeros, &vec![0], &vec![], &message.enc[1..].to_vec()] {
        assert!(open(Kem::P256, &pair, b"", b"", enc, &message.ciphertext).is_err(), "{enc:02x?}");
    }
}
