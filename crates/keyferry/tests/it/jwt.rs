//! JWTs of tenants' issuers: which are accepted, and everything that is not.

use aws_lc_rs::{
    digest, hmac,
    rand::SystemRandom,
    rsa,
    signature::{Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::harness::{
    Answer, Gateway, Issuer, Options, Provider, a_key,
    issuer::{AUDIENCE, ISSUER, b64, claims, header},
    now, request,
};

const CHAT: &str = "/openai/v1/chat/completions";

/// A gateway, its provider, an issuer, and the tenant that registered it.
struct Scene {
    provider: Provider,
    gateway: Gateway,
    issuer: Issuer,
    tenant: String,
}

impl Scene {
    async fn new() -> Self {
        let provider = Provider::right().await;
        let gateway = Gateway::before(&provider).await;
        let tenant = gateway.tenant_with_key("openai", &a_key("key-")).await.id;
        let issuer = Issuer::new();
        issuer.register(&gateway, &tenant).await;
        Self { provider, gateway, issuer, tenant }
    }

    /// Good claims with something changed; `null` takes a claim out.
    fn claims(&self, jti: &str, changes: &Value) -> String {
        changed(claims(&self.tenant, jti), changes).to_string()
    }

    /// Each token is refused, reaches no provider, and leaves its id unused.
    async fn refuses(&self, tokens: Vec<(&str, String)>) {
        for (name, token) in tokens {
            let before = self.provider.count();
            let reply = self.gateway.chat(&token).await;
            assert_eq!((reply.status(), reply.code().as_str()), (401, "unauthorized"), "{name}: {token}");
            assert_eq!(self.provider.count(), before, "{name}");
        }
        // The id was in all of them, and none has used it up.
        self.gateway.chat(&self.issuer.token(&self.tenant, "the-id")).await.expect(200);
        let again = self.gateway.chat(&self.issuer.token(&self.tenant, "the-id")).await;
        again.refused(409, "BYOK_REPLAY_DETECTED");
    }
}

fn changed(mut object: Value, changes: &Value) -> Value {
    let fields = object.as_object_mut().expect("an object");
    for (name, value) in changes.as_object().expect("an object") {
        if value.is_null() {
            fields.remove(name);
        } else {
            fields.insert(name.clone(), value.clone());
        }
    }
    object
}

#[tokio::test]
async fn a_token_of_each_algorithm_is_accepted() {
    let scene = Scene::new().await;
    let sign_up = async |name: &str, algorithm: &str, jwk: Value| {
        let body =
            json!({"issuer": name, "audience": AUDIENCE, "algorithm": algorithm, "jwks": {"keys": [jwk]}});
        let path = format!("/tenants/{}/issuers", scene.tenant);
        scene.gateway.operator("POST", &path, &body).await.expect(201);
    };
    let text = |name: &str, algorithm: &str| {
        let claims = scene.claims(algorithm, &json!({"iss": name}));
        format!("{}.{}", b64(json!({"alg": algorithm, "kid": "2"}).to_string()), b64(claims))
    };
    let ed = Ed25519KeyPair::generate().expect("a key");
    let jwk = json!({"kty": "OKP", "crv": "Ed25519", "kid": "2", "x": b64(ed.public_key())});
    sign_up("ed", "EdDSA", jwk).await;
    let signed = text("ed", "EdDSA");
    let token = format!("{signed}.{}", b64(ed.sign(signed.as_bytes())));
    scene.gateway.chat(&token).await.expect(200);

    let rsa = rsa::KeyPair::generate(rsa::KeySize::Rsa2048).expect("a key");
    // RSAPublicKey: a sequence of the modulus, which begins after 9 bytes, and the exponent 65537.
    let public = rsa.public_key().as_ref();
    let jwk = json!({"kty": "RSA", "kid": "2", "n": b64(&public[9..265]), "e": "AQAB"});
    sign_up("rsa", "RS256", jwk).await;
    let signed = text("rsa", "RS256");
    let mut signature = vec![0; rsa.public_modulus_len()];
    rsa.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature).expect("signs");
    scene.gateway.chat(&format!("{signed}.{}", b64(&signature))).await.expect(200);

    scene.gateway.chat(&scene.issuer.token(&scene.tenant, "es")).await.expect(200);
    // In any slot, as a gateway token.
    for slot in ["x-api-key", "x-goog-api-key", "x-keyferry-token"] {
        let token = scene.issuer.token(&scene.tenant, slot);
        let url = format!("{}/openai/v1/models", scene.gateway.url());
        request("GET", &url, &[(slot, &token)], b"").await.expect(200);
    }
}

#[tokio::test]
async fn other_algorithms_are_refused() {
    let scene = Scene::new().await;
    let good = scene.claims("the-id", &json!({}));
    let (point, jwk) = (scene.issuer.point().to_vec(), scene.issuer.jwk().to_string());
    let spki = [&hex("3059301306072a8648ce3d020106082a8648ce3d030107034200"), point.as_slice()].concat();
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(&spki));
    let mut tokens = Vec::new();
    for alg in
        ["none", "None", "NONE", "nOnE", "", "ES384", "ES256K", "RS256", "PS256", "EdDSA", "es256", "ES256 "]
    {
        let head = b64(changed(header(), &json!({"alg": alg})).to_string());
        tokens.push(("unsigned", format!("{head}.{}.", b64(&good))));
        tokens.push((
            "signed all the same",
            scene.issuer.sign(&changed(header(), &json!({"alg": alg})).to_string(), &good),
        ));
    }
    for secret in [pem.as_bytes(), pem.trim().as_bytes(), &spki, &point, &point[1..], jwk.as_bytes(), b""] {
        let head = b64(changed(header(), &json!({"alg": "HS256"})).to_string());
        let signed = format!("{head}.{}", b64(&good));
        let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), signed.as_bytes());
        tokens.push(("HS256 under the public key", format!("{signed}.{}", b64(mac))));
    }
    tokens.push(("no alg", scene.issuer.sign(&changed(header(), &json!({"alg": null})).to_string(), &good)));
    tokens.push((
        "alg is a list",
        scene.issuer.sign(&changed(header(), &json!({"alg": ["ES256"]})).to_string(), &good),
    ));
    scene.refuses(tokens).await;
}

