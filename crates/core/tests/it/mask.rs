//! Keys do not leave in the texts that providers answer with.

use std::borrow::Cow;

use base64::{Engine, engine::general_purpose::STANDARD};
use keyferry_core::mask::scrub;
use proptest::prelude::*;

const KEY: &str = "sk-proj-Ab3dEf6hIjKlMn0pQrStUvWxYz12";

fn scrubbed(text: &str, key: Option<&str>) -> String {
    String::from_utf8(scrub(text.as_bytes(), key.map(str::as_bytes)).into_owned()).expect("UTF-8 stays UTF-8")
}

#[test]
fn the_key_itself_is_masked() {
    let text = format!("{{\"message\":\"Incorrect API key provided: {KEY}. You can find your key\"}}");
    assert_eq!(
        scrubbed(&text, Some(KEY)),
        "{\"message\":\"Incorrect API key provided: [redacted]. You can find your key\"}"
    );
}

#[test]
fn a_starred_echo_is_masked_whole() {
    for echo in ["sk-proj-****************Yz12", "sk-proj-Ab3d************", "****Ab3dEf6hI****"] {
        assert_eq!(scrubbed(&format!("key {echo} is bad"), Some(KEY)), "key [redacted] is bad", "{echo}");
    }
    assert_eq!(scrubbed("key sk-proj-************Yz12.", None), "key [redacted].");
    assert_eq!(scrubbed("key sk-ab******yz12.", None), "key [redacted].");
}

#[test]
fn a_part_of_the_key_is_masked_from_eight_bytes_on() {
    assert_eq!(scrubbed("'hIjKlMn0'", Some(KEY)), "'[redacted]'");
    assert_eq!(scrubbed("'hIjKlMn'", Some(KEY)), "'hIjKlMn'");
}

#[test]
fn a_key_with_no_known_prefix_is_masked_when_it_was_the_one_used() {
    let key = "0123456789abcdef0123456789abcdef";
    assert_eq!(scrubbed(&format!("bad key {key}"), Some(key)), "bad key [redacted]");
}

#[test]
fn encoded_forms_of_the_key_are_masked() {
    let key = "sk-proj-Ab3d/Ef6h+IjKlMn0pQrStUvWxYz12==";
    let percent = key.bytes().map(|byte| format!("%{byte:02X}")).collect::<Vec<_>>().concat();
    let minimal = key.replace('/', "%2F").replace('+', "%2B").replace('=', "%3D");
    let unicode = key.bytes().map(|byte| format!("\\u{byte:04x}")).collect::<Vec<_>>().concat();
    for form in [percent, minimal, unicode, key.replace('/', "\\/")] {
        let out = scrubbed(&format!("<{form}>"), Some(key));
        assert!(out.starts_with("<[redacted]") && out.len() < 20, "{form} gave {out}");
    }
    for before in ["", "x", "xy", "user:"] {
        let encoded = STANDARD.encode(format!("{before}{KEY}"));
        let out = scrubbed(&format!("Basic {encoded} sent"), Some(KEY));
        assert!(out.contains("[redacted]") && !out.contains(&encoded[12..40]), "{out}");
    }
}

#[test]
fn other_keys_are_known_by_how_they_begin() {
    for key in [
        "sk-ant-api03-abcdefgh",
        "sk-proj-abcdefgh",
        "sk-svcacct-abcdefgh",
        "sk-admin-abcdefgh",
        "sk-or-v1-abcdefgh",
        "sk-kf-tok-abcdefgh",
        "sk-abcdefgh",
        "AIzaSyA-abcdefgh",
        "gsk_abcdefgh",
        "xai-abcdefgh",
        "AQ.Ab8RN6abcdefgh",
    ] {
        for (before, after) in [("", ""), ("key=", "&x=1"), ("\\n", "\\n"), ("'", "'."), ("key%3D", "%26")] {
            assert_eq!(
                scrubbed(&format!("{before}{key}{after}"), None),
                format!("{before}[redacted]{after}"),
                "{before}{key}{after}"
            );
        }
    }
}

#[test]
fn bearer_tokens_are_masked() {
    assert_eq!(
        scrubbed("Authorization: Bearer eyJhbGciOi.J9+/x==", None),
        "Authorization: Bearer [redacted]"
    );
    assert_eq!(scrubbed("bearer abcdefghijklmnopqrstuvwxyz", None), "bearer [redacted]");
    for words in ["Bearer authentication is required", "Use a Bearer token.", "Bearer <token>", "Bearer"] {
        assert_eq!(scrubbed(words, None), words);
    }
}

