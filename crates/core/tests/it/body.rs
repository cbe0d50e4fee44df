//! A request's body has one reading or is refused.

use keyferry_core::body::{
    BodyRefused, ModelSpan, RequestFacts, multipart_model_span, read_json, read_multipart_model,
};
use proptest::prelude::*;

fn facts(model: Option<&str>, stream: bool) -> RequestFacts {
    RequestFacts { model: model.map(str::to_owned), stream }
}

#[test]
fn model_and_stream_are_read_from_the_top_level() {
    for (body, expected) in [
        (r#"{"model":"gpt-4.1","stream":true,"messages":[]}"#, facts(Some("gpt-4.1"), true)),
        (
            r#" {"messages":[{"model":"x","stream":true}],"model":"gpt\u002d4.1"} "#,
            facts(Some("gpt-4.1"), false),
        ),
        (r#"{"input":"\"model\":\"x\"","Model":"y"}"#, facts(None, false)),
        (r#"{"model":null,"stream":null}"#, facts(None, false)),
        ("{}", facts(None, false)),
    ] {
        assert_eq!(read_json(body.as_bytes()), Ok(expected), "{body}");
    }
}

#[test]
fn a_field_given_twice_is_refused() {
    for (body, field) in [
        (r#"{"model":"a","model":"b"}"#, "model"),
        (r#"{"model":"a","model":"a"}"#, "model"),
        (r#"{"model":null,"model":"b"}"#, "model"),
        (r#"{"model":"a","x":[1,{"y":2}],"mod\u0065l":"b"}"#, "model"),
        (r#"{"stream":false,"stream":true}"#, "stream"),
        (r#"{"stream":null,"stream":true}"#, "stream"),
    ] {
        assert_eq!(read_json(body.as_bytes()), Err(BodyRefused::Duplicate(field)), "{body}");
    }
}

#[test]
fn a_body_that_is_not_one_json_object_is_refused() {
    for body in [
        "",
        "{",
        "{}{}",
        "{} x",
        "{'a':1}",
        "{\"a\":1,}",
        "{\"a\":01}",
        "{\"a\":NaN}",
        "{\"a\" 1}",
        "\u{feff}{}",
        "{\"a\":\"\n\"}",
        "{\"a\":\"\\x\"}",
    ] {
        assert!(matches!(read_json(body.as_bytes()), Err(BodyRefused::NotJson { .. })), "{body:?}");
    }
    assert!(matches!(read_json(b"{\"a\":\"\xff\"}"), Err(BodyRefused::NotJson { .. })));
    for body in ["[]", "1", "null", "\"{}\"", "[{\"model\":\"a\"}]"] {
        assert_eq!(read_json(body.as_bytes()), Err(BodyRefused::NotAnObject), "{body}");
    }
}

#[test]
fn values_of_another_type_are_refused() {
    for value in ["1", "-1", "1.5", "true", "[\"a\"]", "{\"a\":\"b\"}"] {
        assert_eq!(
            read_json(format!("{{\"model\":{value}}}").as_bytes()),
            Err(BodyRefused::ModelNotText),
            "{value}"
        );
    }
    for value in ["1", "0", "\"true\"", "[]", "{}"] {
        assert_eq!(
            read_json(format!("{{\"stream\":{value}}}").as_bytes()),
            Err(BodyRefused::StreamNotBoolean),
            "{value}"
        );
    }
}

#[test]
fn a_model_has_at_most_256_characters() {
    let body = |chars| format!("{{\"model\":\"{}\"}}", "\u{e4}".repeat(chars));
    assert!(read_json(body(256).as_bytes()).is_ok());
    assert_eq!(read_json(body(257).as_bytes()), Err(BodyRefused::ModelTooLong));
}

#[test]
fn nesting_is_limited_whatever_the_brackets() {
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let body = |depth: usize| format!("{{\"x\":{}1{}}}", open.repeat(depth - 1), close.repeat(depth - 1));
        assert!(read_json(body(128).as_bytes()).is_ok());
        assert_eq!(read_json(body(129).as_bytes()), Err(BodyRefused::TooDeep));
        assert_eq!(read_json(body(300_000).as_bytes()), Err(BodyRefused::TooDeep));
    }
    // However far apart they stand.
    let spread = |depth: usize| {
        format!("{{\"x\":{}1{}}}", format!("[{:300}", "").repeat(depth - 1), "]".repeat(depth - 1))
    };
    assert!(read_json(spread(128).as_bytes()).is_ok());
    assert_eq!(read_json(spread(129).as_bytes()), Err(BodyRefused::TooDeep));
    let in_a_string = format!("{{\"x\":\"\\\"{}\"}}", "[".repeat(1000));
    assert!(read_json(in_a_string.as_bytes()).is_ok());
}

#[test]
fn a_refusal_does_not_quote_the_body() {
    let refused = read_json(br#"{"model": secret-word}"#).unwrap_err();
    assert!(!refused.to_string().contains("secret"), "{refused}");
}

const FORM: &str = "multipart/form-data; boundary=XyZ";

fn json_with_model(body: &[u8], model: &str) -> Option<Vec<u8>> {
    Some(ModelSpan::in_json(body)?.replace(body, model))
}

fn multipart_with_model(content_type: &str, body: &[u8], model: &str) -> Option<Vec<u8>> {
    Some(multipart_model_span(content_type, body)?.replace(body, model))
}

#[test]
fn another_model_is_put_in_its_place_and_nothing_else_changes() {
    for (before, after) in [
        (r#"{"model":"acme/gpt","n":1}"#, r#"{"model":"gpt","n":1}"#),
        ("{ \"model\" :\n \"acme\\/gpt\" }\r\n", "{ \"model\" :\n \"gpt\" }\r\n"),
        (r#"{"mod\u0065l":"acme/g\u0070t"}"#, r#"{"mod\u0065l":"gpt"}"#),
        (
            r#"{"x":[{"model":"acme/gpt"}],"y":"model","z":{"model":"q"},"t":"\"model\":\"q\"","model":"acme/gpt"}"#,
            r#"{"x":[{"model":"acme/gpt"}],"y":"model","z":{"model":"q"},"t":"\"model\":\"q\"","model":"gpt"}"#,
        ),
        (
            r#"{"a":1.50,"b":1e400,"model":"acme/gpt","c":"\ud83d\ude00"}"#,
            r#"{"a":1.50,"b":1e400,"model":"gpt","c":"\ud83d\ude00"}"#,
        ),
    ] {
        assert!(read_json(before.as_bytes()).is_ok(), "{before}");
        let changed = json_with_model(before.as_bytes(), "gpt").expect("it names one");
        assert_eq!(String::from_utf8_lossy(&changed), after);
    }
    let quoted = json_with_model(br#"{"model":"acme/x"}"#, "a\"b\\c\n").expect("it names one");
    assert_eq!(read_json(&quoted), Ok(facts(Some("a\"b\\c\n"), false)));
    for without in ["{}", r#"{"model":null}"#, r#"{"x":"model"}"#, r#"{"x":{"model":"a"}}"#] {
        assert_eq!(json_with_model(without.as_bytes(), "gpt"), None, "{without}");
    }
}

#[test]
fn another_model_is_put_into_a_form_and_nothing_else_changes() {
    let file = "--XyZ\r\nContent-Disposition: form-data; name=\"file\"; filename=\"model\"\r\n\r\nacme/gpt\0\r\nmodel\r\n".to_owned();
    let body = |model: &str| form(&[field("language", "acme/gpt"), field("model", model), file.clone()]);
    assert_eq!(read_multipart_model(FORM, &body("acme/gpt")), Ok(facts(Some("acme/gpt"), false)));
    assert_eq!(multipart_with_model(FORM, &body("acme/gpt"), "gpt"), Some(body("gpt")));
    assert_eq!(multipart_with_model(FORM, &body("acme/gpt"), "g\r\npt"), Some(body("gpt")));
    assert_eq!(multipart_with_model(FORM, &form(std::slice::from_ref(&file)), "gpt"), None);
    assert_eq!(multipart_with_model("application/json", &body("acme/gpt"), "gpt"), None);
}

fn field(name: &str, value: &str) -> String {
    format!("--XyZ\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
}

fn form(parts: &[String]) -> Vec<u8> {
    format!("{}--XyZ--\r\n", parts.concat()).into_bytes()
}

#[test]
fn the_model_of_a_form_is_read_past_its_file() {
    let file = "--XyZ\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a;\\\"b.mp3\"\r\nContent-Type: audio/mpeg\r\n\r\n\0\r\n--Xy\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nfake\r\n".to_owned();
    let body = form(&[file, field("model", "whisper-1"), field("stream", "True"), field("language", "de")]);
    assert_eq!(read_multipart_model(FORM, &body), Ok(facts(Some("whisper-1"), true)));
    assert_eq!(
        read_multipart_model("Multipart/Form-Data; charset=utf-8; boundary=\"XyZ\"", &body),
        Ok(facts(Some("whisper-1"), true))
    );
    assert_eq!(read_multipart_model(FORM, b"--XyZ--"), Ok(facts(None, false)));
}

#[test]
fn a_field_given_twice_in_a_form_is_refused() {
    let body = form(&[field("model", "a"), field("x", "y"), field("model", "b")]);
    assert_eq!(read_multipart_model(FORM, &body), Err(BodyRefused::Duplicate("model")));
    let body = form(&[field("stream", "true"), field("stream", "true")]);
    assert_eq!(read_multipart_model(FORM, &body), Err(BodyRefused::Duplicate("stream")));
}

#[test]
fn a_content_type_without_one_usable_boundary_is_refused() {
    let long = format!("multipart/form-data; boundary={}", "x".repeat(71));
    for content_type in [
        "multipart/form-data",
        "multipart/form-data;",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=XyZ; boundary=abc",
        "multipart/form-data; boundary=XyZ; Boundary=XyZ",
        "multipart/form-data; boundary=\"XyZ",
        "multipart/form-data; boundary=\"Xy\r\nZ\"",
        "multipart/form-data; boundary=\"XyZ\" x",
        "multipart/mixed; boundary=XyZ",
        "application/json",
        &long,
    ] {
        assert_eq!(
            read_multipart_model(content_type, b"--XyZ--"),
            Err(BodyRefused::NoBoundary),
            "{content_type}"
        );
    }
}

#[test]
fn a_malformed_form_is_refused() {
    for body in [
        "",
        "--XyZ",
        "preamble\r\n--XyZ--",
        "--XyZ\r\n",
        "--XyZ\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\na",
        "--XyZ\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\na\r\n--XyZ",
        "--XyZ\nContent-Disposition: form-data; name=\"model\"\n\na\n--XyZ--",
        "--XyZ\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\na\r\n--XyZabc\r\n--XyZ--",
        "--XyZ--\r\n--XyZ\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\na\r\n--XyZ--",
        "--XyZ\r\n\r\na\r\n--XyZ--",
        "--XyZ\r\nContent-Disposition: attachment; name=\"model\"\r\n\r\na\r\n--XyZ--",
        "--XyZ\r\nContent-Disposition: form-data\r\n\r\na\r\n--XyZ--",
        "--XyZ\r\nContent-Disposition: form-data; name=\"x\"; name=\"model\"\r\n\r\na\r\n--XyZ--",
        "--XyZ\r\nContent-Disposition: form-data;\r\n name=\"model\"\r\n\r\na\r\n--XyZ--",
        "--XyZ\r\nContent-Disposition: form-data; name=\"x\"\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\na\r\n--XyZ--",
        "--XyZ\r\nContent-Disposition: form-data; name*=utf-8''model\r\n\r\na\r\n--XyZ--",
        "--XyZ\r\nContent-Disposition: form-data; name=\"mod\\el\"\r\n\r\na\r\n--XyZ--",
        "--XyZ\r\nContent-Disposition: form-data; name=\"mod%65l\"\r\n\r\na\r\n--XyZ--",
    ] {
        assert!(read_multipart_model(FORM, body.as_bytes()).is_err(), "{body:?}");
    }
}

#[test]
fn a_model_that_is_a_file_or_encoded_or_no_text_is_refused() {
    for part in [
        "--XyZ\r\nContent-Disposition: form-data; name=\"model\"; filename=\"a\"\r\n\r\na\r\n",
        "--XyZ\r\nContent-Disposition: form-data; name=\"model\"\r\nContent-Transfer-Encoding: base64\r\n\r\nYQ==\r\n",
        "--XyZ\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\na\r\nb\r\n",
    ] {
        assert_eq!(
            read_multipart_model(FORM, &form(&[part.to_owned()])),
            Err(BodyRefused::ModelNotText),
            "{part:?}"
        );
    }
    assert_eq!(
        read_multipart_model(FORM, &form(&[field("stream", "1")])),
        Err(BodyRefused::StreamNotBoolean)
    );
    assert_eq!(
        read_multipart_model(FORM, &form(&[field("model", &"a".repeat(257))])),
        Err(BodyRefused::ModelTooLong)
    );
}

proptest! {
    #[test]
    fn what_is_accepted_is_what_a_full_parser_reads(body in r#"\{("(model|stream|x)":("[a-z\\"]{0,3}"|true|null|\[\]|\{\}|-?[0-9]{1,3}),?){0,3}\}"#) {
        if let Ok(facts) = read_json(body.as_bytes()) {
            let value: serde_json::Value = serde_json::from_str(&body).unwrap();
            prop_assert_eq!(value.get("model").and_then(serde_json::Value::as_str), facts.model.as_deref());
            prop_assert_eq!(value.get("stream").and_then(serde_json::Value::as_bool).unwrap_or(false), facts.stream);
        }
    }

    #[test]
    fn in_what_is_accepted_only_the_model_is_replaced(body in r#"\{("(model|mod\\u0065l|x)" ?: ?("(model|[a-z\\":]{0,3})"|null|\["model",\{"model":"m"\}\]|\{"model":"m"\}),?){0,3}\}"#) {
        if read_json(body.as_bytes()).is_ok_and(|facts| facts.model.is_some()) {
            let changed = json_with_model(body.as_bytes(), "o\"ther").expect("it names one");
            let mut value: serde_json::Value = serde_json::from_str(&body).unwrap();
            value["model"] = "o\"ther".into();
            prop_assert_eq!(serde_json::from_slice::<serde_json::Value>(&changed).unwrap(), value);
        }
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(content_type in ".{0,40}", body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = read_json(&body);
        let _ = json_with_model(&body, "m");
        let _ = read_multipart_model(&content_type, &body);
        let _ = read_multipart_model("multipart/form-data; boundary=-", &body);
    }
}
