//! The published cases of Wycheproof against the reader of JWS and keys (`vectors/jose`).

use keyferry_core::issuer::Algorithm;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{jwk::KeySet, jws::Jws};

const CASES: &str = include_str!("../../../../vectors/jose/jws.jsonl");
const KEYS: &str = include_str!("../../../../vectors/jose/keys.jsonl");
const ALGORITHMS: [Algorithm; 3] = [Algorithm::ES256, Algorithm::RS256, Algorithm::EdDSA];

/// What Wycheproof calls valid and the profile refuses: by the `alg` of the header.
const REFUSED: [(&str, &str); 7] = [
    ("HS256", "symmetric: whoever can check can sign"),
    ("PS256", "not one of the three algorithms of the profile"),
    ("PS384", "not one of the three algorithms of the profile"),
    ("PS512", "not one of the three algorithms of the profile"),
    ("RS384", "not one of the three algorithms of the profile"),
    ("RS512", "not one of the three algorithms of the profile"),
    ("ES512", "not one of the three algorithms of the profile"),
];

#[derive(Deserialize)]
struct Group {
    #[serde(rename = "group")]
    id: String,
    title: String,
    keys: Vec<Value>,
}

#[derive(Deserialize)]
struct Case {
    group: String,
    id: u32,
    comment: String,
    expect: String,
    /// Compact, or an object in the JSON serialization.
    jws: Value,
}

fn lines<T: for<'de> Deserialize<'de>>(text: &str) -> Vec<T> {
    text.lines().map(|line| serde_json::from_str(line).expect("a case a line")).collect()
}

fn text_of(case: &Case) -> String {
    case.jws.as_str().map_or_else(|| case.jws.to_string(), str::to_owned)
}

/// As a request of an issuer with this key set and this algorithm is judged.
fn accepts(keys: &[Value], algorithm: Algorithm, text: &str) -> bool {
    let set = json!({"keys": keys}).to_string();
    let Ok(reduced) = KeySet::reduced(set.as_bytes(), algorithm) else { return false };
    let set = KeySet::read(reduced.as_bytes(), algorithm).expect("what was reduced is read");
    let Some(jws) = Jws::read(text.as_bytes()) else { return false };
    jws.alg() == algorithm.as_str() && set.find(jws.kid()).is_some_and(|key| jws.is_signed_by(key))
}

#[test]
fn each_published_text_is_refused_or_accepted_as_published() {
    let (groups, cases): (Vec<Group>, Vec<Case>) = (lines(KEYS), lines(CASES));
    let (mut accepted, mut refused, mut stricter) = (0, 0, 0);
    for case in &cases {
        let group = groups.iter().find(|group| group.id == case.group).expect("its group");
        let name = format!("{}, {} {}", group.title, case.id, case.comment);
        let text = text_of(case);
        let taken: Vec<_> =
            ALGORITHMS.into_iter().filter(|algorithm| accepts(&group.keys, *algorithm, &text)).collect();
        let alg = Jws::read(text.as_bytes()).map(|jws| jws.alg().to_owned()).unwrap_or_default();
        match (case.expect.as_str(), REFUSED.iter().find(|(known, _)| *known == alg)) {
            ("valid", None) => {
                assert_eq!(taken.len(), 1, "{name}");
                assert_eq!(taken[0].as_str(), alg, "{name}");
                accepted += 1;
            }
            ("valid", Some(_)) => {
                assert!(taken.is_empty(), "{name}");
                stricter += 1;
            }
            _ => {
                assert!(taken.is_empty(), "{name}: was accepted");
                refused += 1;
            }
        }
    }
    assert_eq!((accepted, stricter, accepted + stricter + refused), (11, 15, cases.len()));
}

#[test]
fn every_reason_to_be_stricter_is_needed() {
    let cases: Vec<Case> = lines(CASES);
    for (alg, reason) in REFUSED {
        let named = |case: &Case| Jws::read(text_of(case).as_bytes()).is_some_and(|jws| jws.alg() == alg);
        let needed = cases.iter().any(|case| case.expect == "valid" && named(case));
        assert!(needed, "{alg}: {reason}");
    }
}

#[test]
fn a_key_that_must_not_be_used_is_not_even_registered() {
    let groups: Vec<Group> = lines(KEYS);
    for (title, algorithm) in [
        ("json_web_key_test.json: jws_rsa_roca_key", Algorithm::RS256),
        ("json_web_key_test.json: keysize_too_small", Algorithm::RS256),
        ("json_web_key_test.json: exponentOne", Algorithm::RS256),
        ("json_web_key_test.json: invalid_point", Algorithm::ES256),
        ("json_web_key_test.json: wrong_curve", Algorithm::ES256),
        ("json_web_key_test.json: wrong_kty", Algorithm::ES256),
        ("json_web_key_test.json: invalid_use", Algorithm::ES256),
        ("json_web_signature_test.json: ec_key_for_encryption", Algorithm::ES256),
        ("json_web_signature_test.json: rsa_encryption", Algorithm::RS256),
    ] {
        let mut found = groups.iter().filter(|group| group.title == title).peekable();
        assert!(found.peek().is_some(), "{title}");
        for group in found {
            let set = json!({"keys": group.keys}).to_string();
            assert!(KeySet::read(set.as_bytes(), algorithm).is_err(), "{title}");
        }
    }
}
