//! Tokens of issuers and key sets: nothing but the genuine text is accepted, and a set that was reduced is the same set.
#![no_main]

use std::sync::LazyLock;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use keyferry::{fuzzing::gateway, gateway::KeySet};
use keyferry_core::{
    issuer::{Algorithm, Issuer, Jwks},
    time::Timestamp,
};
use keyferry_fuzz::seed;
use libfuzzer_sys::fuzz_target;

const NOW: i64 = 1_800_000_000;
const ALGORITHMS: [Algorithm; 3] = [Algorithm::ES256, Algorithm::EdDSA, Algorithm::RS256];
const HEADER: &str = r#"{"alg":"EdDSA","kid":"key-1","typ":"JWT"}"#;

struct Genuine {
    issuer: Issuer,
    keys: KeySet,
    text: String,
}

static GENUINE: LazyLock<Genuine> = LazyLock::new(|| {
    let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let claims = format!(
        r#"{{"iss":"https://issuer.example","aud":["gateway"],"tenant":"acme","exp":{},"jti":"1","sub":"who"}}"#,
        NOW + 60
    );
    let signed = format!("{}.{}", encode(HEADER.as_bytes()), encode(claims.as_bytes()));
    let text = format!("{signed}.{}", encode(pair.sign(signed.as_bytes()).as_ref()));
    let set = format!(
        r#"{{"keys":[{{"kty":"OKP","crv":"Ed25519","kid":"key-1","x":"{}"}}]}}"#,
        encode(pair.public_key().as_ref())
    );
    seed("token", text.as_bytes());
    seed("set.json", set.as_bytes());
    let keys = KeySet::read(set.as_bytes(), Algorithm::EdDSA).unwrap();
    let issuer = Issuer {
        id: "iss_1".parse().unwrap(),
        tenant: "acme".parse().unwrap(),
        issuer: "https://issuer.example".to_owned(),
        audience: "gateway".to_owned(),
        algorithm: Algorithm::EdDSA,
        keys: Jwks::Inline(set),
        created_at: Timestamp::from_secs(0),
        created_by: "operator".to_owned(),
    };
    Genuine { issuer, keys, text }
});

fuzz_target!(init: { LazyLock::force(&GENUINE); }, |data: &[u8]| {
    let genuine = &*GENUINE;
    let is_genuine = data == genuine.text.as_bytes();
    let (tenant, accepted) = gateway::jwt(data, &genuine.issuer, &genuine.keys, NOW);
    assert_eq!(accepted, is_genuine);
    assert_eq!(gateway::is_signed(data, &genuine.keys, Algorithm::EdDSA), is_genuine);
    if tenant.is_some() {
        let (alg, _) = gateway::jws(data).expect("a token is a JWS");
        assert!(alg.len() < data.len());
    }
    // Claims alone, as if they were signed: the readers behind the base64 are hard to reach through it.
    let unsigned = [
        URL_SAFE_NO_PAD.encode(HEADER),
        URL_SAFE_NO_PAD.encode(data),
        URL_SAFE_NO_PAD.encode([0; 64]),
    ].join(".");
    assert!(!gateway::jwt(unsigned.as_bytes(), &genuine.issuer, &genuine.keys, NOW).1);

    for algorithm in ALGORITHMS {
        let Ok(set) = KeySet::read(data, algorithm) else {
            assert!(KeySet::reduced(data, algorithm).is_err());
            continue;
        };
        let reduced = KeySet::reduced(data, algorithm).expect("a set that is read");
        assert_eq!(KeySet::read(reduced.as_bytes(), algorithm), Ok(set));
        assert_eq!(KeySet::reduced(reduced.as_bytes(), algorithm), Ok(reduced));
    }
});
