//! What passes to a provider and back: what the lists name, and nothing else; and never a step to another address.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};

use crate::{
    dns::server::NameServer,
    harness::{Answer, Connection, Gateway, Options, Provider, Seen, Tenant, a_key, connect, request},
    ingress::{UNLIMITED, cases::Expect, expected, h2, latin1, vectors},
};

/// A provider's surface: its name, a POST below it, and the header its key goes into.
const SURFACES: [(&str, &str, &str); 3] = [
    ("openai", "/openai/v1/chat/completions", "authorization"),
    ("anthropic", "/anthropic/v1/messages", "x-api-key"),
    ("gemini", "/gemini/v1beta/models/gemini-2.5-flash:generateContent", "x-goog-api-key"),
];

const BODY: &[u8] = b"{\"a\":1}";

/// Every header that could carry a credential to a provider.
const CREDENTIALS: [&str; 14] = [
    "authorization",
    "proxy-authorization",
    "x-api-key",
    "x-goog-api-key",
    "api-key",
    "apikey",
    "cookie",
    "x-keyferry-token",
    "x-byok-key",
    "x-byok-keys",
    "x-encrypted-key",
    "x-session-key",
    "x-sealed-key",
    "x-auth-token",
];

struct Scene {
    gateway: Gateway,
    tenant: Tenant,
    /// The stored key of each surface.
    keys: HashMap<&'static str, String>,
}

impl Scene {
    async fn before(provider: &Provider) -> Self {
        Self::with(Options::to(provider)).await
    }

    async fn with(options: Options) -> Self {
        let gateway = Gateway::start(options.yaml(UNLIMITED)).await;
        let keys: HashMap<_, _> =
            SURFACES.iter().map(|(name, ..)| (*name, a_key(&format!("sk-{name}-")))).collect();
        let tenant = gateway.tenant_with_key("openai", &keys["openai"]).await;
        for name in ["anthropic", "gemini"] {
            gateway.store(&tenant.id, name, &keys[name]).await;
        }
        Self { gateway, tenant, keys }
    }

    /// Asserts that a provider's request has the stored key, in its one header, and no other credential.
    #[track_caller]
    fn assert_one_key(&self, seen: &Seen, surface: &'static str) {
        let slot = SURFACES.iter().find(|(name, ..)| *name == surface).expect("a surface").2;
        let found: Vec<(String, &str)> = seen
            .headers
            .iter()
            .filter(|(name, _)| CREDENTIALS.contains(&name.to_ascii_lowercase().as_str()))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.as_str()))
            .collect();
        let scheme = if slot == "authorization" { "Bearer " } else { "" };
        assert_eq!(found, [(slot.to_owned(), format!("{scheme}{}", self.keys[surface]).as_str())]);
        let head = String::from_utf8_lossy(&seen.head);
        assert!(!head.contains(&self.tenant.caller_token), "the gateway token went out: {head}");
    }

    /// On the unified surface every provider gets its key as a bearer.
    #[track_caller]
    fn assert_one_bearer(&self, seen: &Seen, provider: &'static str) {
        let found: Vec<(String, &str)> = seen
            .headers
            .iter()
            .filter(|(name, _)| CREDENTIALS.contains(&name.to_ascii_lowercase().as_str()))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.as_str()))
            .collect();
        let bearer = format!("Bearer {}", self.keys[provider]);
        assert_eq!(found, [("authorization".to_owned(), bearer.as_str())], "{provider}");
        assert!(!String::from_utf8_lossy(&seen.head).contains(&self.tenant.caller_token), "{provider}");
    }

    async fn post(&self, path: &str, headers: &[(&str, &str)]) -> crate::harness::Reply {
        request("POST", &format!("{}{path}", self.gateway.url()), headers, BODY).await
    }
}

