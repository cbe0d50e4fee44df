//! The session mode: a key that comes sealed under another key beside it, for gateways that turn it on.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use data_encoding::BASE64;
use serde_json::json;
use tokio::net::TcpStream;

use crate::{
    harness::{Answer, Connection, Gateway, Options, Provider, Reply, Tenant, a_key, connect},
    ingress::{h2, latin1},
};

const CHAT: &str = "/openai/v1/chat/completions";
const ON: &str = "byok: {session: true}";
const SECRET: [u8; 32] = [0x5a; 32];

/// What a browser sends: base64 of the nonce, the ciphertext and the tag.
pub(crate) fn sealed(key: &str, secret: &[u8; 32]) -> Vec<u8> {
    let nonce = *b"twelve bytes";
    let mut text = key.as_bytes().to_vec();
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, secret).expect("32 bytes"))
        .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut text)
        .expect("sealed");
    [&nonce[..], &text].concat()
}

struct Scene {
    provider: Provider,
    gateway: Gateway,
    tenant: Tenant,
}

impl Scene {
    async fn start(yaml: &str) -> Self {
        let provider = Provider::right().await;
        let gateway = Gateway::start(Options::to(&provider).yaml(yaml)).await;
        let tenant = gateway.tenant_with_key("openai", &a_key("sk-held-")).await;
        Self { provider, gateway, tenant }
    }

    async fn ask(&self, path: &str, encrypted: Option<&str>, session: Option<&str>) -> Reply {
        let headers: Vec<_> = [("x-encrypted-key", encrypted), ("x-session-key", session)]
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)))
            .collect();
        self.gateway
            .post(&self.tenant.caller_token, path, &headers, &json!({"model": "m", "messages": []}))
            .await
    }
}

#[tokio::test]
async fn a_key_that_came_sealed_serves_its_request_and_the_receipt_says_so() {
    let scene = Scene::start(ON).await;
    let secret = BASE64.encode(&SECRET);
    for (path, slot, prefix) in [
        (CHAT, "authorization", "Bearer "),
        ("/anthropic/v1/messages", "x-api-key", ""),
        ("/gemini/v1beta/models/m:generateContent", "x-goog-api-key", ""),
    ] {
        // Of every length modulo three: base64 with no, one and two signs of padding.
        for more in ["", "x", "xy"] {
            let key = format!("{}{more}", a_key("sk-own-"));
            let encrypted = BASE64.encode(&sealed(&key, &SECRET));
            let reply = scene.ask(path, Some(&encrypted), Some(&secret)).await.expect(200);
            assert_eq!(reply.header("x-keyferry-credential"), "session", "{path}");
            assert_eq!(reply.header("x-keyferry-credential-id"), "", "{path}");
            assert_eq!(reply.header("x-keyferry-accounting"), "BYOK_NO_BUDGET", "{path}");
            let seen = scene.provider.last();
            assert_eq!(seen.header(slot), format!("{prefix}{key}"), "{path}");
            assert_eq!((seen.header("x-encrypted-key"), seen.header("x-session-key")), ("", ""), "{path}");
        }
    }
    let row = scene.gateway.usage_row(&scene.tenant.id, 9).await;
    assert_eq!((&row["credential"], &row["credential_id"]), (&json!("session"), &json!(null)));
    scene.gateway.logged(&["\"credential\":\"session\""]).await;
}

#[tokio::test]
async fn a_stream_is_served_by_a_key_that_came_sealed() {
    let provider = Provider::start(|_| {
        Answer::sse(&["data: {\"choices\":[{\"delta\":{\"content\":\"hi\"}}]}\n\n", "data: [DONE]\n\n"])
    })
    .await;
    let gateway = Gateway::start(Options::to(&provider).yaml(ON)).await;
    let tenant = gateway.tenant_with_key("openai", &a_key("sk-held-")).await;
    let key = a_key("sk-own-");
    let (encrypted, session) = (BASE64.encode(&sealed(&key, &SECRET)), BASE64.encode(&SECRET));
    let headers = [("x-encrypted-key", encrypted.as_str()), ("x-session-key", session.as_str())];
    let body = json!({"model": "m", "messages": [], "stream": true});
    let reply = gateway.post(&tenant.caller_token, CHAT, &headers, &body).await.expect(200);
    assert!(reply.whole && reply.text().ends_with("data: [DONE]\n\n"), "{}", reply.text());
    assert_eq!(reply.header("x-keyferry-credential"), "session");
    assert_eq!(provider.last().header("authorization"), format!("Bearer {key}"));
    assert_eq!(gateway.usage_row(&tenant.id, 1).await["credential"], "session");
}

