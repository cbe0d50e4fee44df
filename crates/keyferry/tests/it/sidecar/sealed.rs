//! Keys on their way: sealed, stored, rotated, and never sent in another way.

use std::sync::Arc;

use base64::Engine;

use super::*;

#[tokio::test]
async fn a_key_is_stored_and_rotated_and_serves() {
    let provider = Provider::right().await;
    let gateway = Gateway::before(&provider).await;
    gateway.tenant("acme").await;
    let token = gateway.token("acme", &json!({"role": "caller"})).await;
    let sidecar = started(&gateway, &[]).await;
    let key = a_key("sk-proj-");
    let store =
        json!({"op": "store", "tenant": "acme", "provider": "openai", "label": "app", "api_key": key});
    let stored = asked(&sidecar, store).await;
    assert_eq!(
        (&stored["ok"], &stored["label"], &stored["version"]),
        (&json!(true), &json!("app"), &json!(1))
    );
    gateway.chat(&token).await.expect(200);
    assert_eq!(provider.last().header("authorization"), format!("Bearer {key}"));
    let new = a_key("sk-proj-");
    let rotate = json!({"op": "rotate", "tenant": "acme", "credential": stored["id"], "api_key": new});
    let rotated = asked(&sidecar, rotate).await;
    assert_eq!((&rotated["ok"], &rotated["version"]), (&json!(true), &json!(2)), "{rotated}");
    gateway.chat(&token).await.expect(200);
    assert_eq!(provider.last().header("authorization"), format!("Bearer {new}"));
    // What the gateway refuses, the sidecar passes on.
    let again = json!({"op": "store", "tenant": "acme", "provider": "moon", "api_key": new});
    is_refused(&asked(&sidecar, again).await, "BYOK_UNKNOWN_PROVIDER");
    for said in [stored.to_string(), rotated.to_string(), sidecar.log(), gateway.log()] {
        assert!(!said.contains(&key) && !said.contains(&new), "{said}");
    }
}

#[tokio::test]
async fn a_key_that_it_sealed_for_storing_is_stored_and_one_for_a_request_is_not() {
    let provider = Provider::right().await;
    let gateway = Gateway::before(&provider).await;
    gateway.tenant("acme").await;
    let token = gateway.token("acme", &json!({"role": "caller"})).await;
    let sidecar = started(&gateway, &[]).await;
    let key = a_key("sk-proj-");
    let sealed = async |purpose| {
        let seal =
            json!({"op": "seal", "tenant": "acme", "provider": "openai", "purpose": purpose, "api_key": key});
        let answer = asked(&sidecar, seal).await;
        let sealed = answer["sealed_key"].as_str().unwrap_or_else(|| panic!("{answer}"));
        assert!(sealed.starts_with("v=1;kid="), "{sealed}");
        json!({"provider": "openai", "sealed_key": sealed})
    };
    let stored = async |body| gateway.operator("POST", "/tenants/acme/credentials", &body).await;
    stored(sealed("request").await).await.refused(400, "BYOK_DECRYPTION_FAILED");
    stored(sealed("store").await).await.expect(201);
    gateway.chat(&token).await.expect(200);
    assert_eq!(provider.last().header("authorization"), format!("Bearer {key}"));
}

#[tokio::test]
async fn a_key_that_it_sealed_for_a_request_serves_one() {
    let provider = Provider::right().await;
    let gateway = Gateway::before(&provider).await;
    gateway.tenant("acme").await;
    let token = gateway.token("acme", &json!({"role": "caller"})).await;
    let sidecar = started(&gateway, &[]).await;
    let key = a_key("sk-proj-");
    let body = json!({"model": "gpt-4.1-mini", "messages": []});
    for (purpose, status) in [("request", 200), ("store", 400)] {
        let seal =
            json!({"op": "seal", "tenant": "acme", "provider": "openai", "purpose": purpose, "api_key": key});
        let answer = asked(&sidecar, seal).await;
        let headers = [("x-sealed-key", answer["sealed_key"].as_str().unwrap_or_else(|| panic!("{answer}")))];
        let send = async || gateway.post(&token, "/openai/v1/chat/completions", &headers, &body).await;
        if status == 200 {
            send().await.expect(200);
            assert_eq!(provider.last().header("authorization"), format!("Bearer {key}"));
            send().await.refused(409, "BYOK_REPLAY_DETECTED");
        } else {
            send().await.refused(400, "BYOK_DECRYPTION_FAILED");
        }
    }
}

