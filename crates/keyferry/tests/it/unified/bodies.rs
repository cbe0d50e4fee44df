//! Of a body only the value of `model` changes.

use aws_lc_rs::digest;
use serde_json::json;

use super::{CHAT, FORM, Scene, recording};
use crate::harness::{
    Issuer,
    issuer::{claims, header},
};

const JSON: &str = "application/json";

#[tokio::test]
async fn every_other_byte_passes_as_it_came() {
    let scene = Scene::start("").await;
    let (someone, _) = scene.tenant_with("one", ["acme"]).await;
    let large = "text with \\\"model\\\": \\\"acme/m\\\" in it \\u00e9\\ud83d\\ude00 ".repeat(80_000);
    for (sent, expected) in [
        // Escapes, in the name of the field too.
        (r#"{"model":"acme\/m\u006fd"}"#.to_owned(), r#"{"model":"mod"}"#.to_owned()),
        (r#"{"mod\u0065l" : "acme/m"}"#.to_owned(), r#"{"mod\u0065l" : "m"}"#.to_owned()),
        // Nested ones are somebody else's.
        (
            r#"{"tools":[{"model":"acme/m"}],"a":"model","b":{"model":"acme/m"},"model":"acme/m"}"#
                .to_owned(),
            r#"{"tools":[{"model":"acme/m"}],"a":"model","b":{"model":"acme/m"},"model":"m"}"#.to_owned(),
        ),
        // At the end of a large body, with numbers that no reader keeps.
        (
            format!("{{\"n\":1.0e+2,\"x\":\"{large}\",\"model\":\"acme/m\"}}\n"),
            format!("{{\"n\":1.0e+2,\"x\":\"{large}\",\"model\":\"m\"}}\n"),
        ),
        // A name that needs escapes of its own.
        (r#"{"model":"acme/a\"b\\cé"}"#.to_owned(), r#"{"model":"a\"b\\cé"}"#.to_owned()),
    ] {
        scene.send(&someone, CHAT, JSON, sent.as_bytes()).await.expect(200);
        let seen = scene.provider.last();
        assert!(seen.body == expected.as_bytes(), "{:.200}", String::from_utf8_lossy(&seen.body));
        assert_eq!(seen.header("content-length"), expected.len().to_string());
    }
}

#[tokio::test]
async fn a_body_with_two_readings_is_refused_and_one_without_a_model_too() {
    let scene = Scene::start("").await;
    let (someone, _) = scene.tenant_with("one", ["openai"]).await;
    for body in [
        r#"{"model":"openai/a","model":"openai/b"}"#,
        r#"{"model":"openai/a","mod\u0065l":"openai/b"}"#,
        r#"{"model":7}"#,
        r#"{"model":null}"#,
        r#"{"messages":[]}"#,
        r#"[{"model":"openai/a"}]"#,
        "",
    ] {
        scene.send(&someone, CHAT, JSON, body.as_bytes()).await.refused(400, "invalid_request");
    }
    let twice = [
        &recording("openai/a")[..0],
        b"--XyZ\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nopenai/b\r\n",
        &recording("openai/a"),
    ]
    .concat();
    let path = "/v1/audio/transcriptions";
    scene.send(&someone, path, FORM, &twice).await.refused(400, "invalid_request");
    let nameless = b"--XyZ\r\nContent-Disposition: form-data; name=\"language\"\r\n\r\nde\r\n--XyZ--\r\n";
    scene.send(&someone, path, FORM, nameless).await.refused(400, "invalid_request");
    assert_eq!((scene.provider.count(), scene.used(&someone).await), (0, 0));
}

#[tokio::test]
async fn the_hash_of_a_jwt_is_over_the_body_as_the_client_sent_it() {
    let scene = Scene::start("").await;
    let (someone, _) = scene.tenant_with("one", ["openai"]).await;
    let issuer = Issuer::new();
    issuer.register(&scene.gateway, &someone.id).await;
    let (sent, forwarded) =
        (json!({"model": "openai/m", "messages": []}), json!({"model": "m", "messages": []}));
    let ask = async |jti: &str, hashed: &str| {
        let hash =
            data_encoding::HEXLOWER.encode(digest::digest(&digest::SHA256, hashed.as_bytes()).as_ref());
        let mut claims = claims(&someone.id, jti);
        claims["req_hash"] = json!(format!("sha256:{hash}"));
        let token = issuer.sign(&header().to_string(), &claims.to_string());
        scene.gateway.post(&token, CHAT, &[], &sent).await
    };
    ask("sent", &sent.to_string()).await.expect(200);
    assert_eq!(scene.provider.last().json(), forwarded);
    ask("sent", &sent.to_string()).await.refused(409, "BYOK_REPLAY_DETECTED");
    ask("forwarded", &forwarded.to_string()).await.refused(400, "BYOK_HASH_MISMATCH");
    assert_eq!(scene.provider.count(), 1);
}
