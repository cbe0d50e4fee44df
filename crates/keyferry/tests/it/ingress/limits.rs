//! Limits of size, depth and time: what is too much is refused, and nobody else waits for it.

use std::time::Duration;

use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::{
    io::AsyncWriteExt,
    time::{Instant, sleep, timeout},
};

use super::Scene;
use crate::harness::{Connection, connect};

const POST: &str = "POST /v1/chat/completions HTTP/1.1\r\nHost: gw.example\r\nAuthorization: Bearer kf\r\n";

/// All at once, because each of them takes the time it takes.
#[tokio::test]
async fn clients_that_come_too_slowly_are_given_up_with_408_while_others_are_served() {
    let scene = Scene::start().await;
    let trickled = scene.localized(POST);
    tokio::join!(
        a_head_that_trickles(&scene, &trickled),
        a_head_that_trickles(&scene, b"x"),
        a_head_that_stops(&scene),
        nothing_at_all(&scene),
        a_body_that_stops(&scene, "Content-Length: 7\r\n\r\n{\"a\""),
        a_body_that_stops(&scene, "Transfer-Encoding: chunked\r\n\r\n7\r\n{\"a\""),
        a_body_that_is_only_slow(&scene)
    );
    assert_eq!(scene.got().len(), 1, "only the one that was slow, and not too slow, went out");
    scene.still_serves().await;
}

async fn a_head_that_trickles(scene: &Scene, bytes: &[u8]) {
    let begun = Instant::now();
    let mut connection = Connection::open(scene.gateway.port()).await;
    for byte in bytes.iter().cycle() {
        if connection.try_send(&[*byte]).await.is_err() || begun.elapsed() > Duration::from_secs(13) {
            break;
        }
        sleep(Duration::from_millis(if begun.elapsed() > Duration::from_secs(9) { 50 } else { 200 })).await;
    }
    // The answer may be lost when the client sends on after it.
    if let Some(reply) = connection.try_reply().await {
        reply.expect(408);
    }
    assert!(begun.elapsed() < Duration::from_secs(13), "closed only after {:?}", begun.elapsed());
}

async fn a_head_that_stops(scene: &Scene) {
    let begun = Instant::now();
    let mut connection = Connection::open(scene.gateway.port()).await;
    connection.send(&scene.localized(POST)).await;
    connection.reply().await.expect(408);
    assert!(begun.elapsed() < Duration::from_secs(12), "answered only after {:?}", begun.elapsed());
    assert!(connection.closes_within(Duration::from_secs(2)).await);
}

async fn nothing_at_all(scene: &Scene) {
    let mut connection = Connection::open(scene.gateway.port()).await;
    assert!(connection.closes_within(Duration::from_secs(12)).await, "a client that never speaks stays");
}

async fn a_body_that_stops(scene: &Scene, rest: &str) {
    let begun = Instant::now();
    let mut connection = Connection::open(scene.gateway.port()).await;
    connection.send(&scene.localized(&format!("{POST}{rest}"))).await;
    // Longer than the client of these tests waits for a byte.
    sleep(Duration::from_secs(20)).await;
    connection.reply().await.expect(408);
    assert!(begun.elapsed() < Duration::from_secs(35), "answered only after {:?}", begun.elapsed());
}

async fn a_body_that_is_only_slow(scene: &Scene) {
    let mut connection = Connection::open(scene.gateway.port()).await;
    connection.send(&scene.localized(&format!("{POST}Content-Length: 7\r\n\r\n"))).await;
    for byte in b"{\"a\":1}" {
        sleep(Duration::from_millis(200)).await;
        connection.send(&[*byte]).await;
    }
    connection.reply().await.expect(200);
}

#[tokio::test]
async fn a_body_that_breaks_off_never_goes_out() {
    let scene = Scene::start().await;
    let broken = [
        "Content-Length: 7\r\n\r\n{\"a\":1",
        "Content-Length: 7\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n7\r\n{\"a\":1}\r\n",
        "Transfer-Encoding: chunked\r\n\r\n7\r\n{\"a\":1}\r\n0\r\n",
        "Transfer-Encoding: chunked\r\n\r\n7\r\n{\"a\"",
        "Transfer-Encoding: chunked\r\n\r\n",
        "Content-Length: 7\r\n",
    ];
    for rest in broken {
        let mut io = connect(scene.gateway.port()).await;
        io.write_all(&scene.localized(&format!("{POST}{rest}"))).await.expect("written");
        io.shutdown().await.expect("half closed");
        let mut connection = Connection::over(io);
        let answer = connection.rest().await;
        assert!(!answer.starts_with(b"HTTP/1.1 2"), "{rest:?}: {}", String::from_utf8_lossy(&answer));
        scene.still_serves().await;
    }
    assert_eq!(scene.got().len(), 0);
}

/// A JSON text of exactly this length.
fn json_of(length: usize) -> Vec<u8> {
    let mut text = b"{\"a\":\"".to_vec();
    text.resize(length - 2, b'x');
    text.extend_from_slice(b"\"}");
    text
}