#[tokio::test]
async fn the_commands_send_a_key_through_it() {
    let provider = Provider::right().await;
    let gateway = Gateway::before(&provider).await;
    gateway.tenant("acme").await;
    let sidecar = started(&gateway, &[]).await;
    let (key, new) = (a_key("sk-proj-"), a_key("sk-proj-"));
    let add = ["credential", "store", "--tenant", "acme", "--provider", "openai", "--json"];
    let stored = piped(&sidecar, &add, &key).await;
    let id = stored["id"].as_str().unwrap_or_else(|| panic!("{stored}"));
    assert_eq!(stored["last4"], key[key.len() - 4..]);
    let rotate = ["credential", "rotate", "--tenant", "acme", id, "--overlap-seconds", "60", "--json"];
    let rotated = piped(&sidecar, &rotate, &new).await;
    assert_eq!((&rotated["version"], &rotated["last4"]), (&json!(2), &json!(new[new.len() - 4..])));
    let tested = piped(&sidecar, &["credential", "test", "--tenant", "acme", id, "--json"], "").await;
    assert_eq!(tested["status"], "ok");
}

#[tokio::test]
async fn only_keys_that_the_operator_signed_are_sealed_to() {
    let provider = Provider::right().await;
    let mut gateway = Gateway::before(&provider).await;
    gateway.tenant("acme").await;
    let folder = tempfile::tempdir().expect("a folder");
    let [private, public, others] = ["private", "public", "others"].map(|name| folder.path().join(name));
    let key = || rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("a key pair");
    let operator = key();
    fs::write(&private, as_openssl_writes(&operator)).expect("a file");
    fs::write(&public, operator.public_key_pem()).expect("a file");
    fs::write(&others, key().public_key_pem()).expect("a file");
    let config = gateway.config();
    let [config, private, public, others] =
        [&config, &private, &public, &others].map(|path| path.to_str().expect("a path"));
    let list = run(&["sealing-key", "list", "--json", "--config", config], "").await;
    let jws = run(&["sealing-key", "sign", "--signing-key", private], &list).await;
    run(&["sealing-key", "publish", "--config", config, "--signed-by", public], &jws).await;
    let store = json!({"op": "store", "tenant": "acme", "provider": "openai", "api_key": a_key("sk-")});
    // A running gateway looks for a new list once in a while, and at its start.
    gateway.restart().await;
    let strict = started(&gateway, &["--signed-by", public]).await;
    assert!(!strict.log().contains("sealing_keys_unsigned"), "{}", strict.log());
    let trusting = started(&gateway, &[]).await;
    assert!(trusting.log().contains("sealing_keys_unsigned"), "{}", trusting.log());
    let stored = asked(&strict, store.clone()).await;
    assert_eq!((&stored["ok"], &stored["version"]), (&json!(true), &json!(1)), "{stored}");
    let foreign = started(&gateway, &["--signed-by", others]).await;
    is_refused(&asked(&foreign, store).await, "BYOK_SERVICE_UNAVAILABLE");
}

/// An Ed25519 key without its public half, which the first version of PKCS #8 does not have.
fn as_openssl_writes(key: &rcgen::KeyPair) -> String {
    let both = key.serialize_der();
    let seed = both.windows(4).position(|window| window == [4, 34, 4, 32]).expect("the private half") + 4;
    let head = [48, 46, 2, 1, 0, 48, 5, 6, 3, 43, 101, 112, 4, 34, 4, 32];
    let text = base64::engine::general_purpose::STANDARD.encode([&head, &both[seed..seed + 32]].concat());
    format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n")
}

