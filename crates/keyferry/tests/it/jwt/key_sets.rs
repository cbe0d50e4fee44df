//! Key sets that are fetched: from where, how often, and what is not one.

use aws_lc_rs::hmac;
use serde_json::json;

use super::{changed, with_keys_at};
use crate::{
    harness::{
        Answer, Gateway, Issuer, Options, Provider, a_key, connect,
        issuer::{AUDIENCE, ISSUER, b64, claims, header},
    },
    ingress::{h2, latin1},
};

#[tokio::test]
async fn a_key_set_by_address_is_fetched_once_for_all_who_need_it() {
    let issuer = Issuer::new();
    let keys = Provider::answering([Answer::json(200, &issuer.jwks())]).await;
    let provider = Provider::right().await;
    let (gateway, tenant) = with_keys_at(&keys, &provider).await;
    let tokens: Vec<String> = (0..10).map(|n| issuer.token(&tenant, &format!("id-{n}"))).collect();
    let replies = futures_util::future::join_all(tokens.iter().map(|token| gateway.chat(token))).await;
    assert!(replies.iter().all(|reply| reply.status() == 200));
    let seen = keys.last();
    assert_eq!((seen.method.as_str(), seen.target.as_str()), ("GET", "/.well-known/jwks.json"));
    assert_eq!(seen.header("authorization"), "", "no key goes there");
    // Ids that the set does not have: the set was just fetched, so nobody asks again.
    let unknown = changed(header(), &json!({"kid": "unknown"})).to_string();
    for n in 0..5 {
        let token = issuer.sign(&unknown, &claims(&tenant, &format!("unknown-{n}")).to_string());
        gateway.chat(&token).await.refused(401, "unauthorized");
    }
    let many: Vec<String> = (0..40)
        .map(|n| {
            let head = changed(header(), &json!({"kid": format!("unknown-{n}")})).to_string();
            issuer.sign(&head, &claims(&tenant, "id-0").to_string())
        })
        .collect();
    let replies = futures_util::future::join_all(many.iter().map(|token| gateway.chat(token))).await;
    assert!(replies.iter().all(|reply| reply.status() == 401));
    assert_eq!(keys.count(), 1);
}

#[tokio::test]
async fn a_key_set_comes_from_the_host_of_its_own_issuer() {
    let (ours, theirs) = (Issuer::new(), Issuer::new());
    let our_host = Provider::answering([Answer::json(200, &ours.jwks())]).await;
    let their_host = Provider::answering([Answer::json(200, &theirs.jwks())]).await;
    let provider = Provider::right().await;
    let options = Options::to(&provider).dial("keys.example.com", our_host.address, true).dial(
        "keys.example.org",
        their_host.address,
        true,
    );
    let gateway = Gateway::start(options).await;
    let tenant = gateway.tenant_with_key("openai", &a_key("key-")).await.id;
    let other = "https://other.example";
    for (issuer, url) in [(ISSUER, "https://keys.example.com/jwks"), (other, "https://keys.example.org/jwks")]
    {
        let body = json!({"issuer": issuer, "audience": AUDIENCE, "algorithm": "ES256", "jwks_url": url});
        gateway.operator("POST", &format!("/tenants/{tenant}/issuers"), &body).await.expect(201);
    }
    let naming_other = |signer: &Issuer, id: &str| {
        let claims = changed(claims(&tenant, id), &json!({"iss": other}));
        signer.sign(&header().to_string(), &claims.to_string())
    };
    // The connection to our host is kept; it must not be asked for their keys.
    gateway.chat(&ours.token(&tenant, "one")).await.expect(200);
    gateway.chat(&naming_other(&ours, "two")).await.refused(401, "unauthorized");
    gateway.chat(&naming_other(&theirs, "three")).await.expect(200);
    assert_eq!((our_host.count(), their_host.count()), (1, 1));
}

