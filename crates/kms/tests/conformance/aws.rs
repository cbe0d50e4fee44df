//! The root in AWS KMS, against the KMS of moto, and against a network on its bad days.

use std::{mem::discriminant, sync::Arc, time::Duration};

use keyferry_core::{
    clock::{Clock, SystemClock},
    port::root::{KeyVersions, Root, RootError},
};
use keyferry_kms::{
    AwsConfig,
    aws::{Aws, AwsConfigError},
};
use keyferry_kms_testing::Moto;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use crate::suite::{
    CONTEXT, another_context_is_refused, key, renewing_keeps_the_key, what_was_wrapped_unwraps,
};

fn config(endpoint: &str, key_id: &str) -> AwsConfig {
    AwsConfig {
        key_id: key_id.to_owned(),
        region: "us-east-1".to_owned(),
        endpoint: Some(endpoint.to_owned()),
        ca: None,
    }
}

/// A root with these variables as its whole environment.
fn root(config: &AwsConfig, variables: &[(&'static str, &str)]) -> Arc<dyn Root> {
    let variables: Vec<_> = variables.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    let env =
        move |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone());
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    Arc::new(Aws::new(config, clock, Arc::new(env)).expect("a root"))
}

fn with_access_key(config: &AwsConfig, id: &str, secret: &str) -> Arc<dyn Root> {
    root(config, &[("AWS_ACCESS_KEY_ID", id), ("AWS_SECRET_ACCESS_KEY", secret)])
}

fn with_any_access_key(config: &AwsConfig) -> Arc<dyn Root> {
    with_access_key(config, "test", "test")
}

/// The suite's rule, but for the first byte. There moto writes the key's id, and answers that access is
/// denied if it knows no such key; KMS answers as to any other changed byte.
async fn changed_bytes_are_refused(root: &dyn Root) {
    let wrapped = root.wrap(&CONTEXT, &key(7)).await.expect("wraps");
    let mut changed = vec![Vec::new(), b"garbage".to_vec(), wrapped[..wrapped.len() - 1].to_vec()];
    for at in [36, wrapped.len() / 2, wrapped.len() - 1] {
        let mut bytes = wrapped.clone();
        bytes[at] ^= 1;
        changed.push(bytes);
    }
    changed.push(vec![7; 7000]);
    for bytes in changed {
        let refused = root.unwrap(&CONTEXT, &bytes).await;
        assert!(matches!(refused, Err(RootError::Refused)), "{} bytes", bytes.len());
    }
}

/// With moto checking every signature by botocore's code: ours against theirs, over the real wire.
#[tokio::test]
async fn a_key_in_kms_conforms() {
    let Some(moto) = Moto::start("a_key_in_kms_conforms") else { return };
    let config = config(&moto.address(), &moto.new_key());
    let (id, secret) = moto.new_access_key();
    moto.check_signatures();
    let root = with_access_key(&config, &id, &secret);
    assert_eq!(root.id(), format!("aws:{}", config.key_id));
    what_was_wrapped_unwraps(&*root).await;
    another_context_is_refused(&*root).await;
    changed_bytes_are_refused(&*root).await;
    renewing_keeps_the_key(&*root).await;
    assert_eq!(root.versions().await.expect("tells"), KeyVersions::Untold);

    // It does check.
    for root in [with_access_key(&config, &id, "wrong"), with_access_key(&config, "AKIAUNKNOWN", &secret)] {
        assert!(matches!(root.wrap(&CONTEXT, &key(7)).await, Err(RootError::Denied(_))));
    }
}

#[tokio::test]
async fn a_role_by_web_identity_wraps_and_unwraps() {
    let Some(moto) = Moto::start("a_role_by_web_identity_wraps_and_unwraps") else { return };
    let token = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(token.path(), "header.payload.signature").expect("written");
    let root = root(
        &config(&moto.address(), &moto.new_key()),
        &[
            ("AWS_WEB_IDENTITY_TOKEN_FILE", token.path().to_str().expect("a name")),
            ("AWS_ROLE_ARN", &moto.new_role()),
            ("AWS_ENDPOINT_URL_STS", &moto.address()),
        ],
    );
    // The exchange is not signed, so it comes before signatures are checked.
    let wrapped = root.wrap(&CONTEXT, &key(7)).await.expect("wraps");
    moto.check_signatures();
    assert!(root.unwrap(&CONTEXT, &wrapped).await.expect("unwraps").ct_eq(&key(7)));
    root.wrap(&CONTEXT, &key(7)).await.expect("wraps");
}

#[tokio::test]
async fn a_missing_key_and_another_key_are_told_apart_and_an_alias_is_the_key() {
    let Some(moto) = Moto::start("a_missing_key_and_another_key_are_told_apart_and_an_alias_is_the_key")
    else {
        return;
    };
    let (one, other) = (moto.new_key(), moto.new_key());
    let address = moto.address();
    let of = |key_id: &str| with_any_access_key(&config(&address, key_id));
    let wrapped = of(&one).wrap(&CONTEXT, &key(7)).await.expect("wraps");

    // KMS itself answers IncorrectKeyException, which is `Refused`; moto denies access.
    let by_another = of(&other).unwrap(&CONTEXT, &wrapped).await;
    assert!(matches!(by_another, Err(RootError::Denied(_) | RootError::Refused)));
    let missing = of("00000000-0000-0000-0000-000000000000").wrap(&CONTEXT, &key(7)).await;
    assert!(matches!(missing, Err(RootError::Denied(why)) if why.contains("no such key")));

    let alias = format!(r#"{{"AliasName": "alias/keyferry", "TargetKeyId": "{one}"}}"#);
    moto.kms("CreateAlias", &alias);
    assert!(of("alias/keyferry").unwrap(&CONTEXT, &wrapped).await.expect("unwraps").ct_eq(&key(7)));
}

#[tokio::test]
async fn kms_that_is_gone_is_away() {
    let Some(moto) = Moto::start("kms_that_is_gone_is_away") else { return };
    let root = with_any_access_key(&config(&moto.address(), &moto.new_key()));
    let wrapped = root.wrap(&CONTEXT, &key(7)).await.expect("wraps");
    drop(moto);
    assert!(matches!(root.unwrap(&CONTEXT, &wrapped).await, Err(RootError::Away(_))));
    assert!(matches!(root.wrap(&CONTEXT, &key(7)).await, Err(RootError::Away(_))));
}

/// Answers every request with these bytes and closes; without any, it hangs.
async fn answering(bytes: &'static [u8]) -> Arc<dyn Root> {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            tokio::spawn(async move {
                let mut request = Vec::new();
                while !request.ends_with(b"\"}") {
                    if stream.read_buf(&mut request).await.expect("a request") == 0 {
                        return;
                    }
                }
                if bytes.is_empty() {
                    tokio::time::sleep(Duration::from_secs(60)).await;
                }
                stream.write_all(bytes).await.expect("an answer");
            });
        }
    });
    with_any_access_key(&config(&address, "alias/keyferry"))
}

