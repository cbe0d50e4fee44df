//! Attacks one layer with the key in hand: a ciphertext made to open under two secrets, a layer in another context.

use coset::{CborSerializable, cbor::Value};

use super::*;
use crate::hazmat::{NONCE_LEN, TAG_LEN};

const AAD: &[u8] = b"external aad";

struct CountingEntropy;

impl Entropy for CountingEntropy {
    fn fill(&self, buf: &mut [u8]) {
        for (index, byte) in buf.iter_mut().enumerate() {
            *byte = index as u8;
        }
    }
}

fn secret(byte: u8) -> SecretBytes {
    SecretBytes::new(vec![byte; KEY_LEN])
}

fn sealed() -> Vec<u8> {
    let plaintext = SecretBytes::new(b"plaintext".to_vec());
    seal(&secret(1), Purpose::Record, AAD, &plaintext, &CountingEntropy).expect("seals")
}

fn opens(secret: &SecretBytes, purpose: Purpose, aad: &[u8], encoded: &[u8]) -> bool {
    open(secret, purpose, aad, encoded).is_ok()
}

#[test]
fn the_derivations_are_the_documented_ones() {
    for len in [0, 23, 24, 255, 256, 70_000] {
        let (aad, salt) = (vec![7; len], [3; KEY_LEN]);
        let [key, commitment] = ["keyferry/key", "keyferry/commitment"].map(|label| {
            let info = Value::Array(vec![Value::Text(label.to_owned()), Value::Bytes(aad.clone())]);
            let info = info.to_vec().expect("encodes");
            hazmat::hkdf_sha256_key(&secret(1), &salt, &info).expect("derives")
        });
        let (mine, public) = derive(&secret(1), &salt, &aad);
        assert!(mine.ct_eq(&key), "{len}");
        assert_eq!(public, commitment.expose(), "{len}");
    }
}

#[test]
fn opens_with_the_same_secret_purpose_and_context_only() {
    let encoded = sealed();
    assert!(opens(&secret(1), Purpose::Record, AAD, &encoded));
    assert!(!opens(&secret(2), Purpose::Record, AAD, &encoded));
    assert!(!opens(&secret(1), Purpose::Dek, AAD, &encoded));
    assert!(!opens(&secret(1), Purpose::Record, b"other aad", &encoded));
}

#[test]
fn a_wrong_commitment_is_refused_although_the_ciphertext_is_authentic() {
    // The key holder writes a foreign commitment and then encrypts correctly: only the commitment check can refuse.
    let (salt, nonce) = ([3; KEY_LEN], [4; NONCE_LEN]);
    let honest = derive(&secret(1), &salt, AAD).1;
    let foreign = derive(&secret(2), &salt, AAD).1;
    let key = derive(&secret(1), &salt, AAD).0;
    let layer = |commitment| {
        let protected = Protected { salt: &salt, commitment: &commitment };
        let aad = protected.enc_structure(Purpose::Record, AAD);
        let ciphertext = hazmat::aes256gcm_seal(&key, nonce, &aad, b"plaintext").expect("seals");
        Layer { protected, nonce, ciphertext: &ciphertext }.encode(Purpose::Record)
    };
    assert!(opens(&secret(1), Purpose::Record, AAD, &layer(honest)));
    assert!(!opens(&secret(1), Purpose::Record, AAD, &layer(foreign)));
}

#[test]
fn a_ciphertext_made_for_two_secrets_opens_under_the_committed_one_only() {
    let (salt, nonce) = ([3; KEY_LEN], [4; NONCE_LEN]);
    let commitment = derive(&secret(1), &salt, AAD).1;
    let protected = Protected { salt: &salt, commitment: &commitment };
    let aad = protected.enc_structure(Purpose::Record, AAD);
    let keys = [1, 2].map(|byte| derive(&secret(byte), &salt, AAD).0);
    let ciphertext = salamander(&keys, nonce, &aad);

    // Control: AES-GCM itself accepts the one ciphertext under both keys, as two different plaintexts.
    let texts =
        keys.each_ref().map(|key| hazmat::aes256gcm_open(key, nonce, &aad, &ciphertext).expect("opens"));
    assert!(!texts[0].ct_eq(&texts[1]));

    let encoded = Layer { protected, nonce, ciphertext: &ciphertext }.encode(Purpose::Record);
    assert!(opens(&secret(1), Purpose::Record, AAD, &encoded));
    assert!(!opens(&secret(2), Purpose::Record, AAD, &encoded));
}

/// A four-block ciphertext with one tag that AES-GCM accepts under both `keys`.
///
/// For a ciphertext that ends in block `c`, the tag under key `k` is `S_k + c·H_k²`, where `S_k` is the tag for
/// `c = 0` (one more block, the lengths, follows `c` in GHASH). Equal tags need `c = (S_1 + S_2) / (H_1² + H_2²)`. Both terms
/// come from the AEAD itself: `H_k²` is the difference between the tags for `c = 1` and `c = 0`.
fn salamander(keys: &[SecretBytes; 2], nonce: [u8; NONCE_LEN], aad: &[u8]) -> Vec<u8> {
    const ONE: u128 = 1 << 127;
    let ciphertext = |last: u128| [&[0x5a; 48][..], &last.to_be_bytes()].concat();
    let tag = |key: &SecretBytes, last| tag_of(key, nonce, aad, &ciphertext(last));
    let [s1, s2] = keys.each_ref().map(|key| tag(key, 0));
    let [h1, h2] = keys.each_ref().map(|key| tag(key, 0) ^ tag(key, ONE));
    let last = multiply(s1 ^ s2, invert(h1 ^ h2));
    assert_eq!(tag(&keys[0], last), tag(&keys[1], last));
    [ciphertext(last), tag(&keys[0], last).to_be_bytes().to_vec()].concat()
}

/// The GCM tag of a given ciphertext: encrypting zeros shows the key stream, which turns it into a plaintext.
fn tag_of(key: &SecretBytes, nonce: [u8; NONCE_LEN], aad: &[u8], ciphertext: &[u8]) -> u128 {
    let seal = |plaintext: &[u8]| hazmat::aes256gcm_seal(key, nonce, aad, plaintext).expect("seals");
    let stream = seal(&vec![0; ciphertext.len()]);
    let plaintext: Vec<u8> = ciphertext.iter().zip(&stream).map(|(byte, mask)| byte ^ mask).collect();
    let sealed = seal(&plaintext);
    let tag = sealed.last_chunk::<TAG_LEN>().expect("a tag");
    u128::from_be_bytes(*tag)
}

/// Product in GF(2^128) as GCM writes it: the first bit is the coefficient of x^0 (NIST SP 800-38D §6.3).
fn multiply(x: u128, mut y: u128) -> u128 {
    let mut product = 0;
    for bit in (0..128).rev() {
        if x >> bit & 1 == 1 {
            product ^= y;
        }
        y = if y & 1 == 1 { y >> 1 ^ 0xe1 << 120 } else { y >> 1 };
    }
    product
}

/// `x^(2^128 - 2)`, the inverse by Fermat: the product of x^2, x^4, .. x^(2^127).
fn invert(x: u128) -> u128 {
    let (mut power, mut inverse) = (x, 1 << 127);
    for _ in 1..128 {
        power = multiply(power, power);
        inverse = multiply(inverse, power);
    }
    inverse
}