#[tokio::test]
async fn a_key_set_that_is_none_is_not_used() {
    let issuer = Issuer::new();
    let elsewhere = Provider::answering([Answer::json(200, &issuer.jwks())]).await;
    let secret = json!({"keys": [{"kty": "oct", "kid": "1", "k": b64("secret"), "alg": "HS256"}]});
    let one = |changes| json!({"keys": [changed(issuer.jwk(), &changes)]});
    let padded = format!("{}{}", issuer.jwks(), " ".repeat(70_000));
    let cases = [
        ("a redirect", Answer::redirect(302, &format!("http://{}/", elsewhere.address))),
        ("an error", Answer::json(500, &issuer.jwks())),
        ("not JSON", Answer::with(200, &[("content-type", "application/json")], b"<html>")),
        ("a secret key", Answer::json(200, &secret)),
        ("a key for ES384", Answer::json(200, &one(json!({"alg": "ES384"})))),
        ("a key for HS256", Answer::json(200, &one(json!({"alg": "HS256"})))),
        ("a key to encrypt with", Answer::json(200, &one(json!({"use": "enc"})))),
        ("a key of other operations", Answer::json(200, &one(json!({"key_ops": ["encrypt"]})))),
        ("the key under another id", Answer::json(200, &one(json!({"kid": "2"})))),
        ("one id twice", Answer::json(200, &json!({"keys": [issuer.jwk(), issuer.jwk()]}))),
        ("no keys", Answer::json(200, &json!({"keys": []}))),
        ("a list", Answer::json(200, &json!([issuer.jwk()]))),
        ("too long", Answer::with(200, &[("content-type", "application/json")], padded.as_bytes())),
        ("cut", Answer::raw("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{\"keys\":[").then_close()),
        ("a reset", Answer::reset()),
    ];
    for (name, answer) in cases {
        let keys = Provider::answering([answer]).await;
        let provider = Provider::right().await;
        let (gateway, tenant) = with_keys_at(&keys, &provider).await;
        let reply = gateway.chat(&issuer.token(&tenant, "id")).await;
        assert_eq!((reply.status(), reply.code().as_str()), (401, "unauthorized"), "{name}");
        let mac_head = changed(header(), &json!({"alg": "HS256"})).to_string();
        let signed = format!("{}.{}", b64(mac_head), b64(claims(&tenant, "id").to_string()));
        let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, b"secret"), signed.as_bytes());
        gateway.chat(&format!("{signed}.{}", b64(mac))).await.refused(401, "unauthorized");
        assert_eq!((provider.count(), elsewhere.connections()), (0, 0), "{name}");
    }
}

#[tokio::test]
async fn a_secret_key_beside_a_good_one_is_no_key() {
    let issuer = Issuer::new();
    let secret = json!({"kty": "oct", "kid": "2", "k": b64("secret"), "alg": "HS256", "use": "sig"});
    let set = json!({"keys": [secret, issuer.jwk()]});
    let keys = Provider::answering([Answer::json(200, &set)]).await;
    let provider = Provider::right().await;
    let (gateway, tenant) = with_keys_at(&keys, &provider).await;
    for alg in ["HS256", "ES256"] {
        let head = changed(header(), &json!({"alg": alg, "kid": "2"})).to_string();
        let signed = format!("{}.{}", b64(head), b64(claims(&tenant, "the-id").to_string()));
        let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, b"secret"), signed.as_bytes());
        gateway.chat(&format!("{signed}.{}", b64(mac))).await.refused(401, "unauthorized");
    }
    assert_eq!(provider.count(), 0);
    gateway.chat(&issuer.token(&tenant, "the-id")).await.expect(200);
}

#[tokio::test]
async fn with_two_keys_in_the_set_a_token_must_say_which() {
    let issuer = Issuer::new();
    let other = changed(Issuer::new().jwk(), &json!({"kid": "2"}));
    let keys = Provider::answering([Answer::json(200, &json!({"keys": [issuer.jwk(), other]}))]).await;
    let provider = Provider::right().await;
    let (gateway, tenant) = with_keys_at(&keys, &provider).await;
    for kid in [json!(null), json!("2"), json!("3")] {
        let head = changed(header(), &json!({"kid": kid})).to_string();
        let token = issuer.sign(&head, &claims(&tenant, "the-id").to_string());
        gateway.chat(&token).await.refused(401, "unauthorized");
    }
    gateway.chat(&issuer.token(&tenant, "the-id")).await.expect(200);
    assert_eq!(keys.count(), 1);
}

/// The key set does not come, so whoever names its issuer waits to be proven.
#[tokio::test]
async fn requests_that_wait_to_be_proven_do_not_crowd_out_others() {
    let keys = Provider::start(|_| Answer::hang()).await;
    let provider = Provider::right().await;
    let (gateway, tenant) = with_keys_at(&keys, &provider).await;
    let good = gateway.token(&tenant, &json!({"role": "caller"})).await;
    gateway.chat(&good).await.expect(200);
    let bearer = format!("Bearer {}", Issuer::new().token(&tenant, "a-stranger"));
    let fields: Vec<_> = [
        (":method", "GET"),
        (":scheme", "https"),
        (":authority", "gw"),
        (":path", "/openai/v1/models"),
        ("authorization", &bearer),
    ]
    .map(|(name, value)| (latin1(name), latin1(value)))
    .into();
    let heads: Vec<u8> = (0..63).flat_map(|at| h2::head(1 + 2 * at, &fields, true)).collect();
    let flight = [h2::hello(), heads].concat();
    let mut crowd = Vec::new();
    for _ in 0..20 {
        let mut io = connect(gateway.port()).await;
        h2::send(&mut io, &flight).await;
        crowd.push(io);
    }
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    // All places are taken, but two of each connection are its own.
    let mut late = connect(gateway.port()).await;
    h2::send(&mut late, &flight).await;
    let refused = h2::bodies(&mut late, 61).await;
    let full = b"BYOK_SERVICE_UNAVAILABLE";
    assert!(refused.values().all(|body| body.windows(full.len()).any(|part| part == full)));
    gateway.chat(&good).await.expect(200);
}