async fn outcome(bytes: &'static [u8]) -> RootError {
    let root = answering(bytes).await;
    let wrap = root.wrap(&CONTEXT, &key(7)).await.expect_err("no wrapped key");
    let unwrap = root.unwrap(&CONTEXT, b"wrapped").await.err().expect("no key");
    assert_eq!(discriminant(&wrap), discriminant(&unwrap));
    unwrap
}

macro_rules! answer {
    ($status:literal, $body:literal) => {
        concat!("HTTP/1.1 ", $status, " x\r\nconnection: close\r\n\r\n", $body).as_bytes()
    };
}

#[tokio::test]
async fn a_kms_that_fails_or_throttles_is_away() {
    for bytes in [
        answer!("500", ""),
        answer!("503", "<html>busy</html>"),
        answer!("400", r#"{"__type":"ThrottlingException","message":"Rate exceeded"}"#),
        answer!("400", r#"{"__type":"KMSInvalidStateException"}"#),
        answer!("429", ""),
        answer!("302", ""),
        b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"Plain",
    ] {
        let error = outcome(bytes).await;
        assert!(matches!(error, RootError::Away(_)), "{error}");
    }
}

#[tokio::test]
async fn a_kms_that_answers_garbage_is_found_out() {
    for bytes in [
        b"garbage\r\n\r\n".as_slice(),
        answer!("200", ""),
        answer!("200", "garbage"),
        answer!("200", "{}"),
        answer!("200", r#"{"Plaintext":"AAAA","CiphertextBlob":"%"}"#),
        answer!("418", "a teapot"),
    ] {
        let error = outcome(bytes).await;
        assert!(matches!(error, RootError::Garbage(_)), "{error}");
    }
}

#[tokio::test]
async fn a_kms_that_hangs_is_away_within_five_seconds() {
    let root = answering(b"").await;
    let begun = tokio::time::Instant::now();
    let key = key(7);
    let (wrap, unwrap) = tokio::join!(root.wrap(&CONTEXT, &key), root.unwrap(&CONTEXT, b"wrapped"));
    assert!(matches!(wrap, Err(RootError::Away(_))));
    assert!(matches!(unwrap, Err(RootError::Away(_))));
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn without_credentials_nobody_is_asked_and_the_sources_are_named() {
    let config = config("http://127.0.0.1:9", "alias/keyferry");
    let root = root(&config, &[("AWS_EC2_METADATA_DISABLED", "true")]);
    let error = root.wrap(&CONTEXT, &key(7)).await.expect_err("no credentials").to_string();
    assert!(error.contains("none in the environment"), "{error}");
}

#[test]
fn a_configuration_that_makes_no_root_names_the_value() {
    let good = config("https://kms.example", "alias/keyferry");
    let cases = [
        (AwsConfig { key_id: String::new(), ..good.clone() }, "key_id"),
        (AwsConfig { key_id: "a b".to_owned(), ..good.clone() }, "key_id"),
        (AwsConfig { region: String::new(), ..good.clone() }, "region"),
        (AwsConfig { region: "eu.evil.example/".to_owned(), ..good.clone() }, "region"),
        (AwsConfig { endpoint: Some("http://kms.example".to_owned()), ..good.clone() }, "endpoint"),
        (AwsConfig { ca: Some("/nonexistent/ca.pem".into()), ..good.clone() }, "ca"),
    ];
    let made = |config: &AwsConfig| Aws::new(config, Arc::new(SystemClock), Arc::new(|_: &str| None));
    assert!(made(&good).is_ok());
    assert!(made(&AwsConfig { endpoint: None, ..good.clone() }).is_ok());
    for (config, field) in cases {
        assert_eq!(made(&config).err().map(|error: AwsConfigError| error.field()), Some(field));
    }
}