#[tokio::test]
async fn a_body_of_ten_mebibytes_is_served_and_one_byte_more_is_refused() {
    const LIMIT: usize = 10 * 1024 * 1024;
    let scene = Scene::start().await;
    for (length, status) in [(LIMIT, 200), (LIMIT + 1, 413)] {
        let body = json_of(length);
        let mut connection = Connection::open(scene.gateway.port()).await;
        let head = scene.localized(&format!("{POST}Content-Length: {length}\r\n\r\n"));
        let _ = connection.try_send(&[head, body].concat()).await;
        let reply = connection.reply().await.expect(status);
        assert!(status == 200 || reply.code() == "request_too_large", "{}", reply.text());
    }
    let body = json_of(LIMIT + 1);
    let mut bytes = scene.localized(&format!("{POST}Transfer-Encoding: chunked\r\n\r\n"));
    for piece in body.chunks(64 * 1024) {
        bytes.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        bytes.extend_from_slice(piece);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"0\r\n\r\n");
    let mut connection = Connection::open(scene.gateway.port()).await;
    let _ = connection.try_send(&bytes).await;
    connection.reply().await.refused(413, "request_too_large");
    let mut connection = Connection::open(scene.gateway.port()).await;
    connection.send(&scene.localized(&format!("{POST}Content-Length: 9000000000000000000\r\n\r\n"))).await;
    connection.reply().await.refused(413, "request_too_large");
    scene.still_serves().await;
    assert_eq!(scene.got().len(), 1, "only the one within the limit went out");
}

#[tokio::test]
async fn a_body_with_two_readings_is_refused() {
    let scene = Scene::start().await;
    let deep = |depth: usize| format!("{{\"a\":{}1{}}}", "[".repeat(depth), "]".repeat(depth));
    let bad = [
        deep(100_000),
        deep(200),
        format!("{{\"a\":{}1{}}}", "{\"a\":".repeat(500), "}".repeat(500)),
        "[".repeat(1_000_000),
        r#"{"model":"a","model":"b"}"#.to_owned(),
        r#"{"model":"a","model":"a"}"#.to_owned(),
        "{\"model\":\"a\",\"mo\\u0064el\":\"b\"}".to_owned(),
        r#"{"model":null,"model":"b"}"#.to_owned(),
        r#"{"stream":true,"stream":false}"#.to_owned(),
        r#"{"model":7}"#.to_owned(),
        r#"{"model":["a"]}"#.to_owned(),
        r#"{"a":1}{"a":2}"#.to_owned(),
        r#"{"a":1} x"#.to_owned(),
        r#"{"a":1,}"#.to_owned(),
        r"{'a':1}".to_owned(),
        r#"{"a":01}"#.to_owned(),
        r#"{"a":NaN}"#.to_owned(),
        "{\"a\":\"\n\"}".to_owned(),
        "{\"a\":\"\u{0}\"}".to_owned(),
        "\u{feff}{\"a\":1}".to_owned(),
        r#"{"a":1"#.to_owned(),
        r#"[{"model":"a"}]"#.to_owned(),
        "null".to_owned(),
        "7".to_owned(),
        " ".to_owned(),
        "/* */{\"a\":1}".to_owned(),
    ];
    for body in bad {
        let mut connection = Connection::open(scene.gateway.port()).await;
        let mut bytes = scene.localized(&format!("{POST}Content-Length: {}\r\n\r\n", body.len()));
        bytes.extend_from_slice(body.as_bytes());
        let _ = connection.try_send(&bytes).await;
        let reply = connection.reply().await;
        assert_eq!((reply.status(), reply.code().as_str()), (400, "invalid_request"), "{body:.80}");
    }
    for body in [deep(100).as_bytes(), br#"{"model":"a","b":{"model":"b"}}"#] {
        let mut connection = Connection::open(scene.gateway.port()).await;
        let head = scene.localized(&format!("{POST}Content-Length: {}\r\n\r\n", body.len()));
        connection.send(&[&head, body].concat()).await;
        connection.reply().await.expect(200);
    }
    scene.still_serves().await;
    assert_eq!(scene.got().len(), 2);
}

#[tokio::test]
async fn a_thousand_idle_connections_keep_nobody_from_being_served() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).expect("as many files as are allowed");
    let scene = Scene::start().await;
    let mut idle = Vec::new();
    for number in 0..1000 {
        let mut io = connect(scene.gateway.port()).await;
        // Some have said nothing, some the beginning of a head.
        if number % 2 == 0 {
            io.write_all(b"GET /openai/v1/models HTTP/1.1\r\nHost: gw").await.expect("written");
        }
        idle.push(io);
    }
    let begun = Instant::now();
    for _ in 0..20 {
        scene.still_serves().await;
    }
    assert!(begun.elapsed() < Duration::from_secs(10), "twenty requests took {:?}", begun.elapsed());
    assert_eq!(idle.len(), 1000);
    assert_eq!(scene.got().len(), 0);
}

#[tokio::test]
async fn a_client_that_reads_nothing_keeps_nobody_from_being_served() {
    let scene = Scene::start().await;
    let mut deaf = Vec::new();
    for _ in 0..50 {
        let mut connection = Connection::open(scene.gateway.port()).await;
        let request = scene
            .localized("GET /v1/nothing HTTP/1.1\r\nHost: gw.example\r\nAuthorization: Bearer kf\r\n\r\n");
        let _ = timeout(Duration::from_millis(100), connection.try_send(&request.repeat(500))).await;
        deaf.push(connection);
    }
    scene.still_serves().await;
    assert_eq!(scene.got().len(), 0);
}
