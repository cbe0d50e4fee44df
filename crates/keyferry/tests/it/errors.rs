//! Every code of the contract, in the dialect of its route.

mod custody;
mod told;

use std::net::SocketAddr;

use keyferry_core::code::Code;
use serde_json::{Value, json};
use tokio::net::UdpSocket;

use self::told::{PROBLEM, Told};
use crate::harness::{
    Answer, Connection, Database, Gateway, Issuer, Options, Provider, Reply, a_key,
    issuer::{claims, header},
    request,
};

/// The three dialects of the data plane: a provider, an operation, and a body for it.
const SURFACES: [(&str, &str, &str); 3] = [
    ("openai", "/openai/v1/chat/completions", r#"{"model":"m","messages":[]}"#),
    ("anthropic", "/anthropic/v1/messages", r#"{"model":"m","max_tokens":1,"messages":[]}"#),
    ("gemini", "/gemini/v1beta/models/m:generateContent", r#"{"contents":[]}"#),
];

async fn post(gateway: &Gateway, token: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
    let bearer = format!("Bearer {token}");
    let headers =
        [&[("authorization", bearer.as_str()), ("content-type", "application/json")], headers].concat();
    request("POST", &format!("{}{path}", gateway.url()), &headers, body).await
}

/// What is wrong with the request itself.
async fn requests(told: &mut Told) {
    let provider = Provider::right().await;
    let gateway = Gateway::start(Options::to(&provider).yaml("byok: {session: true, sealed: false}")).await;
    for (name, path, body) in SURFACES {
        let tenant = gateway.tenant_with_key(name, &a_key("sk-")).await;
        let token = &tenant.caller_token;
        told.note(name, &post(&gateway, token, path, &[], b"{").await, Code::InvalidRequest);
        let nowhere = format!("/{name}/v1/moon");
        told.note(name, &post(&gateway, token, &nowhere, &[], b"{}").await, Code::UnknownOperation);
        told.note(name, &post(&gateway, "nobody", path, &[], body.as_bytes()).await, Code::Unauthorized);
        let root = request("GET", &format!("{}/{name}", gateway.url()), &[], b"").await;
        told.note(name, &root, Code::NotFound);
        told.note(name, &too_large(&gateway, token, path).await, Code::RequestTooLarge);
        let bound = gateway.token(&tenant.id, &json!({"role": "caller", "models": ["other"]})).await;
        told.note(name, &post(&gateway, &bound, path, &[], body.as_bytes()).await, Code::ModelNotAllowed);
        let sealed = [("x-sealed-key", "v=1")];
        told.note(name, &post(&gateway, token, path, &sealed, body.as_bytes()).await, Code::Disabled);
        let session = [("x-encrypted-key", "AAAA"), ("x-session-key", "AAAA")];
        told.note(
            name,
            &post(&gateway, token, path, &session, body.as_bytes()).await,
            Code::DecryptionFailed,
        );
    }
    let tenant = gateway.tenant_with_key("openai", &a_key("sk-")).await;
    let unknown = post(&gateway, &tenant.caller_token, "/moon/v1/chat/completions", &[], b"{}").await;
    told.note("openai", &unknown, Code::UnknownProvider);
    assert_eq!(provider.count(), 0);
}

/// A body that says it is 11 MiB long.
async fn too_large(gateway: &Gateway, token: &str, path: &str) -> Reply {
    let mut connection = Connection::open(gateway.port()).await;
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\ncontent-length: 11534336\r\n\r\n{{"
    );
    connection.send(head.as_bytes()).await;
    connection.reply().await
}

/// What admission says no to.
async fn admission(told: &mut Told) {
    let provider = Provider::right().await;
    let gateway = Gateway::before(&provider).await;
    let issuer = Issuer::new();
    for (name, path, body) in SURFACES {
        let tenant = gateway.tenant_with_key(name, &a_key("sk-")).await;
        issuer.register(&gateway, &tenant.id).await;
        let signed = |jti: &str, claim: &str, value: Value| {
            let mut claims = claims(&tenant.id, jti);
            claims[claim] = value;
            issuer.sign(&header().to_string(), &claims.to_string())
        };
        let wrong = signed("hash", "req_hash", json!(format!("sha256:{}", "0".repeat(64))));
        told.note(name, &post(&gateway, &wrong, path, &[], body.as_bytes()).await, Code::HashMismatch);
        let once = issuer.token(&tenant.id, "once");
        post(&gateway, &once, path, &[], body.as_bytes()).await.expect(200);
        told.note(name, &post(&gateway, &once, path, &[], body.as_bytes()).await, Code::ReplayDetected);

        let slow = gateway.token(&tenant.id, &json!({"role": "caller", "rate": "1/h"})).await;
        for _ in 0..2 {
            post(&gateway, &slow, path, &[], body.as_bytes()).await.expect(200);
        }
        told.note(name, &post(&gateway, &slow, path, &[], body.as_bytes()).await, Code::RateLimited);
        let itself = format!("/tenants/{}", tenant.id);
        gateway.operator("PATCH", &itself, &json!({"daily_quota": 1})).await.expect(200);
        let token = &tenant.caller_token;
        told.note(name, &post(&gateway, token, path, &[], body.as_bytes()).await, Code::QuotaExceeded);
        let credential = format!("{itself}/credentials/{}", tenant.credential_id);
        gateway.operator("DELETE", &credential, &Value::Null).await.expect(204);
        told.note(name, &post(&gateway, token, path, &[], body.as_bytes()).await, Code::KeyNotFound);
        let claims_it = signed("byok", "byok", json!(true));
        told.note(name, &post(&gateway, &claims_it, path, &[], body.as_bytes()).await, Code::NotEligible);
        gateway.operator("PATCH", &itself, &json!({"byok_enabled": false})).await.expect(200);
        told.note(name, &post(&gateway, token, path, &[], body.as_bytes()).await, Code::Disabled);
    }
}

/// What goes wrong behind the gateway.
async fn upstream(told: &mut Told) {
    let provider = Provider::start(|seen| match seen.header("openai-organization") {
        "hang" => Answer::hang(),
        "long" => Answer::json(200, &json!("x".repeat(5000))),
        "redirect" => Answer::redirect(302, "https://else.example.com/"),
        _ => Answer::nothing(),
    })
    .await;
    let options =
        Options::to(&provider).upstream("first_byte_timeout: 200ms").upstream("max_response_bytes: 4096");
    let gateway = Gateway::start(options).await;
    for (name, path, body) in SURFACES {
        let tenant = gateway.tenant_with_key(name, &a_key("sk-")).await;
        for (how, code) in [
            ("hang", Code::UpstreamTimeout),
            ("long", Code::ResponseTooLarge),
            ("redirect", Code::RedirectRejected),
            ("hang-up", Code::UpstreamError),
        ] {
            let headers = [("openai-organization", how)];
            told.note(
                name,
                &post(&gateway, &tenant.caller_token, path, &headers, body.as_bytes()).await,
                code,
            );
        }
        let mut database = Database::open(&gateway.database()).await;
        let mut blobs = database.blobs(&tenant.credential_id, 1).await;
        blobs.envelope[60] ^= 1;
        database.put_blobs(&tenant.credential_id, 1, &blobs).await;
        let itself = format!("/tenants/{}", tenant.id);
        gateway.operator("PATCH", &itself, &json!({"name": "read again"})).await.expect(200);
        let reply = post(&gateway, &tenant.caller_token, path, &[], body.as_bytes()).await;
        told.note(name, &reply, Code::ServiceUnavailable);
    }
}

/// A name server that answers everything with this address, or says that nothing exists.
async fn name_server(address: Option<[u8; 4]>) -> SocketAddr {
    let socket = UdpSocket::bind(("127.0.0.1", 0)).await.expect("a port is free");
    let here = socket.local_addr().expect("an address");
    tokio::spawn(async move {
        let mut query = [0; 1500];
        while let Ok((length, from)) = socket.recv_from(&mut query).await {
            let end = 12 + query[12..length].iter().position(|&byte| byte == 0).unwrap_or(0) + 5;
            let is_a = query[end - 4..end - 2] == [0, 1];
            let mut answer = query[..end].to_vec();
            let found = address.filter(|_| is_a);
            let code = if address.is_some() { 0 } else { 3 };
            answer[2..12].copy_from_slice(&[
                0x81,
                0x80 | code,
                0,
                1,
                0,
                u8::from(found.is_some()),
                0,
                0,
                0,
                0,
            ]);
            if let Some(address) = found {
                answer.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
                answer.extend_from_slice(&address);
            }
            let _ = socket.send_to(&answer, from).await;
        }
    });
    here
}

/// What the platform would have to pay.
async fn money(told: &mut Told) {
    let provider = Provider::right().await;
    let names = SURFACES.map(|(name, ..)| name);
    let keys = names.map(|name| format!("{name}: {{platform_key: {}}}", a_key("sk-"))).join(", ");
    let prices = names.map(|name| format!("{name}/*: {{input: '1', output: '1'}}")).join(", ");
    let yaml = format!("providers: {{{keys}}}\nprices: {{{prices}}}");
    let gateway = Gateway::start(Options::to(&provider).yaml(&yaml)).await;
    let tenant =
        json!({"id": "poor", "byok_enabled": true, "fallback": {"missing": true}, "budget_micro_usd": 0});
    gateway.operator("POST", "/tenants", &tenant).await.expect(201);
    let token = gateway.token("poor", &json!({"role": "caller"})).await;
    for (name, path, body) in SURFACES {
        told.note(name, &post(&gateway, &token, path, &[], body.as_bytes()).await, Code::BudgetExceeded);
    }
    assert_eq!(provider.count(), 0);
}

/// What names resolve to.
async fn names(told: &mut Told) {
    for (address, code) in [(Some([127, 0, 0, 1]), Code::SsrfBlocked), (None, Code::DnsFailed)] {
        let server = name_server(address).await;
        let options = Options::default().upstream(&format!("nameservers: [\"{server}\"]"));
        let gateway = Gateway::start(options).await;
        for (name, path, body) in SURFACES {
            let tenant = gateway.tenant_with_key(name, &a_key("sk-")).await;
            told.note(name, &post(&gateway, &tenant.caller_token, path, &[], body.as_bytes()).await, code);
        }
    }
}

/// The control plane's.
async fn control_plane(told: &mut Told) {
    let provider = Provider::right().await;
    let gateway = Gateway::start(Options::to(&provider).yaml("rate_limits: {key_test: 1/h}")).await;
    let tenant = gateway.tenant_with_key("openai", &a_key("sk-")).await;
    let credentials = format!("/tenants/{}/credentials", tenant.id);
    let mut note = |reply: Reply, code| told.note(PROBLEM, &reply, code);
    note(gateway.operator("POST", "/tenants", &json!({"id": 7})).await, Code::InvalidRequest);
    let elsewhere = json!({"provider": "moon", "api_key": a_key("sk-")});
    note(gateway.operator("POST", &credentials, &elsewhere).await, Code::UnknownProvider);
    note(gateway.admin("nobody", "GET", "/tenants", &Value::Null).await, Code::Unauthorized);
    note(gateway.admin(&tenant.admin_token, "GET", "/tenants", &Value::Null).await, Code::Forbidden);
    note(gateway.operator("GET", "/tenants/nobody", &Value::Null).await, Code::NotFound);
    note(gateway.operator("GET", "/moon", &Value::Null).await, Code::NotFound);
    let again = json!({"provider": "openai", "api_key": a_key("sk-")});
    note(gateway.operator("POST", &credentials, &again).await, Code::Conflict);
    note(
        gateway.operator("POST", "/tenants", &json!({"id": "x".repeat(300_000)})).await,
        Code::RequestTooLarge,
    );
    let test = format!("{credentials}/{}/test", tenant.credential_id);
    for _ in 0..2 {
        gateway.operator("POST", &test, &json!({})).await.expect(200);
    }
    note(gateway.operator("POST", &test, &json!({})).await, Code::RateLimited);
    let issuer = Issuer::new();
    issuer.register(&gateway, &tenant.id).await;
    let once = issuer.token(&tenant.id, "once");
    gateway.admin(&once, "GET", &credentials, &Value::Null).await.refused(403, "forbidden");
    note(gateway.admin(&once, "GET", &credentials, &Value::Null).await, Code::ReplayDetected);
    let itself = format!("/tenants/{}", tenant.id);
    gateway.operator("PATCH", &itself, &json!({"byok_enabled": false})).await.expect(200);
    note(gateway.operator("POST", &credentials, &again).await, Code::Disabled);

    let gateway = Gateway::before(&provider).await;
    let tenant = gateway.tenant_with_key("openai", &a_key("sk-")).await;
    let mut database = Database::open(&gateway.database()).await;
    let broken = "UPDATE credential_versions SET envelope = x'00' WHERE credential_id = ?";
    assert_eq!(database.run(broken, &[&tenant.credential_id]).await, 1);
    let test = format!("/tenants/{}/credentials/{}/test", tenant.id, tenant.credential_id);
    note(gateway.operator("POST", &test, &json!({})).await, Code::ServiceUnavailable);
}

#[tokio::test]
async fn every_code_is_told_in_the_dialect_of_its_route() {
    let mut told = Told::default();
    requests(&mut told).await;
    custody::sealed(&mut told).await;
    custody::root(&mut told).await;
    admission(&mut told).await;
    money(&mut told).await;
    upstream(&mut told).await;
    names(&mut told).await;
    control_plane(&mut told).await;
    for code in Code::ALL {
        let dialects: Vec<&str> = match code {
            // A provider that is unknown has no dialect: it is told as the unified surface would.
            Code::UnknownProvider => vec!["openai", PROBLEM],
            // These say something about the control plane only.
            Code::Forbidden | Code::Conflict => vec![PROBLEM],
            // And these about requests to a provider only.
            Code::UnknownOperation
            | Code::BudgetExceeded
            | Code::HashMismatch
            | Code::ModelNotAllowed
            | Code::SsrfBlocked
            | Code::NotEligible
            | Code::KeyNotFound
            | Code::QuotaExceeded
            | Code::UpstreamError
            | Code::ResponseTooLarge
            | Code::RedirectRejected
            | Code::DnsFailed
            | Code::UpstreamTimeout => SURFACES.map(|surface| surface.0).to_vec(),
            _ => ["openai", "anthropic", "gemini", PROBLEM].to_vec(),
        };
        for dialect in dialects {
            assert!(told.has(dialect, code), "{} was not seen in {dialect}", code.as_str());
        }
    }
}

#[tokio::test]
async fn an_admins_token_is_a_callers_too_or_is_told_that_it_is_not() {
    let provider = Provider::right().await;
    let gateway = Gateway::before(&provider).await;
    let tenant = gateway.tenant_with_key("openai", &a_key("sk-")).await;
    let reply = gateway.chat(&tenant.admin_token).await;
    assert!(
        matches!((reply.status(), reply.code().as_str()), (200, "") | (403, "forbidden")),
        "{}",
        reply.text()
    );
    // The operator's token belongs to no tenant: it serves no request to a provider.
    gateway.chat(crate::harness::OPERATOR).await.refused(401, "unauthorized");
}

#[tokio::test]
async fn a_method_that_an_address_does_not_know_is_told() {
    let provider = Provider::right().await;
    let gateway = Gateway::before(&provider).await;
    let reply = gateway.operator("PUT", "/tenants", &json!({})).await;
    assert_eq!((reply.status(), reply.code().as_str()), (405, "invalid_request"));
    assert_eq!(reply.header("content-type"), "application/problem+json");
    let tenant = gateway.tenant_with_key("openai", &a_key("sk-")).await;
    let bearer = format!("Bearer {}", tenant.caller_token);
    let url = format!("{}/openai/v1/chat/completions", gateway.url());
    let reply = request("GET", &url, &[("authorization", &bearer)], b"").await;
    reply.refused(400, "BYOK_UNKNOWN_OPERATION");
}

#[tokio::test]
async fn no_error_quotes_what_could_be_a_key() {
    let provider = Provider::right().await;
    let gateway = Gateway::before(&provider).await;
    let tenant = gateway.tenant_with_key("openai", &a_key("sk-")).await;
    let secret = a_key("sk-proj-");
    let chat = "/openai/v1/chat/completions";
    let mut quoted = Vec::new();
    for (path, headers, body) in [
        (format!("/openai/v1/{secret}"), vec![], String::new()),
        (format!("/{secret}/v1/models"), vec![], "{}".to_owned()),
        (format!("{chat}?key={secret}"), vec![], "{}".to_owned()),
        (format!("{chat}?{secret}=1"), vec![], "{}".to_owned()),
        (chat.to_owned(), vec![("x-byok-keys", secret.as_str())], "{}".to_owned()),
        (chat.to_owned(), vec![("x-api-key", secret.as_str())], "{}".to_owned()),
        (chat.to_owned(), vec![], format!("{{\"model\": \"m\", \"x\": {secret}}}")),
        ("/anthropic/v1/messages".to_owned(), vec![], format!("{{\"model\": \"{secret}\"}}")),
    ] {
        let reply = post(&gateway, &tenant.caller_token, &path, &headers, body.as_bytes()).await;
        assert!(reply.status() >= 400, "{path}");
        if reply.text().contains(&secret) {
            quoted.push(reply.text());
        }
    }
    assert!(!gateway.log().contains(&secret), "the log has the key");
    assert!(quoted.is_empty(), "{quoted:#?}");
    assert!(!gateway.log().contains(&secret), "the log has the key");
}