#[tokio::test]
async fn it_works_over_http2_too() {
    let scene = Scene::start(ON).await;
    let key = a_key("sk-own-");
    let bearer = format!("Bearer {}", scene.tenant.caller_token);
    let (encrypted, session) = (BASE64.encode(&sealed(&key, &SECRET)), BASE64.encode(&SECRET));
    let fields: Vec<_> = [
        (":method", "POST"),
        (":scheme", "https"),
        (":authority", "gw.example"),
        (":path", CHAT),
        ("authorization", &bearer),
        ("x-encrypted-key", &encrypted),
        ("x-session-key", &session),
    ]
    .map(|(name, value)| (latin1(name), latin1(value)))
    .into();
    let outcome =
        h2::exchange(connect(scene.gateway.port()).await, &fields, Some(b"{\"model\":\"m\"}")).await;
    assert_eq!(outcome.status, Some(200));
    assert_eq!(scene.provider.last().header("authorization"), format!("Bearer {key}"));
}

#[tokio::test]
async fn every_failure_has_the_same_answer() {
    let scene = Scene::start(ON).await;
    let blob = sealed(&a_key("sk-own-"), &SECRET);
    let good = BASE64.encode(&blob);
    let flipped = |at: usize| {
        let mut blob = blob.clone();
        blob[at] ^= 1;
        Some(BASE64.encode(&blob))
    };
    let encrypted = |bytes: &[u8]| Some(BASE64.encode(bytes));
    let session = |bytes: &[u8]| Some(BASE64.encode(bytes));
    let right = session(&SECRET);
    let under = |text: &str| encrypted(&sealed(text, &SECRET));
    let cases: Vec<(&str, Option<String>, Option<String>)> = vec![
        ("another key", encrypted(&blob), session(&[0x5b; 32])),
        ("a short key", encrypted(&blob), session(&SECRET[..16])),
        ("a long key", encrypted(&blob), session(&[0x5a; 33])),
        ("an empty key", encrypted(&blob), Some(String::new())),
        ("a key in hex", encrypted(&blob), Some("5a".repeat(32))),
        ("a key without padding", encrypted(&blob), right.as_ref().map(|text| text.replace('=', ""))),
        (
            "a key in the other alphabet",
            encrypted(&blob),
            session(&[0xff; 32]).map(|text| text.replace('/', "_")),
        ),
        ("another nonce", flipped(0), right.clone()),
        ("another ciphertext", flipped(12), right.clone()),
        ("another tag", flipped(blob.len() - 1), right.clone()),
        ("a cut tag", encrypted(&blob[..blob.len() - 1]), right.clone()),
        ("no tag", encrypted(&blob[..blob.len() - 16]), right.clone()),
        ("a nonce only", encrypted(&blob[..12]), right.clone()),
        ("less than a nonce", encrypted(&blob[..5]), right.clone()),
        ("nothing", Some(String::new()), right.clone()),
        ("more after it", encrypted(&[blob.as_slice(), b"x"].concat()), right.clone()),
        ("no base64", Some(format!("!{good}")), right.clone()),
        ("base64 with a blank", Some(format!("{} {}", &good[..8], &good[8..])), right.clone()),
        ("the key alone", None, right.clone()),
        ("the blob alone", encrypted(&blob), None),
        ("no key inside", under(""), right.clone()),
        ("too short a key inside", under("short"), right.clone()),
        ("a line break inside", under("sk-own-key\r\nx: y"), right.clone()),
        ("a gateway token inside", under(&scene.tenant.caller_token), right.clone()),
    ];
    for path in [CHAT, "/anthropic/v1/messages", "/gemini/v1beta/models/m:generateContent"] {
        let mut answers = Vec::new();
        for (name, encrypted, session) in &cases {
            let reply = scene.ask(path, encrypted.as_deref(), session.as_deref()).await;
            let id = reply.header("x-keyferry-request-id").to_owned();
            let mut headers = reply.head.headers.clone();
            headers.retain(|(_, value)| *value != id);
            headers.retain(|(header, _)| header != "date");
            let text = reply.text().replace(&id, "ID");
            let reply = reply.refused(400, "BYOK_DECRYPTION_FAILED");
            answers.push((*name, reply.status(), headers, text));
        }
        for (name, status, headers, text) in &answers[1..] {
            assert_eq!(
                (status, headers, text),
                (&answers[0].1, &answers[0].2, &answers[0].3),
                "{name} on {path}"
            );
        }
    }
    assert_eq!(scene.provider.count(), 0, "no other key was used");
    // It is said after who asks was proven: nobody learns here what opens.
    let (blob, secret) = (BASE64.encode(&blob), BASE64.encode(&[0; 32]));
    let headers = [("x-encrypted-key", blob.as_str()), ("x-session-key", secret.as_str())];
    scene.gateway.post("nobody", CHAT, &headers, &json!({"model": "m"})).await.refused(401, "unauthorized");
}