#[test]
fn ordinary_words_stay_and_nothing_is_copied() {
    for text in [
        "sk- is how keys begin; sk-proj- and sk-svcacct- too",
        "the task-force is risk-based, disk-encryption-utilities aside",
        "The model `gpt-4.1-mini-2025-04-14` does not exist, nor claude-haiku-4-5-20251001 or gemini-2.5-flash",
        "xai-org/grok-1, text-embedding-3-small",
        "{\"error\":{\"message\":\"100% of\\nyour \\u00e4pfel\",\"code\":null}}",
        "",
        "%",
        "\\",
        "\\u12",
    ] {
        assert!(matches!(scrub(text.as_bytes(), None), Cow::Borrowed(_)), "{text}");
        assert!(
            matches!(scrub(text.as_bytes(), Some(b"0f1e2d3c4b5a69788796a5b4")), Cow::Borrowed(_)),
            "{text}"
        );
    }
}

#[test]
fn a_short_key_masks_no_words() {
    assert_eq!(scrubbed("this is a test", Some("test")), "this is a test");
    assert_eq!(scrubbed("text", Some("")), "text");
}

#[test]
fn a_number_with_a_sign_within_stays_a_number() {
    for (text, expected) in
        [("[12345678e+5]", "[0]"), ("[1E+12345678, 2]", "[0, 2]"), ("{\"n\": -1.5e+12345678}", "{\"n\": 0}")]
    {
        assert_eq!(scrubbed(text, Some("12345678")), expected);
    }
}

#[test]
fn a_number_that_is_part_of_a_key_stays_a_number() {
    let out = scrubbed(r#"{"code":1234567890,"n":-1234567890.5}"#, Some("ab1234567890cd"));
    assert_eq!(out, r#"{"code":0,"n":0}"#);
}

#[test]
fn an_escape_beside_a_key_is_left_whole() {
    let text = r#"{"m":"\u00e9sk-proj-abcdefgh\tsk-proj-abcdefgh\\sk-proj-abcdefgh\""}"#;
    assert_eq!(scrubbed(text, None), r#"{"m":"\u00e9[redacted]\t[redacted]\\[redacted]\""}"#);
}

fn key() -> impl Strategy<Value = String> {
    prop_oneof![
        "sk-proj-[A-Za-z0-9_-]{8,60}",
        "[A-Za-z0-9_/+=.-]{8,60}",
        "[nrtu0-9a-f%\\\\]{8,30}",
        "AIza[A-Za-z0-9_-]{35}"
    ]
}

/// Texts with parts of the key between other things.
fn text_about(key: &str) -> impl Strategy<Value = String> + use<> {
    let key = key.to_owned();
    let len = key.len();
    let piece = prop_oneof![
        (0..len, 0..=len).prop_map(move |(a, b)| key.get(a.min(b)..a.max(b)).unwrap_or_default().to_owned()),
        "[ -~]{0,6}",
        Just("\\n".to_owned()),
        Just("\\u0041".to_owned()),
        Just("%41".to_owned()),
        Just("Bearer ".to_owned()),
        Just("****".to_owned()),
    ];
    proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn no_eight_bytes_of_the_key_are_left((key, text) in key().prop_flat_map(|key| { let text = text_about(&key); (Just(key), text) })) {
        let out = scrub(text.as_bytes(), Some(key.as_bytes()));
        for window in key.as_bytes().windows(8) {
            prop_assert!(memchr::memmem::find(&out, window).is_none(), "{key:?} in {text:?} gave {out:?}");
        }
        prop_assert!(out.len() <= text.len() + text.len() / 4 + 1, "{} became {}", text.len(), out.len());
    }

    #[test]
    fn json_stays_json((key, text) in "[A-Za-z0-9_.-]{8,40}".prop_flat_map(|key| { let text = text_about(&key); (Just(key), text) }), number in any::<i64>()) {
        let body = serde_json::json!({ "error": { "message": text, "n": number, &text: [number, null, true] } }).to_string();
        let out = scrub(body.as_bytes(), Some(key.as_bytes()));
        prop_assert!(serde_json::from_slice::<serde_json::Value>(&out).is_ok(), "{}", String::from_utf8_lossy(&out));
    }

    #[test]
    fn scrubbing_twice_changes_nothing_more(text in "[ -~]{0,80}") {
        let once = scrub(text.as_bytes(), None).into_owned();
        let twice = scrub(&once, None);
        prop_assert_eq!(&*twice, &*once);
    }

    #[test]
    fn any_bytes_pass(text in proptest::collection::vec(any::<u8>(), 0..200), key in proptest::collection::vec(any::<u8>(), 0..40)) {
        let _ = scrub(&text, Some(&key));
    }
}
