//! What clients send, byte by byte, against the real program: a request has one reading, or none.

pub(crate) mod cases;
pub(crate) mod h2;
mod limits;
mod over_h2;

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::timeout;

use self::cases::Expect;
use crate::harness::{Connection, Gateway, Options, Provider, Reply, Seen, a_key, request};

/// How long a single case may take.
const BRIEFLY: Duration = Duration::from_secs(5);
/// What marks a request that is not part of a case.
const CONTROL: &str = "control";
/// No limit that many quick cases could run into.
pub(crate) const UNLIMITED: &str = "rate_limits: {caller: unlimited, tenant: unlimited, tenant_provider: unlimited, key_test: unlimited}\nbyok: {daily_quota: 1000000}";

/// The published cases of a kind.
pub(crate) fn vectors(kind: &str) -> Vec<Value> {
    let path = format!("{}/../../vectors/ssrf/{kind}.jsonl", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).expect("the published cases");
    let cases: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("a JSON object a line")).collect();
    assert!(!cases.is_empty(), "{kind} has no cases");
    cases
}

/// What must become of a published case.
pub(crate) fn expected(case: &Value) -> Expect {
    match case["expect"].as_str() {
        Some("deny") => Expect::Deny,
        Some("allow") => Expect::Allow,
        other => panic!("{}: expects {other:?}", case["id"]),
    }
}

/// Each character is one byte.
pub(crate) fn latin1(text: &str) -> Vec<u8> {
    text.chars().map(|c| c as u8).collect()
}

/// A gateway, a provider behind it, and a tenant with a key for each built-in one.
struct Scene {
    provider: Provider,
    gateway: Gateway,
    token: String,
}

impl Scene {
    async fn start() -> Self {
        let provider = Provider::right().await;
        let gateway = Gateway::start(Options::to(&provider).yaml(UNLIMITED)).await;
        let tenant = gateway.tenant_with_key("openai", &a_key("sk-proj-")).await;
        gateway.store(&tenant.id, "anthropic", &a_key("sk-ant-api03-")).await;
        gateway.store(&tenant.id, "gemini", &a_key("AIzaSy")).await;
        Self { provider, gateway, token: tenant.caller_token }
    }

    /// A case in the published form, on the surface of OpenAI and with a token that is good.
    fn localized(&self, text: &str) -> Vec<u8> {
        let bearer = format!("Bearer {}", self.token);
        let mut text = text.replace("/v1/", "/openai/v1/").replace("Bearer kf", &bearer);
        let has_fields = text
            .split_once("\r\n")
            .is_some_and(|(line, rest)| line.contains("HTTP/") && !rest.starts_with("\r\n"));
        if !text.contains(&bearer) && has_fields {
            text = text.replacen("\r\n", &format!("\r\nAuthorization: {bearer}\r\n"), 1);
        }
        latin1(&text)
    }

    /// What the provider got, but for the controls.
    fn got(&self) -> Vec<Seen> {
        self.provider.seen().into_iter().filter(|seen| seen.header("user-agent") != CONTROL).collect()
    }

    /// A plain request on a new connection is served.
    async fn still_serves(&self) {
        let bearer = format!("Bearer {}", self.token);
        let headers = [("authorization", bearer.as_str()), ("user-agent", CONTROL)];
        request("GET", &format!("{}/openai/v1/models", self.gateway.url()), &headers, b"").await.expect(200);
    }

    /// Plays a case on a connection of its own; answers what is wrong with what became of it.
    async fn play(&self, pieces: &[&[u8]], expect: Expect) -> Option<String> {
        let before = self.got().len();
        let mut connection = Connection::open(self.gateway.port()).await;
        for piece in pieces {
            if connection.try_send(piece).await.is_err() {
                break;
            }
            tokio::task::yield_now().await;
        }
        let Ok(reply) = timeout(BRIEFLY, final_reply(&mut connection)).await else {
            return Some("neither answered nor closed".to_owned());
        };
        let mut more = 0;
        if reply.as_ref().is_some_and(|reply| reply.header("connection") == "close") {
            match timeout(BRIEFLY, connection.rest()).await {
                Ok(rest) => more = rest.len(),
                Err(_) => return Some("not closed after 'connection: close'".to_owned()),
            }
        }
        drop(connection);
        self.still_serves().await;
        let got = self.got().split_off(before);
        let status = reply.map(|reply| reply.status());
        wrong(expect, status, &got)
            .or_else(|| (more > 0).then(|| format!("{more} bytes after the last answer")))
    }
}

