//! Tokens that are accepted, and what they may do.

use aws_lc_rs::{
    digest,
    signature::{Ed25519KeyPair, KeyPair},
};
use serde_json::{Value, json};

use super::{RsaIssuer, Scene};
use crate::harness::{
    issuer::{b64, header},
    request,
};

const CHAT: &str = "/openai/v1/chat/completions";

#[tokio::test]
async fn a_token_of_each_algorithm_is_accepted() {
    let scene = Scene::new().await;
    let ed = Ed25519KeyPair::generate().expect("a key");
    let jwk = json!({"kty": "OKP", "crv": "Ed25519", "kid": "2", "x": b64(ed.public_key())});
    scene.register("ed", "EdDSA", json!([jwk])).await;
    let claims = scene.claims("EdDSA", &json!({"iss": "ed"}));
    let signed = format!("{}.{}", b64(json!({"alg": "EdDSA", "kid": "2"}).to_string()), b64(claims));
    let token = format!("{signed}.{}", b64(ed.sign(signed.as_bytes())));
    scene.gateway.chat(&token).await.expect(200);

    let rsa = RsaIssuer::new();
    scene.register("rsa", "RS256", json!([rsa.jwk()])).await;
    let claims = scene.claims("RS256", &json!({"iss": "rsa"}));
    let token = rsa.sign(&json!({"alg": "RS256", "kid": "1"}), &claims);
    scene.gateway.chat(&token).await.expect(200);

    scene.gateway.chat(&scene.issuer.token(&scene.tenant, "es")).await.expect(200);
    // In any slot, as a gateway token.
    for slot in ["x-api-key", "x-goog-api-key", "x-keyferry-token"] {
        let token = scene.issuer.token(&scene.tenant, slot);
        let url = format!("{}/openai/v1/models", scene.gateway.url());
        request("GET", &url, &[(slot, &token)], b"").await.expect(200);
    }
}

#[tokio::test]
async fn the_body_is_the_one_the_token_was_made_for() {
    let scene = Scene::new().await;
    let body = json!({"model": "m", "messages": []});
    let hash = |text: &str| {
        data_encoding::HEXLOWER.encode(digest::digest(&digest::SHA256, text.as_bytes()).as_ref())
    };
    let right = hash(&body.to_string());
    let ask = async |jti: &str, claim: &str, body: &Value| {
        let claims = scene.claims(jti, &json!({"req_hash": claim}));
        let token = scene.issuer.sign(&header().to_string(), &claims);
        scene.gateway.post(&token, CHAT, &[], body).await
    };
    ask("right", &format!("sha256:{right}"), &body).await.expect(200);
    for wrong in [
        format!("sha256:{}", hash("else")),
        format!("sha256:{}", &right[..62]),
        format!("sha256:{right}00"),
        format!("sha512:{right}"),
        "sha256:".to_owned(),
        right.clone(),
        "moon".to_owned(),
    ] {
        ask("wrong", &wrong, &body).await.refused(400, "BYOK_HASH_MISMATCH");
    }
    let other = json!({"model": "m", "messages": [], "n": 2});
    ask("another body", &format!("sha256:{right}"), &other).await.refused(400, "BYOK_HASH_MISMATCH");
    assert_eq!(scene.provider.count(), 1);
}

#[tokio::test]
async fn a_jwt_administers_nothing() {
    let scene = Scene::new().await;
    let path = format!("/tenants/{}/credentials", scene.tenant);
    for claims in [json!({}), json!({"role": "tenant_admin"}), json!({"scope": "admin", "admin": true})] {
        let jti = claims.to_string();
        let token = scene.issuer.sign(&header().to_string(), &scene.claims(&jti, &claims));
        scene.gateway.admin(&token, "GET", &path, &Value::Null).await.refused(403, "forbidden");
    }
}
