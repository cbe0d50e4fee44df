use http::StatusCode;

use super::*;

fn answer(status: u16, body: &str) -> Answer {
    let status = StatusCode::from_u16(status).expect("a status");
    Answer { status, body: SecretBytes::new(body.as_bytes().to_vec()) }
}

fn sealed(len: usize) -> String {
    STANDARD.encode(vec![1; len])
}

#[test]
fn a_ciphertext_is_read_only_as_the_server_writes_it() {
    let good = format!("vault:v12:{}", sealed(60));
    let read = Ciphertext::read(good.as_bytes()).expect("a ciphertext");
    assert_eq!((read.text(), read.version()), (good.as_str(), 12));
    for bad in [
        String::new(),
        "garbage".to_owned(),
        format!("vault:v0:{}", sealed(60)),
        format!("vault:v01:{}", sealed(60)),
        format!("vault:v+1:{}", sealed(60)),
        format!("vault:v99999999999:{}", sealed(60)),
        format!("vault:1:{}", sealed(60)),
        format!(" vault:v1:{}", sealed(60)),
        format!("vault:v1:{}", sealed(59)),
        format!("vault:v1:{}\n", sealed(60)),
        format!("vault:v1:{}", sealed(60).replace('B', "\"")),
        format!("vault:v1:{}", sealed(MOST)),
    ] {
        assert!(Ciphertext::read(bad.as_bytes()).is_none(), "{bad}");
    }
}

#[test]
fn a_key_has_32_bytes() {
    let with = |text: &str| key(&answer(200, &format!(r#"{{"data":{{"plaintext":"{text}"}},"auth":null}}"#)));
    let good = with(&STANDARD.encode([7; 32])).map_err(|_| ()).expect("a key");
    assert_eq!(good.expose(), [7; 32]);
    for bad in [
        STANDARD.encode([7; 31]),
        STANDARD.encode([7; 33]),
        STANDARD.encode([7; 64]),
        String::new(),
        "%".repeat(44),
        STANDARD.encode([7; 32]).trim_end_matches('=').to_owned(),
        // A text that has to be unescaped would be copied on the way.
        STANDARD.encode([7; 32]).replacen('B', "\\u0042", 1),
    ] {
        assert!(matches!(with(&bad), Err(RootError::Garbage(_))), "{bad}");
    }
}

#[test]
fn what_is_not_the_answer_is_garbage() {
    for body in
        ["", "<html>", "[]", "{}", r#"{"data":null}"#, r#"{"data":{}}"#, r#"{"data":{"plaintext":1}}"#]
    {
        assert!(matches!(key(&answer(200, body)), Err(RootError::Garbage(_))), "{body}");
        assert!(matches!(wrapped(&answer(200, body)), Err(RootError::Garbage(_))), "{body}");
    }
    assert!(matches!(key(&answer(204, "")), Err(RootError::Garbage(_))));
    let echoed = answer(200, r#"{"data":{"ciphertext":"AAAA"}}"#);
    assert!(matches!(wrapped(&echoed), Err(RootError::Garbage(_))));
}

fn errors(text: &str) -> Answer {
    answer(400, &format!(r#"{{"errors":["{text}"]}}"#))
}

#[test]
fn a_ciphertext_that_does_not_open_is_refused() {
    for text in [
        "cipher: message authentication failed",
        "invalid ciphertext: no prefix",
        "invalid ciphertext: version is too new",
        "invalid ciphertext length",
    ] {
        assert!(matches!(key(&errors(text)), Err(RootError::Refused)), "{text}");
        assert!(matches!(wrapped(&errors(text)), Err(RootError::Denied(_))), "encrypting: {text}");
    }
}

#[test]
fn what_the_operator_can_mend_is_not_taken_for_a_key_that_does_not_open() {
    for (text, told) in [
        ("encryption key not found", "does not exist"),
        ("refusing to use soft-deleted key", "soft-deleted"),
        ("'[0].associated_data' provided for non-AEAD cipher suite rsa-2048", "aes256-gcm96"),
        ("message decryption not supported for key type ed25519", "aes256-gcm96"),
    ] {
        let Err(RootError::Denied(words)) = key(&errors(text)) else { panic!("{text}") };
        assert!(words.contains(told), "{text}: {words}");
    }
    let too_old = key(&errors("ciphertext or signature version is disallowed by policy (too old)"));
    let Err(RootError::Outdated(words)) = too_old else { panic!("too old") };
    assert!(words.contains("min_decryption_version"), "{words}");
    for status in [401, 403, 404, 405, 418] {
        let kind = key(&answer(status, "{}"));
        assert!(matches!(kind, Err(RootError::Denied(_) | RootError::Garbage(_))), "{status}");
    }
}

#[test]
fn a_server_that_cannot_now_is_away() {
    for status in [307, 412, 429, 472, 473, 500, 502, 503] {
        assert!(matches!(key(&answer(status, "{}")), Err(RootError::Away(_))), "{status}");
    }
}

#[test]
fn a_token_is_seen_as_the_server_sees_it() {
    let looked = looked_up(&answer(
        200,
        r#"{"renewable":false,"lease_duration":0,"data":{"ttl":9,"renewable":true}}"#,
    ));
    assert_eq!(looked.expect("a token"), Lease { ttl: 9, renewable: true });
    let root = looked_up(&answer(200, r#"{"data":{"ttl":0,"policies":["root"]}}"#));
    assert_eq!(root.expect("a token"), Lease { ttl: 0, renewable: false });
    let again = renewed(&answer(200, r#"{"auth":{"lease_duration":9,"renewable":true}}"#));
    assert_eq!(again.expect("a token"), Lease { ttl: 9, renewable: true });
}