/// The answer that is not `100 Continue`; nothing if the connection was closed.
async fn final_reply(connection: &mut Connection) -> Option<Reply> {
    loop {
        match connection.try_reply().await {
            Some(reply) if reply.status() == 100 => {}
            reply => return reply,
        }
    }
}

/// What is wrong with an outcome; no status means that the connection was closed.
fn wrong(expect: Expect, status: Option<u16>, got: &[Seen]) -> Option<String> {
    let denied = status.is_none_or(|status| (400..500).contains(&status)) && got.is_empty();
    let plain = got.iter().all(|seen| seen.method != "POST" || seen.body == b"{\"a\":1}");
    let served = status == Some(200) && got.len() == 1 && plain;
    let right = match expect {
        Expect::Deny => denied,
        Expect::Allow => served,
        Expect::Either => denied || served,
    };
    (!right).then(|| {
        let heads: Vec<_> = got.iter().map(|seen| String::from_utf8_lossy(&seen.head).into_owned()).collect();
        format!("expected {expect:?}, got status {status:?} and at the provider {heads:?}")
    })
}

#[track_caller]
fn none_wrong(wrong: &[String]) {
    assert!(wrong.is_empty(), "{} cases went wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// A whole request that stands behind a refused one and must never be seen as one.
fn hidden(scene: &Scene) -> Vec<u8> {
    scene.localized("GET /v1/models HTTP/1.1\r\nHost: gw.example\r\nAuthorization: Bearer kf\r\n\r\n")
}

/// Plays cases, the refused ones also with a whole request behind them.
async fn each_is_as_expected(scene: &Scene, cases: impl IntoIterator<Item = (String, Vec<u8>, Expect)>) {
    let tail = hidden(scene);
    let mut wrong = Vec::new();
    for (name, bytes, expect) in cases {
        if let Some(what) = scene.play(&[&bytes], expect).await {
            wrong.push(format!("{name}: {what}"));
        }
        if expect == Expect::Deny {
            let with_tail = [bytes, tail.clone()].concat();
            if let Some(what) = scene.play(&[&with_tail], expect).await {
                wrong.push(format!("{name}, with a request behind it: {what}"));
            }
        }
    }
    none_wrong(&wrong);
}

#[tokio::test]
async fn each_published_request_is_refused_or_served_as_expected() {
    let scene = Scene::start().await;
    let cases = vectors("raw_h1").into_iter().map(|case| {
        let name = format!("{} ({})", case["id"], case["why"]);
        (name, scene.localized(case["input"].as_str().expect("text")), expected(&case))
    });
    each_is_as_expected(&scene, cases).await;
}

#[tokio::test]
async fn each_further_request_is_refused_or_served_as_expected() {
    let scene = Scene::start().await;
    let cases = cases::all().into_iter().map(|(name, text, expect)| (name, scene.localized(&text), expect));
    each_is_as_expected(&scene, cases).await;
}

#[tokio::test]
async fn each_published_target_is_refused_or_served_as_expected() {
    let scene = Scene::start().await;
    let mut wrong = Vec::new();
    let mut served = 0;
    for case in vectors("request_target") {
        let target = case["input"].as_str().expect("text");
        let (surface, method) = match target {
            _ if target.starts_with("/v1beta/") => ("/gemini", "POST"),
            _ if target.starts_with("/v1/messages") => ("/anthropic", "POST"),
            _ => ("/openai", "GET"),
        };
        let local = target.replacen("/v1", &format!("{surface}/v1"), 1);
        let body = if method == "POST" { "Content-Length: 7\r\n\r\n{\"a\":1}" } else { "\r\n" };
        let bearer = &scene.token;
        let bytes = latin1(&format!(
            "{method} {local} HTTP/1.1\r\nHost: gw.example\r\nAuthorization: Bearer {bearer}\r\n{body}"
        ));
        let before = scene.got().len();
        let mut connection = Connection::open(scene.gateway.port()).await;
        let _ = connection.try_send(&bytes).await;
        let reply = timeout(BRIEFLY, final_reply(&mut connection)).await.expect("an answer, or the end");
        let got = scene.got().split_off(before);
        let what = if expected(&case) == Expect::Deny {
            wrong_or_nothing(Expect::Deny, reply.as_ref(), &got)
        } else if !got.is_empty() {
            served += 1;
            wrong_or_nothing(Expect::Allow, reply.as_ref(), &got)
        } else {
            // A well-formed target that means no operation here: told so, and the connection goes on.
            let reply = reply.expect("an answer");
            let known = matches!(
                (reply.status(), reply.code().as_str()),
                (400, "BYOK_UNKNOWN_OPERATION") | (404, "not_found")
            );
            (!known || reply.header("connection") == "close")
                .then(|| format!("{} {}", reply.status(), reply.text()))
        };
        wrong.extend(what.map(|what| format!("{} ({}): {what}", case["id"], case["why"])));
    }
    none_wrong(&wrong);
    assert!(served >= 5, "only {served} of the allowed targets were served");
    scene.still_serves().await;
}

fn wrong_or_nothing(expect: Expect, reply: Option<&Reply>, got: &[Seen]) -> Option<String> {
    wrong(expect, reply.map(Reply::status), got)
}

#[tokio::test]
async fn a_request_means_the_same_however_its_bytes_are_split() {
    let scene = Scene::start().await;
    let mut wrong = Vec::new();
    let published = vectors("raw_h1").into_iter().map(|case| {
        (case["id"].to_string(), case["input"].as_str().expect("text").to_owned(), expected(&case))
    });
    for (number, (name, text, expect)) in published.chain(cases::all()).enumerate() {
        let bytes = scene.localized(&text);
        if bytes.len() > 4000 {
            continue;
        }
        let (first, second) = bytes.split_at((number * 7 + 1) % bytes.len().max(1));
        if let Some(what) = scene.play(&[first, second], expect).await {
            wrong.push(format!("{name} split at {}: {what}", first.len()));
        }
        if number % 4 == 0 {
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            if let Some(what) = scene.play(&single, expect).await {
                wrong.push(format!("{name} byte by byte: {what}"));
            }
        }
    }
    none_wrong(&wrong);
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_turn_until_one_is_refused() {
    let scene = Scene::start().await;
    let good = "POST /v1/chat/completions HTTP/1.1\r\nHost: gw.example\r\nAuthorization: Bearer kf\r\nContent-Length: 7\r\n\r\n{\"a\":1}";
    let bad = [
        "POST /v1/chat/completions HTTP/1.1\r\nHost: gw.example\r\nAuthorization: Bearer kf\r\nContent-Length: 7\r\nTransfer-Encoding: chunked\r\n\r\n7\r\n{\"a\":1}\r\n0\r\n\r\n",
        "GET /v1/models HTTP/1.1\r\nAuthorization: Bearer kf\r\n\r\n",
        "GET /v1/models HTTP/1.1\nHost: gw.example\n\n",
        "GET http://gw.example/v1/models HTTP/1.1\r\nHost: gw.example\r\nAuthorization: Bearer kf\r\n\r\n",
    ];
    for bad in bad {
        let before = scene.got().len();
        let mut connection = Connection::open(scene.gateway.port()).await;
        let both = [good, bad, good].map(|text| scene.localized(text)).concat();
        let _ = connection.try_send(&both).await;
        assert_eq!(connection.reply().await.status(), 200, "the good one before {bad:?}");
        assert_eq!(connection.reply().await.status(), 400, "{bad:?}");
        assert_eq!(connection.rest().await, b"", "nothing comes after {bad:?}");
        scene.still_serves().await;
        assert_eq!(scene.got().len(), before + 1, "only the good one went out before {bad:?}");
    }
    let mut connection = Connection::open(scene.gateway.port()).await;
    let before = scene.got().len();
    let three = [good, good, good].map(|text| scene.localized(text)).concat();
    connection.send(&three).await;
    for _ in 0..3 {
        assert_eq!(connection.reply().await.status(), 200);
    }
    assert_eq!(scene.got().len(), before + 3);
}

#[tokio::test]
async fn a_body_is_never_read_as_a_request() {
    let scene = Scene::start().await;
    let inner = hidden(&scene);
    let text = json!({"a": String::from_utf8_lossy(&inner)}).to_string();
    let head = |framing: &str| {
        let head = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nHost: gw.example\r\nAuthorization: Bearer kf\r\n{framing}\r\n\r\n"
        );
        scene.localized(&head)
    };
    let bodies = [
        [head(&format!("Content-Length: {}", inner.len())), inner.clone()].concat(),
        [head(&format!("Content-Length: {}", text.len())), text.clone().into_bytes()].concat(),
        [
            head("Transfer-Encoding: chunked"),
            format!("{:x}\r\n", inner.len()).into_bytes(),
            inner.clone(),
            b"\r\n0\r\n\r\n".to_vec(),
        ]
        .concat(),
    ];
    for bytes in bodies {
        let before = scene.got().len();
        let mut connection = Connection::open(scene.gateway.port()).await;
        connection.send(&bytes).await;
        let status = connection.reply().await.status();
        assert!(matches!(status, 200 | 400), "{status}");
        scene.still_serves().await;
        let got = scene.got().split_off(before);
        assert!(got.iter().all(|seen| seen.method == "POST"), "the body became a request");
        assert_eq!(got.len(), usize::from(status == 200));
    }
}

#[tokio::test]
async fn an_upload_that_breaks_a_rule_on_its_way_never_becomes_a_whole_request() {
    // Uploads pass through while they are read, so the provider may see the beginning of one.
    let scene = Scene::start().await;
    let part = "--B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\nx\r\n--B--\r\n";
    let size = format!("{:x}", part.len());
    let upload = |framing: &str, body: &str| {
        scene.localized(&format!(
            "POST /v1/files HTTP/1.1\r\nHost: gw.example\r\nAuthorization: Bearer kf\r\n\
             Content-Type: multipart/form-data; boundary=B\r\n{framing}\r\n\r\n{body}"
        ))
    };
    let chunked = |body: &str| upload("Transfer-Encoding: chunked", body);
    let bad = [
        chunked(&format!("{size}\r\n{part}\n0\r\n\r\n")),
        chunked(&format!("{size}\r\n{part}\r\n0\r\nAuthorization: Bearer x\r\n\r\n")),
        chunked(&format!("{size}\r\n{part}\r\n-1\r\nx\r\n0\r\n\r\n")),
        chunked(&format!("{size}\r\n{part}\r\nFFFFFFFFFFFFFFFFF\r\nx")),
        chunked(&format!("{size}\r\n{part}\r\n0\n\r\n")),
        chunked(&format!("{size}\r\n{part}GET /v1/models HTTP/1.1\r\n\r\n")),
    ];
    let tail = hidden(&scene);
    for bytes in bad {
        let mut connection = Connection::open(scene.gateway.port()).await;
        let _ = connection.try_send(&[bytes.as_slice(), &tail].concat()).await;
        let answer = timeout(BRIEFLY, connection.rest()).await.expect("the connection is closed");
        assert!(!answer.starts_with(b"HTTP/1.1 2"), "{}", String::from_utf8_lossy(&answer));
        scene.still_serves().await;
        assert_eq!(scene.got().len(), 0, "{:?}", scene.got());
    }
    for bytes in [
        chunked(&format!("{size}\r\n{part}\r\n0\r\n\r\n")),
        upload(&format!("Content-Length: {}", part.len()), part),
    ] {
        let mut connection = Connection::open(scene.gateway.port()).await;
        connection.send(&bytes).await;
        connection.reply().await.expect(200);
        assert_eq!(scene.got().last().map(|seen| seen.body.clone()), Some(part.as_bytes().to_vec()));
    }
    assert_eq!(scene.got().len(), 2);
}
