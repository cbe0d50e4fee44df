//! Issuers: which are registered, and when one is obeyed no more.

use serde_json::{Value, json};

use super::{RsaIssuer, Scene, changed};
use crate::harness::issuer::b64;

#[tokio::test]
async fn issuers_with_unfit_keys_are_not_registered() {
    let scene = Scene::new().await;
    let path = format!("/tenants/{}/issuers", scene.tenant);
    let jwk = |changes: Value| json!({"keys": [changed(scene.issuer.jwk(), &changes)]});
    for (name, algorithm, set) in [
        ("a private key", "ES256", jwk(json!({"d": "AAAA"}))),
        ("a secret key", "ES256", json!({"keys": [{"kty": "oct", "k": "c2VjcmV0", "alg": "HS256"}]})),
        ("another algorithm", "RS256", jwk(json!({}))),
        ("another use", "ES256", jwk(json!({"use": "enc"}))),
        ("another curve", "ES256", jwk(json!({"crv": "P-384"}))),
        ("a short point", "ES256", jwk(json!({"x": "AAAA"}))),
        ("no key", "ES256", json!({"keys": []})),
        ("no set", "ES256", json!({})),
        ("to encrypt with", "ES256", jwk(json!({"key_ops": ["encrypt"]}))),
        (
            "a point beside the curve",
            "ES256",
            jwk(json!({"y": "UI8exy-C06a7DUnjIdENkxeFtHM4-l_41LqEw9nVgnw"})),
        ),
        (
            "an exponent of one",
            "RS256",
            json!({"keys": [changed(RsaIssuer::new().jwk(), &json!({"e": "AQ"}))]}),
        ),
        (
            "1024 bits",
            "RS256",
            json!({"keys": [changed(RsaIssuer::new().jwk(), &json!({"n": b64([0xff; 128])}))]}),
        ),
        ("one id twice", "ES256", json!({"keys": [scene.issuer.jwk(), scene.issuer.jwk()]})),
        ("a symmetric algorithm", "HS256", jwk(json!({}))),
        ("none", "none", jwk(json!({}))),
    ] {
        let body =
            json!({"issuer": "https://new.example", "audience": "a", "algorithm": algorithm, "jwks": set});
        let reply = scene.gateway.operator("POST", &path, &body).await;
        assert_eq!(
            (reply.status(), reply.code().as_str()),
            (400, "invalid_request"),
            "{name}: {}",
            reply.text()
        );
    }
    for url in
        ["http://keys.example.com/jwks", "https://127.0.0.1/jwks", "https://localhost/", "file:///etc/passwd"]
    {
        let body =
            json!({"issuer": "https://new.example", "audience": "a", "algorithm": "ES256", "jwks_url": url});
        scene.gateway.operator("POST", &path, &body).await.refused(400, "invalid_request");
    }
}

#[tokio::test]
async fn an_issuer_that_was_removed_is_refused_from_the_next_request_on() {
    let scene = Scene::new().await;
    scene.gateway.chat(&scene.issuer.token(&scene.tenant, "before")).await.expect(200);
    let path = format!("/tenants/{}/issuers", scene.tenant);
    let list = scene.gateway.operator("GET", &path, &Value::Null).await.expect(200).json();
    let id = list["data"][0]["id"].as_str().expect("an id").to_owned();
    scene.gateway.operator("DELETE", &format!("{path}/{id}"), &Value::Null).await.expect(204);
    scene.gateway.chat(&scene.issuer.token(&scene.tenant, "after")).await.refused(401, "unauthorized");
    scene.issuer.register(&scene.gateway, &scene.tenant).await;
    scene.gateway.chat(&scene.issuer.token(&scene.tenant, "again")).await.expect(200);
}
