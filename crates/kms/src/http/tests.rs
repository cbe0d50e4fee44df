use std::time::Instant;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::*;

fn refused(address: &str) -> Option<EndpointError> {
    Endpoint::new(address, None).err()
}

#[test]
fn an_address_is_a_scheme_a_host_and_perhaps_a_port() {
    for good in [
        "https://vault.example",
        "https://vault.example/",
        "https://vault.example:8200",
        "https://10.0.0.7:8200",
        "https://[fd00::7]:8200",
        "http://127.0.0.1:8200",
        "http://127.9.9.9",
        "http://[::1]:8200",
        "http://localhost:8200",
    ] {
        assert!(refused(good).is_none(), "{good}");
    }
    for bad in [
        "",
        "vault.example",
        "ftp://vault.example",
        "HTTPS://vault.example",
        "https://",
        "https://user:secret@vault.example",
        "https://vault.example/v1",
        "https://vault.example?a=b",
        "https://vault.example#a",
        "https://vault.example:",
        "https://vault.example:0",
        "https://vault.example:65536",
        "https://vault example",
        "https://[::1",
        "https://-",
    ] {
        assert!(matches!(refused(bad), Some(EndpointError::Address)), "{bad}");
    }
}

#[test]
fn plain_text_stays_on_this_machine() {
    for address in
        ["http://vault.example", "http://10.0.0.7:8200", "http://[fd00::7]", "http://localhost.example"]
    {
        assert!(matches!(refused(address), Some(EndpointError::Plaintext)), "{address}");
    }
}

#[test]
fn an_authority_must_be_a_certificate() {
    let folder = tempfile::tempdir().expect("a folder");
    let empty = folder.path().join("empty.pem");
    std::fs::write(&empty, "").expect("written");
    for (ca, words) in
        [(empty.as_path(), "no certificate"), (&folder.path().join("missing.pem"), "No such file")]
    {
        let refused = Endpoint::new("https://vault.example", Some(ca)).err().expect("a refusal");
        let told = refused.to_string();
        assert!(refused.is_about_ca() && told.contains(words), "{told}");
        assert!(told.starts_with(&ca.display().to_string()), "{told}");
    }
}

#[test]
fn an_authority_beside_plain_text_is_refused_and_not_ignored() {
    let ca = std::path::Path::new("/nonexistent.pem");
    assert!(matches!(judge("http://127.0.0.1:8200", Some(ca)), Err(EndpointError::CaUnused)));
    assert!(judge("http://127.0.0.1:8200", None).is_ok());
    assert!(judge("https://127.0.0.1:8200", Some(ca)).is_ok());
}

/// Answers one request with these bytes, then closes, or hangs if told so.
async fn answering(bytes: Vec<u8>, then_hang: bool) -> Result<Answer, RootError> {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let serving = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\nbody") {
            stream.read_buf(&mut request).await.expect("a request");
        }
        let _ = stream.write_all(&bytes).await;
        if then_hang {
            std::future::pending::<()>().await;
        }
    });
    let endpoint = Endpoint::new(&format!("http://127.0.0.1:{port}"), None).expect("an address");
    let body = SecretBytes::new(b"body".to_vec());
    let answer =
        endpoint.call(Call { method: Method::POST, path: "/", headers: HeaderMap::new(), body }).await;
    serving.abort();
    answer
}

fn of_length(length: usize) -> Vec<u8> {
    let mut answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n").into_bytes();
    answer.resize(answer.len() + length, b'x');
    answer
}

#[tokio::test]
async fn the_longest_answer_is_read_and_a_longer_one_is_not() {
    let longest = answering(of_length(MAX_BODY), false).await.expect("an answer");
    assert_eq!(longest.body.expose(), vec![b'x'; MAX_BODY]);
    let longer = answering(of_length(MAX_BODY + 1), false).await;
    assert!(matches!(longer, Err(RootError::Garbage(_))));
}

#[tokio::test]
async fn an_answer_without_a_length_ends_with_the_connection() {
    let answer = answering(b"HTTP/1.1 200 OK\r\n\r\nall".to_vec(), false).await.expect("an answer");
    assert_eq!(answer.body.expose(), b"all");
}

#[tokio::test]
async fn what_is_cut_or_no_http_is_an_error() {
    let cut = answering(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf".to_vec(), false).await;
    assert!(matches!(cut, Err(RootError::Away(_))));
    let nothing = answering(Vec::new(), false).await;
    assert!(matches!(nothing, Err(RootError::Away(_))));
    let other = answering(b"220 mail.example ESMTP\r\n".to_vec(), false).await;
    assert!(matches!(other, Err(RootError::Garbage(_))));
    let head = [b"HTTP/1.1 200 OK\r\na: ".as_slice(), &vec![b'x'; 2 * MAX_HEAD]].concat();
    assert!(matches!(answering(head, true).await, Err(RootError::Garbage(_))));
}

#[tokio::test]
async fn a_redirect_is_an_answer_that_is_not_followed() {
    let moved = b"HTTP/1.1 307 Moved\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n".to_vec();
    let answer = answering(moved, false).await.expect("an answer");
    assert!(matches!(fault(answer.status), Some(RootError::Away(_))));
}

#[tokio::test]
async fn an_answer_that_does_not_end_ends_the_call_in_time() {
    let (started, half) = (Instant::now(), b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf".to_vec());
    assert!(matches!(answering(half, true).await, Err(RootError::Away(_))));
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_status_that_says_enough_is_judged_without_its_body() {
    let judged = |status| fault(StatusCode::from_u16(status).expect("a status"));
    for status in [401, 403] {
        assert!(matches!(judged(status), Some(RootError::Denied(_))), "{status}");
    }
    for status in [301, 307, 429, 500, 502, 503] {
        assert!(matches!(judged(status), Some(RootError::Away(_))), "{status}");
    }
    for status in [200, 204, 400, 404] {
        assert!(judged(status).is_none(), "{status}");
    }
}