#[tokio::test]
async fn it_is_off_unless_it_is_turned_on() {
    let scene = Scene::start("byok: {carried: true}").await;
    let (encrypted, session) = (BASE64.encode(&sealed(&a_key("sk-own-"), &SECRET)), BASE64.encode(&SECRET));
    for (encrypted, session) in
        [(Some(&*encrypted), Some(&*session)), (Some(&*encrypted), None), (None, Some("!"))]
    {
        scene.ask(CHAT, encrypted, session).await.refused(404, "BYOK_DISABLED");
    }
    assert_eq!(scene.provider.count(), 0, "no other key was used");
    // And it does not need the plain way to be on.
    let scene = Scene::start("byok: {session: true, carried: false}").await;
    scene.ask(CHAT, Some(&encrypted), Some(&session)).await.expect(200);
    let headers = [("x-byok-key", a_key("sk-own-"))].map(|(name, value)| (name, value.leak() as &str));
    let reply = scene.gateway.post(&scene.tenant.caller_token, CHAT, &headers, &json!({"model": "m"})).await;
    reply.refused(404, "BYOK_DISABLED");
}

/// An address of this machine that is not the loopback's, if it has one. Nothing is sent.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("198.51.100.1:9").ok()?;
    Some(socket.local_addr().ok()?.ip()).filter(|ip| !ip.is_loopback())
}

#[expect(clippy::disallowed_methods, reason = "a test talks to the gateway under test")]
async fn connect_to(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).await.expect("the gateway accepts connections")
}

#[tokio::test]
async fn in_the_clear_it_is_served_to_this_host_only() {
    // A machine without a network has nowhere to come from but itself; `ClientAddr` has a test of its own.
    let Some(ip) = own_address() else { return };
    let provider = Provider::right().await;
    let listeners = "listeners:\n  - {bind: 0.0.0.0:0, resources: [gateway, admin, health]}\n  - {bind: 127.0.0.1:0, resources: [metrics, health]}\n";
    let gateway = Gateway::start(Options::to(&provider).yaml(ON).listeners(listeners)).await;
    let tenant = gateway.tenant_with_key("openai", &a_key("sk-held-")).await;
    let bearer = format!("Bearer {}", tenant.caller_token);
    let (encrypted, session) = (BASE64.encode(&sealed(&a_key("sk-own-"), &SECRET)), BASE64.encode(&SECRET));
    let carried = a_key("sk-own-");
    let sealed = [("x-encrypted-key", encrypted.as_str()), ("x-session-key", session.as_str())];
    let here = IpAddr::from([127, 0, 0, 1]);
    for (from, headers, expected) in [
        (here, &sealed[..], (200, "")),
        (ip, &[("x-byok-key", carried.as_str())][..], (200, "")),
        (ip, &sealed[..], (400, "invalid_request")),
    ] {
        let mut connection = Connection::over(connect_to((from, gateway.port()).into()).await);
        let headers = [&[("authorization", bearer.as_str())], headers].concat();
        connection.request("POST", CHAT, &headers, b"{\"model\":\"m\"}").await;
        let reply = connection.reply().await;
        assert_eq!((reply.status(), reply.code().as_str()), expected, "{}", reply.text());
        if expected.0 == 400 {
            assert!(reply.text().contains("TLS"), "{}", reply.text());
        }
    }
    assert_eq!(provider.count(), 2);
}