#[tokio::test]
async fn request_headers_pass_only_if_they_are_on_the_list() {
    let provider = Provider::right().await;
    let scene = Scene::before(&provider).await;
    let mut wrong = Vec::new();
    for case in vectors("request_header") {
        let name = case["input"]["name"].as_str().expect("a name");
        let value = case["input"]["value"].as_str().expect("a value");
        for (surface, path, _) in SURFACES {
            let before = provider.count();
            // Where the case is about the token itself, the token stands there.
            let token = &scene.tenant.caller_token;
            let own_slot = name.eq_ignore_ascii_case("authorization");
            let value = if own_slot { format!("Bearer {token}") } else { value.to_owned() };
            let carrier = if own_slot { String::new() } else { format!("x-keyferry-token: {token}\r\n") };
            let bytes = latin1(&format!(
                "POST {path} HTTP/1.1\r\nhost: gw.example\r\n{carrier}{name}: {value}\r\ncontent-length: 7\r\n\r\n{{\"a\":1}}"
            ));
            let mut connection = Connection::open(scene.gateway.port()).await;
            let _ = connection.try_send(&bytes).await;
            let status = connection.try_reply().await.map(|reply| reply.status());
            let got = provider.seen().split_off(before);
            let arrived = got.iter().any(|seen| {
                seen.headers
                    .iter()
                    .any(|(known, arrived)| known.eq_ignore_ascii_case(name.trim()) && *arrived == value)
            });
            let right = match expected(&case) {
                Expect::Allow => status == Some(200) && got.len() == 1 && arrived,
                _ if got.is_empty() => status.is_none_or(|status| (400..500).contains(&status)),
                // A name with a colon in it is a shorter name on this wire.
                _ => {
                    let alone = name.contains(':')
                        || !String::from_utf8_lossy(&got[0].head).contains(&format!(": {value}\r\n"));
                    status == Some(200) && got.len() == 1 && !arrived && alone
                }
            };
            if !right {
                let heads: Vec<_> =
                    got.iter().map(|seen| String::from_utf8_lossy(&seen.head).into_owned()).collect();
                wrong.push(format!("{} on {surface}: {status:?} {heads:?}", case["id"]));
            }
            if let Some(seen) = got.first() {
                scene.assert_one_key(seen, surface);
            }
        }
    }
    assert!(wrong.is_empty(), "{} went wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[tokio::test]
async fn an_allowed_header_arrives_once_and_unchanged_among_many_that_do_not() {
    let provider = Provider::right().await;
    let scene = Scene::before(&provider).await;
    let allowed = [
        ("accept", "text/event-stream"),
        ("content-type", "application/json; charset=utf-8"),
        ("user-agent", "OpenAI/Python 1.99.1"),
        ("anthropic-version", "2023-06-01"),
        ("anthropic-beta", "a-2025-01-01,b-2025-02-02"),
        ("openai-beta", "assistants=v2"),
        ("openai-organization", "org-abc"),
        ("openai-project", "proj_abc"),
        ("idempotency-key", "stainless-python-retry-1"),
        ("x-stainless-lang", "python"),
        ("x-stainless-retry-count", "0"),
        ("x-goog-api-client", "google-genai-sdk/1.0"),
        ("x-server-timeout", "600"),
    ];
    let forbidden = [
        ("cookie", "session=1"),
        ("x-forwarded-for", "10.0.0.1"),
        ("x-real-ip", "10.0.0.1"),
        ("via", "1.1 x"),
        ("forwarded", "for=10.0.0.1"),
        ("referer", "https://app.internal/"),
        ("origin", "https://app.internal"),
        ("accept-encoding", "gzip, br"),
        ("accept-language", "de"),
        ("x-request-id", "r-1"),
        ("traceparent", "00-1-1-01"),
        ("baggage", "a=b"),
        ("x-amzn-trace-id", "Root=1"),
        ("x-keyferry-tenant", "t"),
        ("x-custom", "1"),
        ("priority", "u=1"),
        ("sec-fetch-mode", "cors"),
        ("x_api_key", "x"),
        ("if-none-match", "\"x\""),
        ("x-goog-user-project", "p"),
        ("x-goog-api-key-2", "x"),
        ("openai-organization-2", "x"),
        ("anthropic-dangerous-direct-browser-access", "true"),
        ("x-stainless", "x"),
    ];
    for (surface, path, slot) in SURFACES {
        let before = provider.count();
        let token = ("x-keyferry-token", scene.tenant.caller_token.as_str());
        let all: Vec<_> = [token].into_iter().chain(allowed).chain(forbidden).collect();
        scene.post(path, &all).await.expect(200);
        let seen = provider.request(before + 1).await;
        let mut names: Vec<String> = seen.headers.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
        names.sort_unstable();
        let mut expected: Vec<&str> = allowed.iter().map(|(name, _)| *name).collect();
        expected.extend(["accept-encoding", "content-length", "host", slot]);
        expected.sort_unstable();
        assert_eq!(names, expected, "on {surface}");
        for (name, value) in allowed {
            assert_eq!(seen.header(name), value, "on {surface}");
        }
        assert_eq!(seen.header("accept-encoding"), "identity");
        scene.assert_one_key(&seen, surface);
    }
}

#[tokio::test]
async fn over_http2_the_same_list_holds() {
    let provider = Provider::right().await;
    let scene = Scene::before(&provider).await;
    for case in vectors("request_header") {
        let name = case["input"]["name"].as_str().expect("a name");
        let value = case["input"]["value"].as_str().expect("a value");
        if name.eq_ignore_ascii_case("authorization") {
            continue;
        }
        let before = provider.count();
        let fields: Vec<(Vec<u8>, Vec<u8>)> = [
            (":method", "POST"),
            (":scheme", "https"),
            (":authority", "gw.example"),
            (":path", SURFACES[0].1),
            ("x-keyferry-token", &scene.tenant.caller_token),
            (name, value),
        ]
        .map(|(name, value)| (latin1(name), latin1(value)))
        .into();
        let outcome = h2::exchange(connect(scene.gateway.port()).await, &fields, Some(BODY)).await;
        let got = provider.seen().split_off(before);
        let arrived = got.iter().any(|seen| !name.is_empty() && seen.header(name) == value);
        match expected(&case) {
            Expect::Allow => assert!(outcome.status == Some(200) && arrived, "{case}: {outcome:?}"),
            _ => assert!(!arrived && (outcome.is_denied() == got.is_empty()), "{case}: {outcome:?} {got:?}"),
        }
    }
}

#[tokio::test]
async fn however_the_token_comes_exactly_one_key_goes_out() {
    let provider = Provider::right().await;
    let scene = Scene::before(&provider).await;
    let token = scene.tenant.caller_token.as_str();
    let bearer = format!("Bearer {token}");
    let slots = [
        ("authorization", bearer.as_str()),
        ("x-api-key", token),
        ("x-goog-api-key", token),
        ("x-keyferry-token", token),
    ];
    for (surface, path, _) in SURFACES {
        for chosen in 1_u32..16 {
            let headers: Vec<_> = slots
                .iter()
                .enumerate()
                .filter(|(at, _)| chosen >> at & 1 == 1)
                .map(|(_, slot)| *slot)
                .collect();
            let before = provider.count();
            scene.post(path, &headers).await.expect(200);
            scene.assert_one_key(&provider.request(before + 1).await, surface);
        }
    }
    let two = [
        vec![("authorization", bearer.as_str()), ("authorization", bearer.as_str())],
        vec![("authorization", bearer.as_str()), ("authorization", "Bearer other")],
        vec![("authorization", bearer.as_str()), ("x-api-key", "other")],
        vec![("authorization", bearer.as_str()), ("x-goog-api-key", "other")],
        vec![("authorization", "Basic eA=="), ("x-api-key", token)],
        vec![("x-keyferry-token", token), ("x-keyferry-token", token)],
        vec![("x-keyferry-token", token), ("authorization", "Basic eA==")],
        vec![
            ("x-keyferry-token", token),
            ("authorization", "Bearer key-one-12345"),
            ("x-byok-key", "key-two-12345"),
        ],
        vec![("x-keyferry-token", token), ("x-byok-key", "key-one-12345"), ("x-byok-key", "key-one-12345")],
    ];
    for (surface, path, _) in SURFACES {
        for headers in &two {
            let before = provider.count();
            let status = scene.post(path, headers).await.status();
            assert!(
                (status == 400 || status == 401) && provider.count() == before,
                "{surface}: {headers:?}: {status}"
            );
        }
    }
    for (surface, path, _) in SURFACES {
        for name in [
            "x-api-key",
            "authorization",
            "x-goog-api-key",
            "x-keyferry-token",
            "x-byok-key",
            "host",
            "content-length",
        ] {
            let before = provider.count();
            let nominated = format!("close, {name}");
            let headers = [("x-keyferry-token", token), ("connection", nominated.as_str())];
            let reply = scene.post(path, &headers).await;
            assert_eq!(
                (reply.status(), provider.count()),
                (400, before),
                "{surface}: connection: {nominated}"
            );
        }
    }
}

/// Answers with one more header, in each of the ways an answer can pass.
const KINDS: [&str; 4] = ["json", "stream", "bytes", "error"];

fn answer_with(kind: &str, name: &str, value: &str) -> Answer {
    let body: &[u8] = if kind == "stream" { b"data: [DONE]\n\n" } else { b"{\"ok\": 10}" };
    let (status, media) = match kind {
        "json" => (200, "application/json"),
        "stream" => (200, "text/event-stream"),
        "bytes" => (200, "audio/mpeg"),
        _ => (400, "application/json"),
    };
    let mut head = format!("HTTP/1.1 {status} Status\r\n{name}: {value}\r\n");
    if !name.eq_ignore_ascii_case("content-type") {
        head.extend(["content-type: ", media, "\r\n"]);
    }
    if !name.eq_ignore_ascii_case("content-length") {
        head.extend(["content-length: ", &body.len().to_string(), "\r\n"]);
    }
    Answer::raw(
        [
            latin1(&head),
            b"\r\n".to_vec(),
            body[..10.min(body.len())].to_vec(),
            body[10.min(body.len())..].to_vec(),
        ]
        .concat(),
    )
}

#[tokio::test]
async fn response_headers_pass_only_if_they_are_on_the_list() {
    let header = Arc::new(Mutex::new((String::new(), String::new(), "")));
    let script = Arc::clone(&header);
    let provider = Provider::start(move |_| {
        let (name, value, kind) = script.lock().expect("not poisoned").clone();
        answer_with(kind, &name, &value)
    })
    .await;
    let scene = Scene::before(&provider).await;
    let mut wrong = Vec::new();
    for case in vectors("response_header") {
        let name = case["input"]["name"].as_str().expect("a name");
        let value = case["input"]["value"].as_str().expect("a value");
        for kind in KINDS {
            // A length is the gateway's own, and right, wherever it does not stream.
            if name == "content-length" && kind != "stream" {
                continue;
            }
            *header.lock().expect("not poisoned") = (name.to_owned(), value.to_owned(), kind);
            let reply = scene.post(SURFACES[0].1, &[("x-keyferry-token", &scene.tenant.caller_token)]).await;
            let arrived = reply.header(name);
            let right = match expected(&case) {
                Expect::Allow => {
                    arrived == value && reply.status() == if kind == "error" { 400 } else { 200 }
                }
                _ => arrived != value && !reply.head.headers.iter().any(|(_, any)| any == value),
            };
            if !right {
                wrong.push(format!("{} in {kind}: {:?}", case["id"], reply.head));
            }
        }
    }
    assert!(wrong.is_empty(), "{} went wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// What the gateway itself puts into an answer.
const OWN: [&str; 10] = [
    "x-content-type-options",
    "x-keyferry-request-id",
    "x-keyferry-credential",
    "x-keyferry-credential-id",
    "x-keyferry-accounting",
    "server-timing",
    "ratelimit",
    "ratelimit-policy",
    "content-length",
    "date",
];

#[tokio::test]
async fn nothing_of_a_provider_s_head_passes_but_what_is_listed() {
    let listed = [
        ("content-type", "application/json"),
        ("retry-after", "3"),
        ("retry-after-ms", "3000"),
        ("x-should-retry", "true"),
        ("x-request-id", "req_1"),
        ("request-id", "req_2"),
        ("openai-processing-ms", "1"),
        ("openai-version", "2020-10-01"),
        ("x-ratelimit-limit-requests", "1"),
        ("anthropic-ratelimit-tokens-reset", "2026-01-01T00:00:00Z"),
    ];
    let unlisted = [
        ("server", "cloudflare"),
        ("date", "Thu, 01 Jan 1970 00:00:00 GMT"),
        ("set-cookie", "a=b"),
        ("strict-transport-security", "max-age=1"),
        ("access-control-allow-origin", "*"),
        ("location", "http://10.0.0.1/"),
        ("refresh", "0; url=http://10.0.0.1/"),
        ("link", "<http://10.0.0.1/>"),
        ("alt-svc", "h3=\":443\""),
        ("via", "1.1 x"),
        ("cf-ray", "1"),
        ("openai-organization", "org-owner"),
        ("anthropic-organization-id", "org-owner"),
        ("x-accel-redirect", "/internal"),
        ("x-sendfile", "/etc/passwd"),
        ("x-powered-by", "x"),
        ("proxy-authenticate", "Basic"),
        ("www-authenticate", "Bearer"),
        ("trailer", "x"),
        ("content-security-policy", "x"),
        ("x-keyferry-credential", "forged"),
        ("x-keyferry-request-id", "forged"),
        ("server-timing", "forged"),
        ("etag", "\"x\""),
        ("content-disposition", "attachment"),
        ("x-envoy-upstream-service-time", "1"),
    ];
    let all: Vec<_> = listed.into_iter().chain(unlisted).collect();
    let provider =
        Provider::answering([Answer::with(200, &all, b"{}"), Answer::with(418, &all, b"{}")]).await;
    let scene = Scene::before(&provider).await;
    for status in [200, 418] {
        let reply = scene
            .post(SURFACES[0].1, &[("x-keyferry-token", &scene.tenant.caller_token)])
            .await
            .expect(status);
        for (name, value) in listed {
            assert_eq!(reply.header(name), value, "{name} on {status}");
        }
        for (name, value) in unlisted {
            assert_ne!(reply.header(name), value, "{name} on {status}");
        }
        for (name, _) in &reply.head.headers {
            let known = OWN.contains(&name.as_str()) || listed.iter().any(|(listed, _)| listed == name);
            assert!(known, "{name} came back on {status}");
        }
    }
}

#[tokio::test]
async fn a_provider_s_malformed_answer_is_an_error_of_the_gateway() {
    let malformed = [
        "HTTP/1.1 200 OK\r\nx-request-id: a\0b\r\ncontent-length: 2\r\n\r\n{}",
        "HTTP/1.1 200 OK\r\nx y: 1\r\ncontent-length: 2\r\n\r\n{}",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}",
        "HTTP/1.1 200 OK\r\ncontent-length: +2\r\n\r\n{}",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFF\r\n{}\r\n0\r\n\r\n",
        "HTTP/1.1 2000 OK\r\ncontent-length: 2\r\n\r\n{}",
        "HTTP/9.9 200 OK\r\ncontent-length: 2\r\n\r\n{}",
        "ICY 200 OK\r\n\r\n",
        "{\"not\": \"http\"}\r\n\r\n",
    ];
    for text in malformed {
        let json_too =
            text.replace("\r\ncontent-length", "\r\ncontent-type: application/json\r\ncontent-length");
        let json_too = json_too
            .replace("\r\ntransfer-encoding", "\r\ncontent-type: application/json\r\ntransfer-encoding");
        let provider = Provider::answering([Answer::raw(json_too).then_close()]).await;
        let scene = Scene::before(&provider).await;
        let reply = scene.post(SURFACES[0].1, &[("x-keyferry-token", &scene.tenant.caller_token)]).await;
        reply.refused(502, "BYOK_UPSTREAM_ERROR");
        assert_eq!(provider.count(), 1, "{text:?} was tried again");
    }
}

/// Two providers behind one gateway, and a name server that nothing should ask.
struct Crossroads {
    first: Provider,
    second: Provider,
    names: NameServer,
    scene: Scene,
}

impl Crossroads {
    async fn with(first: Provider) -> Self {
        let second = Provider::right().await;
        let names = NameServer::start(HashMap::new()).await;
        let options = Options::to(&second)
            .dial("api.openai.com", first.address, true)
            .upstream(&format!("nameservers: [\"{}\"]", names.address));
        let scene = Scene::with(options).await;
        Self { first, second, names, scene }
    }

    async fn ask(&self) -> crate::harness::Reply {
        self.scene.post(SURFACES[0].1, &[("x-keyferry-token", &self.scene.tenant.caller_token)]).await
    }

    /// Nothing went anywhere but in so many requests to the first provider.
    #[track_caller]
    fn assert_only(&self, requests: usize) {
        assert_eq!(self.first.count(), requests, "requests to the provider that was asked");
        assert_eq!(self.second.connections(), 0, "connections to another provider");
        assert_eq!(self.names.asked(), [], "names that were looked up");
    }
}

#[tokio::test]
async fn redirects_are_never_followed_and_never_passed_on() {
    let canary = Provider::right().await;
    let here = format!("http://{}/", canary.address);
    let published = vectors("redirect").into_iter().filter_map(|case| {
        let status = u16::try_from(case["input"]["status"].as_u64()?).ok()?;
        Some((status, case["input"]["location"].as_str()?.to_owned()))
    });
    let own = [300, 301, 302, 303, 304, 305, 307, 308, 399].map(|status| (status, here.clone()));
    let cases: Vec<(u16, String)> = published.chain(own).collect();
    assert!(cases.len() > 20, "the published cases are missing");
    let next: Arc<Mutex<(u16, String)>> = Arc::default();
    let script = Arc::clone(&next);
    let provider = Provider::start(move |_| {
        let (status, location) = script.lock().expect("not poisoned").clone();
        let body = format!("<a href=\"{location}\">moved</a>");
        let body = if status == 304 { "" } else { &body };
        Answer::with(
            status,
            &[
                ("location", &location),
                ("content-location", &location),
                ("refresh", &location),
                ("content-type", "text/html"),
            ],
            body.as_bytes(),
        )
    })
    .await;
    let road = Crossroads::with(provider).await;
    for (number, (status, location)) in cases.into_iter().enumerate() {
        *next.lock().expect("not poisoned") = (status, location.clone());
        let reply = road.ask().await.refused(502, "BYOK_REDIRECT_REJECTED");
        assert_eq!(reply.header("location"), "", "{status} {location}");
        let everything = format!("{:?} {}", reply.head, reply.text());
        assert!(!everything.contains(&location) || location.len() < 3, "{status}: {everything}");
        road.assert_only(number + 1);
    }
    assert_eq!(canary.connections(), 0, "the redirect was followed");
}

#[tokio::test]
async fn a_key_test_follows_no_redirect_either() {
    let canary = Provider::right().await;
    let location = format!("http://{}/v1/models", canary.address);
    let road = Crossroads::with(Provider::answering([Answer::redirect(307, &location)]).await).await;
    let key = a_key("sk-proj-");
    let tenant = &road.scene.tenant;
    let url = format!("{}/api/v1/keys/test", road.scene.gateway.url());
    let bearer = format!("Bearer {}", tenant.admin_token);
    let headers =
        [("authorization", bearer.as_str()), ("x-byok-key", &key), ("content-type", "application/json")];
    let reply = request("POST", &url, &headers, br#"{"provider": "openai"}"#).await.expect(200);
    assert_ne!(reply.json()["status"], "ok");
    road.assert_only(1);
    assert_eq!(canary.connections(), 0, "the redirect was followed");
    let path = format!("/tenants/{}/credentials/{}/test", tenant.id, tenant.credential_id);
    let reply = road.scene.gateway.operator("POST", &path, &Value::Null).await.expect(200);
    assert_ne!(reply.json()["status"], "ok");
    road.assert_only(2);
    assert_eq!(canary.connections(), 0, "the redirect was followed");
}

#[tokio::test]
async fn early_hints_are_swallowed_and_the_answer_behind_them_passes() {
    let hints = "HTTP/1.1 103 Early Hints\r\nlink: <http://169.254.169.254/>; rel=preload\r\nlocation: http://127.0.0.1/\r\n\r\n";
    let answer = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";
    let road =
        Crossroads::with(Provider::answering([Answer::raw(format!("{hints}{hints}{answer}"))]).await).await;
    let reply = road.ask().await.expect(200);
    assert_eq!((reply.header("link"), reply.header("location"), reply.text().as_str()), ("", "", "{}"));
    road.assert_only(1);
}

#[tokio::test]
async fn a_challenge_is_neither_answered_nor_passed_on() {
    let challenge = "Basic realm=\"https://evil.example/\"";
    let headers = [
        ("www-authenticate", challenge),
        ("proxy-authenticate", challenge),
        ("content-type", "application/json"),
    ];
    for status in [401, 407] {
        let answer = Answer::with(status, &headers, br#"{"error": {"message": "who are you?"}}"#);
        let road = Crossroads::with(Provider::answering([answer]).await).await;
        let reply = road.ask().await.expect(status);
        assert_eq!((reply.header("www-authenticate"), reply.header("proxy-authenticate")), ("", ""));
        assert_eq!(reply.json()["error"]["message"], json!("who are you?"));
        road.assert_only(1);
    }
}

#[tokio::test]
async fn a_switch_of_protocols_is_refused() {
    let switch = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
    let road = Crossroads::with(Provider::answering([Answer::raw(switch)]).await).await;
    road.ask().await.refused(502, "BYOK_UPSTREAM_ERROR");
    road.assert_only(1);
}

#[tokio::test]
async fn on_the_unified_surface_the_same_lists_hold_for_every_provider() {
    let answered = json!({"object": "chat.completion"}).to_string();
    let provider = Provider::answering([Answer::with(
        200,
        &[
            ("content-type", "application/json"),
            ("x-request-id", "req_theirs"),
            ("x-ratelimit-remaining-requests", "7"),
            ("set-cookie", "a=b"),
            ("server", "theirs"),
            ("x-keyferry-model", "moon/m"),
            ("x-keyferry-credential", "platform"),
        ],
        answered.as_bytes(),
    )])
    .await;
    let scene = Scene::before(&provider).await;
    let token = scene.tenant.caller_token.as_str();
    let bearer = format!("Bearer {token}");
    for (name, ..) in SURFACES {
        let body = format!("{{\"model\":\"{name}/m\"}}");
        for slot in [("authorization", bearer.as_str()), ("x-api-key", token), ("x-keyferry-token", token)] {
            let headers = [
                slot,
                ("content-type", "application/json"),
                ("openai-organization", "org"),
                ("idempotency-key", "once"),
                ("x-stainless-lang", "python"),
                ("cookie", "a=b"),
                ("x-forwarded-for", "192.0.2.1"),
                ("x-keyferry-model", "moon/m"),
            ];
            let url = format!("{}/v1/chat/completions", scene.gateway.url());
            let reply = request("POST", &url, &headers, body.as_bytes()).await.expect(200);
            let seen = provider.last();
            scene.assert_one_bearer(&seen, name);
            let passed: Vec<_> = seen.headers.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
            for (header, _) in &headers[1..5] {
                assert!(passed.iter().any(|known| known == header), "{header} to {name}");
            }
            for (header, _) in &headers[5..] {
                assert!(!passed.iter().any(|known| known == header), "{header} to {name}");
            }
            assert_eq!(reply.header("x-keyferry-model"), format!("{name}/m"));
            assert_eq!(reply.header("x-keyferry-credential"), "held");
            assert_eq!(reply.header("x-request-id"), "req_theirs");
            assert_eq!(reply.header("x-ratelimit-remaining-requests"), "7");
            assert_eq!((reply.header("set-cookie"), reply.header("server")), ("", ""));
        }
    }
}