fn hex(text: &str) -> Vec<u8> {
    data_encoding::HEXLOWER.decode(text.as_bytes()).expect("hex")
}

#[tokio::test]
async fn a_header_that_brings_a_key_or_must_be_understood_is_refused() {
    let scene = Scene::new().await;
    let good = scene.claims("the-id", &json!({}));
    let stranger = Issuer::new();
    let keys = Provider::answering([Answer::json(200, &stranger.jwks())]).await;
    let url = format!("http://{}/jwks.json", keys.address);
    let mut tokens = Vec::new();
    for (name, extra) in [
        ("jwk", json!({"jwk": stranger.jwk()})),
        ("jku", json!({"jku": url})),
        ("jku of a provider", json!({"jku": "https://api.openai.com/jwks.json"})),
        ("x5u", json!({"x5u": url})),
        ("x5c", json!({"x5c": ["MIIB"]})),
        ("crit", json!({"crit": ["exp"]})),
        ("crit with an unknown name", json!({"crit": ["moon"], "moon": 1})),
        ("crit, empty", json!({"crit": []})),
        ("b64 false", json!({"b64": false, "crit": ["b64"]})),
        ("b64 without crit", json!({"b64": false})),
        ("zip", json!({"zip": "DEF"})),
        ("enc", json!({"enc": "A256GCM"})),
    ] {
        let head = changed(header(), &extra).to_string();
        tokens.push((name, stranger.sign(&head, &good)));
        tokens.push((name, scene.issuer.sign(&head, &good)));
    }
    scene.refuses(tokens).await;
    assert_eq!(keys.connections(), 0, "a token makes nobody fetch anything");
}

