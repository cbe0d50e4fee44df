//! Headers: keys that a token brings along, what must be understood, and ids of keys.

use serde_json::{Value, json};

use super::{Scene, changed};
use crate::harness::{
    Answer, Issuer, Options, Provider,
    issuer::{b64, header},
};

#[tokio::test]
async fn a_header_that_brings_a_key_or_must_be_understood_is_refused() {
    let provider = Provider::right().await;
    let stranger = Issuer::new();
    let keys = Provider::answering([Answer::json(200, &stranger.jwks())]).await;
    let options = Options::to(&provider).dial("keys.example.com", keys.address, true);
    let scene = Scene::on(provider, options).await;
    let good = scene.claims("the-id", &json!({}));
    let (url, reachable) =
        (format!("http://{}/jwks.json", keys.address), "https://keys.example.com/jwks.json");
    let mut tokens = Vec::new();
    for (name, extra) in [
        ("jwk", json!({"jwk": stranger.jwk()})),
        ("jwk with alg and kid of its own", json!({"jwk": stranger.jwk(), "kid": "9"})),
        ("jku", json!({"jku": reachable})),
        ("jku without TLS", json!({"jku": url})),
        ("jku of a provider", json!({"jku": "https://api.openai.com/jwks.json"})),
        ("jku that is a file", json!({"jku": "file:///etc/passwd"})),
        ("x5u", json!({"x5u": reachable})),
        ("x5u without TLS", json!({"x5u": url})),
        ("x5c", json!({"x5c": ["MIIB"]})),
        ("x5c, empty", json!({"x5c": []})),
        ("crit", json!({"crit": ["exp"]})),
        ("crit with an unknown name", json!({"crit": ["moon"], "moon": 1})),
        ("crit, empty", json!({"crit": []})),
        ("b64 false", json!({"b64": false, "crit": ["b64"]})),
        ("b64 true", json!({"b64": true, "crit": ["b64"]})),
        ("b64 without crit", json!({"b64": false})),
        ("zip", json!({"zip": "DEF"})),
        ("enc", json!({"enc": "A256GCM"})),
        ("an unknown name", json!({"moon": 1})),
        ("typ is a list", json!({"typ": ["JWT"]})),
        ("cty is a number", json!({"cty": 7})),
        ("x5t is a list", json!({"x5t": ["dGVzdA"]})),
    ] {
        let head = changed(header(), &extra).to_string();
        tokens.push((name, stranger.sign(&head, &good)));
        tokens.push((name, scene.issuer.sign(&head, &good)));
    }
    // b64=false means that the payload stands in the text as it is.
    let head = b64(changed(header(), &json!({"b64": false, "crit": ["b64"]})).to_string());
    let signed = format!("{head}.{good}");
    let signature = b64(scene.issuer.signature(&signed));
    tokens.push(("an unencoded payload", format!("{signed}.{signature}")));
    scene.refuses(tokens).await;
    assert_eq!(keys.connections(), 0, "a token makes nobody fetch anything");
}

#[tokio::test]
async fn odd_key_ids_are_refused() {
    let scene = Scene::new().await;
    let good = scene.claims("the-id", &json!({}));
    let long = "1".repeat(256);
    let kids = [
        ("unknown", json!("2")),
        ("empty", json!("")),
        ("with a blank", json!("1 ")),
        ("with a zero", json!("01")),
        ("a path", json!("../../../../etc/passwd")),
        ("a device", json!("/dev/null")),
        ("SQL", json!("1' OR '1'='1")),
        ("SQL that ends a statement", json!("1'; DROP TABLE issuers; --")),
        ("CR and LF", json!("1\r\nx: y")),
        ("NUL", json!("1\0")),
        ("an address", json!("https://keys.example/1")),
        ("long", json!(long)),
        ("a number", json!(1)),
        ("a list", json!(["1"])),
        ("an object", json!({"1": 1})),
    ];
    let mut tokens: Vec<_> =
        kids.into_iter().map(|(name, kid)| (name, scene.under(&json!({"kid": kid})))).collect();
    let twice = r#"{"alg":"ES256","kid":"1","kid":"1"}"#;
    tokens.push(("kid twice", scene.issuer.sign(twice, &good)));
    let escaped = r#"{"alg":"ES256","kid":"1","\u006bid":"2"}"#;
    tokens.push(("kid twice, once in escapes", scene.issuer.sign(escaped, &good)));
    tokens
        .push(("a list in the order of the header", scene.issuer.sign(r#"["ES256","1",null,null]"#, &good)));
    tokens.push(("7000 bytes", scene.under(&json!({"kid": "1".repeat(7000)}))));
    tokens.push(("null", scene.issuer.sign(r#"{"alg":"ES256","kid":null}"#, &good)));
    scene.refuses(tokens).await;
    // Without an id, the one key of the set is meant.
    let head = changed(header(), &json!({"kid": Value::Null})).to_string();
    scene.gateway.chat(&scene.issuer.sign(&head, &scene.claims("no-kid", &json!({})))).await.expect(200);
}

#[tokio::test]
async fn a_key_id_of_64_kib_does_not_get_as_far_as_being_read() {
    let scene = Scene::new().await;
    let token = scene.under(&json!({"kid": "1".repeat(64 * 1024)}));
    let reply = scene.gateway.chat(&token).await;
    assert_eq!((reply.status(), reply.code().as_str()), (400, "invalid_request"), "the head is too long");
    assert_eq!(scene.provider.count(), 0);
    scene.gateway.chat(&scene.issuer.token(&scene.tenant, "the-id")).await.expect(200);
}
