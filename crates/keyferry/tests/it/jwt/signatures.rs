//! Signatures that are none, and texts that are not exactly a compact JWS.

use aws_lc_rs::digest;
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::json;

use super::{Scene, changed, hex};
use crate::harness::{
    Issuer,
    issuer::{b64, header},
    request,
};

#[tokio::test]
async fn signatures_that_are_not_one_are_refused() {
    let scene = Scene::new().await;
    let good = scene.issuer.token(&scene.tenant, "the-id");
    let (signed, _) = good.rsplit_once('.').expect("three parts");
    let raw = scene.issuer.signature(signed);
    let order = hex("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551");
    let integer = |half: &[u8]| [&[2, 33, 0], half].concat();
    let der = [&[0x30, 70], integer(&raw[..32]).as_slice(), &integer(&raw[32..])].concat();
    let mut flipped = raw.clone();
    flipped[40] ^= 1;
    let cases = [
        ("r = s = 0", vec![0; 64]),
        ("r = s = n", [order.clone(), order.clone()].concat()),
        ("r = 0", [&[0; 32], &raw[32..]].concat()),
        ("s = 0", [&raw[..32], &[0; 32]].concat()),
        ("r = n", [&order, &raw[32..]].concat()),
        ("s = n", [&raw[..32], &order].concat()),
        ("DER", der),
        ("short", raw[..63].to_vec()),
        ("half", raw[..32].to_vec()),
        ("one byte", raw[..1].to_vec()),
        ("long", [raw.as_slice(), &[0]].concat()),
        ("with a zero in front", [&[0], raw.as_slice()].concat()),
        ("one bit", flipped),
        ("halves exchanged", [&raw[32..], &raw[..32]].concat()),
        ("of another text", scene.issuer.signature("else")),
        ("of another key", Issuer::new().signature(signed)),
        ("the digest", digest::digest(&digest::SHA256, signed.as_bytes()).as_ref().to_vec()),
    ];
    scene.refuses(cases.map(|(name, bytes)| (name, format!("{signed}.{}", b64(bytes))))).await;
}

#[tokio::test]
async fn a_text_that_is_not_exactly_compact_is_refused() {
    let scene = Scene::new().await;
    let good = scene.issuer.token(&scene.tenant, "the-id");
    let (signed, signature) = good.rsplit_once('.').expect("three parts");
    let (head, payload) = signed.split_once('.').expect("three parts");
    // The last character of 64 bytes carries four bits that mean nothing and must be zero.
    let last = signature.as_bytes()[signature.len() - 1];
    let odd = char::from(if last == b'A' { b'B' } else { last + 1 });
    let jwe = |alg: &str, cty: Option<&str>| {
        let head = json!({"alg": alg, "enc": "A256GCM", "cty": cty}).to_string();
        let parts = [b64(head), b64([7; 40]), b64([1; 12]), b64(&good), b64([2; 16])];
        parts.join(".")
    };
    let nested = changed(header(), &json!({"cty": "JWT"})).to_string();
    let tokens = vec![
        ("empty signature", format!("{signed}.")),
        ("no signature", signed.to_owned()),
        ("padding", format!("{good}==")),
        ("bits after the end", format!("{}{odd}", &good[..good.len() - 1])),
        ("standard base64", format!("{signed}.{}", STANDARD.encode([0xff; 64]))),
        ("four parts", format!("{good}.{signature}")),
        ("five parts", format!("{good}.x.y")),
        ("a blank inside", format!("{} {}", &good[..20], &good[20..])),
        ("a tab inside", format!("{}\t{}", &good[..20], &good[20..])),
        ("a blank before a dot", format!("{head} .{payload}.{signature}")),
        ("two dots", good.replacen('.', "..", 1)),
        ("a dot in front", format!(".{good}")),
        ("a dot at the end", format!("{good}.")),
        ("only dots", "..".to_owned()),
        ("no header", format!(".{payload}.{signature}")),
        ("no payload", format!("{head}..{signature}")),
        (
            "JSON serialization",
            json!({"protected": head, "payload": payload, "signature": signature}).to_string(),
        ),
        ("JWE", jwe("dir", None)),
        ("JWE of a good token", jwe("RSA-OAEP", Some("JWT"))),
        ("JWE, encrypted key empty", jwe("ECDH-ES", None).replacen(&b64([7; 40]), "", 1)),
        ("nested", scene.issuer.sign(&header().to_string(), &good)),
        ("nested and saying so", scene.issuer.sign(&nested, &good)),
        ("longer than any token", format!("{signed}.{}", "A".repeat(9000))),
    ];
    scene.refuses(tokens).await;
}

#[tokio::test]
async fn other_spellings_of_the_same_are_refused() {
    let scene = Scene::new().await;
    let mut tokens = Vec::new();
    // Other spellings of header and claims: what they say is right, and so is the signature over them.
    let odd_bits = |text: &str| {
        let mut text = b64(text).into_bytes();
        let end = text.len() - 1;
        text[end] += 1;
        String::from_utf8(text).expect("text")
    };
    // Padded to a length of which the last character carries bits without a meaning.
    let claims = scene.claims("the-id", &json!({}));
    let claims = format!("{claims}{}", " ".repeat((4 - claims.len() % 3) % 3));
    let question =
        changed(serde_json::from_str(&claims).expect("claims"), &json!({"x": "????>>>>~~~~"})).to_string();
    for (name, head, payload) in [
        ("padded header", format!("{}=", b64(r#"{"alg":"ES256","kid":"1"} "#)), b64(&claims)),
        ("odd bits in the header", odd_bits(r#"{"alg":"ES256","kid":"1"}"#), b64(&claims)),
        ("odd bits in the claims", b64(header().to_string()), odd_bits(&claims)),
        ("padded claims", b64(header().to_string()), STANDARD.encode(&claims)),
        (
            "standard base64 of the claims",
            b64(header().to_string()),
            STANDARD.encode(&question).replace('=', ""),
        ),
        ("header in clear", header().to_string(), b64(&claims)),
        ("a byte order mark", b64(format!("\u{feff}{}", header())), b64(&claims)),
        (
            "UTF-16",
            b64(r#"{"alg":"ES256","kid":"1"}"#.bytes().flat_map(|b| [0, b]).collect::<Vec<u8>>()),
            b64(&claims),
        ),
    ] {
        let signed = format!("{head}.{payload}");
        let signature = b64(scene.issuer.signature(&signed));
        tokens.push((name, format!("{signed}.{signature}")));
    }
    scene.refuses(tokens).await;
}

#[tokio::test]
async fn a_token_in_the_address_is_not_looked_at() {
    let scene = Scene::new().await;
    let token = scene.issuer.token(&scene.tenant, "in-the-query");
    for name in ["access_token", "token", "jwt", "key", "authorization"] {
        let url = format!("{}/openai/v1/models?{name}={token}", scene.gateway.url());
        let status = request("GET", &url, &[], b"").await.status();
        assert!(matches!(status, 400 | 401), "{name}: {status}");
    }
    assert_eq!(scene.provider.count(), 0);
    scene.gateway.chat(&token).await.expect(200);
}