#[tokio::test]
async fn odd_key_ids_are_refused() {
    let scene = Scene::new().await;
    let good = scene.claims("the-id", &json!({}));
    let mut tokens = Vec::new();
    for kid in [
        "2",
        "",
        "1 ",
        "01",
        "../../../../etc/passwd",
        "1' OR '1'='1",
        "1\r\nx: y",
        "1\0",
        "/dev/null",
        "https://keys.example/1",
        &"1".repeat(256),
    ] {
        tokens.push(("kid", scene.issuer.sign(&changed(header(), &json!({"kid": kid})).to_string(), &good)));
    }
    for kid in [json!(1), json!(["1"]), json!({"1": 1})] {
        tokens.push((
            "kid of another type",
            scene.issuer.sign(&changed(header(), &json!({"kid": kid})).to_string(), &good),
        ));
    }
    let twice = r#"{"alg":"ES256","kid":"1","kid":"1"}"#;
    tokens.push(("kid twice", scene.issuer.sign(twice, &good)));
    tokens
        .push(("a list in the order of the header", scene.issuer.sign(r#"["ES256","1",null,null]"#, &good)));
    tokens.push(("alg twice", scene.issuer.sign(r#"{"alg":"none","alg":"ES256","kid":"1"}"#, &good)));
    scene.refuses(tokens).await;
    // Without an id, the one key of the set is meant.
    let head = changed(header(), &json!({"kid": null})).to_string();
    scene.gateway.chat(&scene.issuer.sign(&head, &scene.claims("no-kid", &json!({})))).await.expect(200);
    // A header as long as it likes.
    let long = changed(header(), &json!({"kid": "1".repeat(7000)})).to_string();
    scene.gateway.chat(&scene.issuer.sign(&long, &good)).await.refused(401, "unauthorized");
}

#[tokio::test]
async fn times_that_are_over_to_come_or_no_times_are_refused() {
    let scene = Scene::new().await;
    let now = now();
    let mut tokens = Vec::new();
    for (name, changes) in [
        ("over", json!({"exp": now - 31})),
        ("long over", json!({"exp": 1})),
        ("no exp", json!({"exp": null})),
        ("exp is a text", json!({"exp": (now + 120).to_string()})),
        ("exp is a fraction", json!({"exp": now as f64 + 120.5})),
        ("exp is negative", json!({"exp": -1})),
        ("exp is a list", json!({"exp": [now + 120]})),
        ("exp is true", json!({"exp": true})),
        ("lives for more than an hour", json!({"exp": now + 3600 + 60})),
        ("lives for ever", json!({"exp": 4_102_444_800_i64})),
        ("lives for more than an hour since it was issued", json!({"iat": now - 3590, "exp": now + 60})),
        ("exp before iat", json!({"iat": now + 20, "exp": now + 10})),
        ("not yet", json!({"nbf": now + 90})),
        ("nbf is a text", json!({"nbf": "0"})),
        ("nbf is negative", json!({"nbf": -5})),
        ("issued later", json!({"iat": now + 90})),
        ("iat is a text", json!({"iat": now.to_string()})),
        ("iat is a fraction", json!({"iat": 1.5})),
    ] {
        tokens.push((name, scene.issuer.sign(&header().to_string(), &scene.claims("the-id", &changes))));
    }
    for exp in [
        "1e300",
        "1e10",
        "99999999999999999999999",
        "9223372036854775807",
        "18446744073709551615",
        "NaN",
        "-0.0",
    ] {
        let text = scene.claims("the-id", &json!({"exp": 0})).replace("\"exp\":0", &format!("\"exp\":{exp}"));
        tokens.push(("exp", scene.issuer.sign(&header().to_string(), &text)));
    }
    scene.refuses(tokens).await;
    // Within the half minute that two clocks may differ.
    for (jti, changes) in [
        ("late", json!({"exp": now - 10, "iat": now - 60})),
        ("early", json!({"nbf": now + 20, "iat": now + 20})),
        ("no iat", json!({"iat": null})),
        ("an hour", json!({"exp": now + 3600, "iat": now})),
    ] {
        let token = scene.issuer.sign(&header().to_string(), &scene.claims(jti, &changes));
        assert_eq!(scene.gateway.chat(&token).await.status(), 200, "{jti}");
    }
}

#[tokio::test]
async fn claims_of_somebody_else_or_of_another_shape_are_refused() {
    let scene = Scene::new().await;
    let other = scene.gateway.tenant_with_key("openai", &a_key("key-")).await.id;
    let mut tokens = Vec::new();
    for (name, changes) in [
        ("no aud", json!({"aud": null})),
        ("another aud", json!({"aud": "else"})),
        ("other auds", json!({"aud": ["else", "where"]})),
        ("no auds", json!({"aud": []})),
        ("aud is an object", json!({"aud": {"keyferry": 1}})),
        ("aud in another case", json!({"aud": "Keyferry"})),
        ("no iss", json!({"iss": null})),
        ("another iss", json!({"iss": "https://else.example"})),
        ("iss with a slash more", json!({"iss": format!("{ISSUER}/")})),
        ("iss is a list", json!({"iss": [ISSUER]})),
        ("no tenant", json!({"tenant": null})),
        ("another tenant", json!({"tenant": other})),
        ("a tenant that is not there", json!({"tenant": "nobody"})),
        ("tenant is a path", json!({"tenant": "../x"})),
        ("tenant is a list", json!({"tenant": [scene.tenant]})),
        ("no jti", json!({"jti": null})),
        ("an empty jti", json!({"jti": ""})),
        ("a long jti", json!({"jti": "j".repeat(256)})),
        ("a jti with NUL", json!({"jti": "the-id\0"})),
        ("jti is a number", json!({"jti": 7})),
        ("jti is a list", json!({"jti": ["the-id"]})),
        ("a long sub", json!({"sub": "s".repeat(256)})),
        ("sub with a line break", json!({"sub": "a\nb"})),
    ] {
        tokens.push((name, scene.issuer.sign(&header().to_string(), &scene.claims("the-id", &changes))));
    }
    let good = scene.claims("the-id", &json!({}));
    let open = good.trim_end_matches('}');
    for (name, twice) in [
        ("jti twice", format!("{open},\"jti\":\"else\"}}")),
        ("exp twice", format!("{open},\"exp\":{}}}", now() + 60)),
        ("tenant twice", format!("{open},\"tenant\":\"{other}\"}}")),
        ("aud twice", format!("{open},\"aud\":\"else\"}}")),
        ("jti twice, once in escapes", format!("{open},\"\\u006ati\":\"else\"}}")),
        ("not an object", "[]".to_owned()),
        (
            "a list in the order of the claims",
            json!([ISSUER, AUDIENCE, scene.tenant, now() + 60, null, now(), "the-id", "alice", null, null])
                .to_string(),
        ),
        ("a text", "\"x\"".to_owned()),
        ("two objects", format!("{good}{good}")),
        ("a comment", format!("{good}//")),
        ("nothing", String::new()),
    ] {
        tokens.push((name, scene.issuer.sign(&header().to_string(), &twice)));
    }
    scene.refuses(tokens).await;
    let many = scene.claims("many", &json!({"aud": ["else", AUDIENCE]}));
    scene.gateway.chat(&scene.issuer.sign(&header().to_string(), &many)).await.expect(200);
}

#[tokio::test]
async fn signatures_that_are_not_one_are_refused() {
    let scene = Scene::new().await;
    let good = scene.issuer.token(&scene.tenant, "the-id");
    let (signed, signature) = good.rsplit_once('.').expect("three parts");
    let raw = scene.issuer.signature(signed);
    let order = hex("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551");
    let integer = |half: &[u8]| [&[2, 33, 0], half].concat();
    let der = [&[0x30, 70], integer(&raw[..32]).as_slice(), &integer(&raw[32..])].concat();
    let mut flipped = raw.clone();
    flipped[40] ^= 1;
    let mut tokens: Vec<(&str, String)> = [
        ("r = s = 0", vec![0; 64]),
        ("r = s = n", [order.clone(), order.clone()].concat()),
        ("r = 0", [&[0; 32], &raw[32..]].concat()),
        ("s = 0", [&raw[..32], &[0; 32]].concat()),
        ("DER", der),
        ("short", raw[..63].to_vec()),
        ("long", [raw.as_slice(), &[0]].concat()),
        ("one bit", flipped),
        ("halves exchanged", [&raw[32..], &raw[..32]].concat()),
        ("of another text", scene.issuer.signature("else")),
        ("of another key", Issuer::new().signature(signed)),
        ("the digest", digest::digest(&digest::SHA256, signed.as_bytes()).as_ref().to_vec()),
    ]
    .into_iter()
    .map(|(name, bytes)| (name, format!("{signed}.{}", b64(bytes))))
    .collect();
    let padded = format!("{good}==");
    // The last character of 64 bytes carries four bits that mean nothing and must be zero.
    let last = signature.as_bytes()[signature.len() - 1];
    let odd = char::from(if last == b'A' { b'B' } else { last + 1 });
    let cut = &good[..good.len() - 1];
    tokens.extend([
        ("empty", format!("{signed}.")),
        ("none", signed.to_owned()),
        ("padding", padded),
        ("bits after the end", format!("{cut}{odd}")),
        ("standard base64", format!("{signed}.{}", STANDARD.encode([0xff; 64]))),
        ("four parts", format!("{good}.{signature}")),
        ("five parts", format!("{good}.x.y")),
        ("a blank inside", format!("{} {}", &good[..20], &good[20..])),
        ("two dots", good.replacen('.', "..", 1)),
        ("a dot in front", format!(".{good}")),
        ("JSON serialization", json!({"protected": "x", "payload": "y", "signature": "z"}).to_string()),
        ("nested", scene.issuer.sign(&header().to_string(), &good)),
        ("longer than any token", format!("{signed}.{}", "A".repeat(9000))),
    ]);
    // Non-canonical base64url of the header: the claims are right and so is the signature over it.
    for (name, head) in [
        ("padded header", format!("{}=", b64(r#"{"alg":"ES256","kid":"1"} "#))),
        ("odd bits in the header", {
            let mut text = b64(r#"{"alg":"ES256","kid":"1"}"#).into_bytes();
            let end = text.len() - 1;
            text[end] += 1;
            String::from_utf8(text).expect("text")
        }),
    ] {
        let signed = format!("{head}.{}", b64(scene.claims("the-id", &json!({}))));
        let signature = b64(scene.issuer.signature(&signed));
        tokens.push((name, format!("{signed}.{signature}")));
    }
    scene.refuses(tokens).await;
}

#[tokio::test]
async fn a_token_in_the_address_is_not_looked_at() {
    let scene = Scene::new().await;
    let token = scene.issuer.token(&scene.tenant, "in-the-query");
    for name in ["access_token", "token", "jwt"] {
        let url = format!("{}/openai/v1/models?{name}={token}", scene.gateway.url());
        let status = request("GET", &url, &[], b"").await.status();
        assert!(matches!(status, 400 | 401), "{name}: {status}");
    }
    assert_eq!(scene.provider.count(), 0);
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

/// A gateway for which the host of the key set is this server.
async fn with_keys_at(keys: &Provider, provider: &Provider) -> (Gateway, String) {
    let options = Options::to(provider).dial("keys.example.com", keys.address, true);
    let gateway = Gateway::start(options).await;
    let tenant = gateway.tenant_with_key("openai", &a_key("key-")).await.id;
    let body = json!({"issuer": ISSUER, "audience": AUDIENCE, "algorithm": "ES256",
        "jwks_url": "https://keys.example.com/.well-known/jwks.json"});
    gateway.operator("POST", &format!("/tenants/{tenant}/issuers"), &body).await.expect(201);
    (gateway, tenant)
}

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
    let padded = format!("{}{}", issuer.jwks(), " ".repeat(70_000));
    let cases = [
        ("a redirect", Answer::redirect(302, &format!("http://{}/", elsewhere.address))),
        ("an error", Answer::json(500, &issuer.jwks())),
        ("not JSON", Answer::with(200, &[("content-type", "application/json")], b"<html>")),
        ("a secret key", Answer::json(200, &secret)),
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
async fn a_jwt_administers_nothing() {
    let scene = Scene::new().await;
    let path = format!("/tenants/{}/credentials", scene.tenant);
    for claims in [json!({}), json!({"role": "tenant_admin"}), json!({"scope": "admin", "admin": true})] {
        let jti = claims.to_string();
        let token = scene.issuer.sign(&header().to_string(), &scene.claims(&jti, &claims));
        scene.gateway.admin(&token, "GET", &path, &Value::Null).await.refused(403, "forbidden");
    }
}
