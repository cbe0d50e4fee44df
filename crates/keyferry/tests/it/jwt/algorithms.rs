//! The algorithm is the issuer's setting and never the token's choice.

use aws_lc_rs::hmac;
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{RsaIssuer, Scene, changed, hex};
use crate::harness::issuer::{b64, header};

/// A token under a key that is no secret.
fn mac(alg: &str, secret: &[u8], claims: &str) -> String {
    let head = changed(header(), &json!({"alg": alg})).to_string();
    let signed = format!("{}.{}", b64(head), b64(claims));
    let algorithm = match alg {
        "HS384" => hmac::HMAC_SHA384,
        "HS512" => hmac::HMAC_SHA512,
        _ => hmac::HMAC_SHA256,
    };
    format!("{signed}.{}", b64(hmac::sign(&hmac::Key::new(algorithm, secret), signed.as_bytes())))
}

fn pem(label: &str, der: &[u8]) -> String {
    let lines: Vec<String> = STANDARD
        .encode(der)
        .as_bytes()
        .chunks(64)
        .map(|line| String::from_utf8_lossy(line).into_owned())
        .collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

/// Every text of a public key that somebody might take for a secret.
fn spellings(spki: &[u8], bare: &[u8], label: &str, jwk: &Value) -> Vec<Vec<u8>> {
    let (public, own) = (pem("PUBLIC KEY", spki), pem(label, bare));
    vec![
        public.clone().into_bytes(),
        public.trim().as_bytes().to_vec(),
        public.replace('\n', "\r\n").into_bytes(),
        own.into_bytes(),
        spki.to_vec(),
        bare.to_vec(),
        bare[1..].to_vec(),
        STANDARD.encode(spki).into_bytes(),
        jwk.to_string().into_bytes(),
        json!({"keys": [jwk]}).to_string().into_bytes(),
        Vec::new(),
    ]
}

#[tokio::test]
async fn other_algorithms_are_refused() {
    let scene = Scene::new().await;
    let good = scene.claims("the-id", &json!({}));
    let mut tokens = Vec::new();
    for alg in [
        "none", "None", "NONE", "nOnE", "", "ES384", "ES512", "ES256K", "RS256", "PS256", "EdDSA", "Ed25519",
        "es256", "ES256 ", "ES256\0", "HS256",
    ] {
        let head = changed(header(), &json!({"alg": alg})).to_string();
        tokens.push(("unsigned", format!("{}.{}.", b64(&head), b64(&good))));
        tokens.push(("unsigned, two parts", format!("{}.{}", b64(&head), b64(&good))));
        tokens.push(("signed all the same", scene.issuer.sign(&head, &good)));
    }
    tokens.push(("no alg", scene.under(&json!({"alg": null}))));
    tokens.push(("alg is a list", scene.under(&json!({"alg": ["ES256"]}))));
    tokens.push(("alg is true", scene.under(&json!({"alg": true}))));
    tokens.push(("alg twice", scene.issuer.sign(r#"{"alg":"none","alg":"ES256","kid":"1"}"#, &good)));
    tokens.push(("alg in capitals", scene.issuer.sign(r#"{"ALG":"ES256","kid":"1"}"#, &good)));
    scene.refuses(tokens).await;
}

#[tokio::test]
async fn a_public_key_is_no_secret() {
    let scene = Scene::new().await;
    let point = scene.issuer.point().to_vec();
    let spki = [&hex("3059301306072a8648ce3d020106082a8648ce3d030107034200"), point.as_slice()].concat();
    let good = scene.claims("the-id", &json!({}));
    let secrets = spellings(&spki, &point, "EC PUBLIC KEY", &scene.issuer.jwk());
    let macs = secrets
        .iter()
        .flat_map(|secret| ["HS256", "HS384", "HS512", "ES256"].map(|alg| (alg, mac(alg, secret, &good))));
    scene.refuses(macs).await;

    let rsa = RsaIssuer::new();
    scene.register("rsa", "RS256", json!([rsa.jwk()])).await;
    let honest = |jti: &str| {
        rsa.sign(&json!({"alg": "RS256", "kid": "1"}), &scene.claims(jti, &json!({"iss": "rsa"})))
    };
    let bare = rsa.pkcs1();
    // SubjectPublicKeyInfo: a sequence of rsaEncryption and the bit string of the key.
    let spki = [&hex("30820122300d06092a864886f70d01010105000382010f00"), bare].concat();
    let good = scene.claims("the-id", &json!({"iss": "rsa"}));
    let secrets = spellings(&spki, bare, "RSA PUBLIC KEY", &rsa.jwk());
    let macs = secrets
        .iter()
        .flat_map(|secret| ["HS256", "HS384", "HS512", "RS256"].map(|alg| (alg, mac(alg, secret, &good))));
    scene.refuses_all(macs, honest).await;
}