/// Runs a command that must do its work, and answers what it prints.
async fn run(arguments: &[&str], input: &str) -> String {
    let mut command = command();
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let input = input.to_owned();
    let ended = tokio::task::spawn_blocking(move || {
        let mut child = command.spawn().expect("it starts");
        // One that reads nothing may be gone already.
        let _ = child.stdin.take().expect("piped").write_all(input.as_bytes());
        child.wait_with_output().expect("it ends")
    });
    let output = ended.await.expect("no panic");
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// A sidecar before a gateway. Starting waits, and the gateway's provider lives on this thread.
async fn started(gateway: &Gateway, options: &[&str]) -> Arc<Sidecar> {
    let (url, options) = (gateway.url(), options.iter().map(|&option| option.to_owned()).collect::<Vec<_>>());
    let started = tokio::task::spawn_blocking(move || {
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        Arc::new(Sidecar::start(&url, &options))
    });
    started.await.expect("no panic")
}

async fn asked(sidecar: &Arc<Sidecar>, request: Value) -> Value {
    let sidecar = Arc::clone(sidecar);
    tokio::task::spawn_blocking(move || sidecar.ask(&request)).await.expect("no panic")
}

/// Runs a command through a sidecar, with this on its standard input.
async fn piped(sidecar: &Sidecar, arguments: &[&str], input: &str) -> Value {
    let socket = sidecar.socket();
    let through = ["--sidecar", socket.to_str().expect("a path")];
    serde_json::from_str(&run(&[arguments, &through].concat(), input).await).expect("JSON")
}

#[test]
fn a_key_that_cannot_be_sealed_is_not_sent() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    // A gateway that has no key to seal to, and keeps all that it is sent.
    let received = std::thread::spawn(move || {
        let mut received = Vec::new();
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let mut bytes = [0; 4096];
            let length = stream.read(&mut bytes).expect("a request");
            if bytes[..length] == *b"end" {
                break;
            }
            received.extend_from_slice(&bytes[..length]);
            let body = "{\"keys\":[],\"provider\":\"openai\"}";
            let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n";
            write!(stream, "{head}content-length: {}\r\n\r\n{body}", body.len()).expect("it reads");
        }
        received
    });
    let sidecar = Sidecar::start(&url, &[]);
    let key = a_key("sk-proj-");
    // In the wrong place, from where it would go into an address or a body.
    for request in [
        json!({"op": "test", "tenant": "acme", "credential": key}),
        json!({"op": "test", "tenant": key, "credential": A_CREDENTIAL}),
        json!({"op": "rotate", "tenant": "acme", "credential": key, "api_key": key}),
        json!({"op": "store", "tenant": "acme", "provider": key, "api_key": key}),
        json!({"op": "store", "tenant": "acme", "provider": "openai", "label": key, "api_key": key}),
        json!({"op": "store", "tenant": "acme", "provider": "openai", "label": &key[8..], "api_key": &key[8..]}),
    ] {
        let answer = sidecar.ask(&request);
        is_refused(&answer, "invalid_request");
        assert!(!answer.to_string().contains(&key[8..]), "{answer}");
    }
    for mut request in [
        json!({"op": "store", "tenant": "acme", "provider": "openai"}),
        json!({"op": "rotate", "tenant": "acme", "credential": A_CREDENTIAL}),
        json!({"op": "seal", "tenant": "acme", "provider": "openai", "purpose": "store"}),
    ] {
        request["api_key"] = json!(key);
        let answer = sidecar.ask(&request);
        is_refused(&answer, "BYOK_SERVICE_UNAVAILABLE");
        assert!(!answer.to_string().contains(&key), "{answer}");
    }
    let address = url.trim_start_matches("http://");
    #[expect(clippy::disallowed_types, reason = "the test's own listener")]
    std::net::TcpStream::connect(address)
        .and_then(|mut stream| stream.write_all(b"end"))
        .expect("it listens");
    let received = text(&received.join().expect("no panic"));
    assert!(received.contains("GET /api/v1/sealing-keys"), "{received}");
    assert!(!received.contains(&key[8..]), "{received}");
    assert!(!sidecar.log().contains(&key[8..]), "{}", sidecar.log());
}

#[test]
fn an_answer_that_is_too_long_is_answered_with_that_it_was_done() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let gateway = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let _ = stream.read(&mut [0; 4096]).expect("a request");
        let body = json!({"status": "ok", "text": "x".repeat(17 * 1024)}).to_string();
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n";
        write!(stream, "{head}content-length: {}\r\n\r\n{body}", body.len()).expect("it reads");
    });
    let sidecar = Sidecar::start(&url, &[]);
    let answer = sidecar.ask(&a_test());
    is_refused(&answer, "BYOK_SERVICE_UNAVAILABLE");
    assert!(answer["detail"].as_str().is_some_and(|detail| detail.contains("has done it")), "{answer}");
    gateway.join().expect("no panic");
}
