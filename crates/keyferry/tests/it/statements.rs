//! Statements of the security checklist that belong to no other topic here.

use serde_json::{Value, json};

use crate::{
    harness::{Connection, Database, Gateway, Options, Provider, a_key},
    ingress::UNLIMITED,
};

const CHAT: &str = "/openai/v1/chat/completions";

#[tokio::test]
async fn a_character_that_could_end_or_bend_a_header_is_refused_wherever_a_key_comes_in() {
    let provider = Provider::right().await;
    let gateway = Gateway::start(Options::to(&provider).yaml(UNLIMITED)).await;
    let tenant = gateway.tenant_with_key("openai", &a_key("sk-held-")).await;
    let credentials = format!("/tenants/{}/credentials", tenant.id);
    let rotate = format!("{credentials}/{}/rotate", tenant.credential_id);
    let odd = (0..=0x20).chain([0x7f, 0x80, 0x85, 0xa0, 0xe9, 0x0130, 0x2028, 0x3000, 0xff1a, 0x1f511]);
    for c in odd.filter_map(char::from_u32) {
        let plain = a_key("sk-");
        for key in
            [format!("{}{c}{}", &plain[..12], &plain[12..]), format!("{plain}{c}"), format!("{c}{plain}")]
        {
            let body = json!({"provider": "gemini", "api_key": key});
            let stored = gateway.operator("POST", &credentials, &body).await;
            assert_eq!((stored.status(), stored.code().as_str()), (400, "invalid_request"), "stored: {c:?}");
            let rotated = gateway.operator("POST", &rotate, &json!({"api_key": key})).await;
            assert_eq!(
                (rotated.status(), rotated.code().as_str()),
                (400, "invalid_request"),
                "rotated: {c:?}"
            );
            // Inside of JSON inside of a header the character is an escape.
            let map = format!("{{\"openai\": {}}}", escaped(&key));
            let carried = gateway
                .post(&tenant.caller_token, CHAT, &[("x-byok-keys", &map)], &json!({"model": "m"}))
                .await;
            assert_eq!(
                (carried.status(), carried.code().as_str()),
                (400, "invalid_request"),
                "carried: {c:?}"
            );
        }
    }
    let list = gateway.operator("GET", &credentials, &Value::Null).await.json();
    assert_eq!((&list["data"][0]["version"], list["data"].as_array().map(Vec::len)), (&json!(1), Some(1)));
    assert_eq!(provider.count(), 0);
}

/// A JSON text in visible ASCII.
fn escaped(text: &str) -> String {
    let mut units = [0; 2];
    let escape =
        |c: char| c.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")).collect::<String>();
    format!("\"{}\"", text.chars().map(escape).collect::<String>())
}

#[tokio::test]
async fn a_byte_that_could_end_or_bend_a_header_is_refused_in_every_header_a_key_comes_in() {
    let provider = Provider::right().await;
    let gateway = Gateway::start(Options::to(&provider).yaml(UNLIMITED)).await;
    let tenant = gateway.tenant_with_key("openai", &a_key("sk-held-")).await;
    let token = &tenant.caller_token;
    // A line feed is left out: it ends the field, so what follows is another one.
    let bytes =
        (0..=0x20_u8).chain(0x7f..=0x82).chain([0xa0, 0xe9, 0xfe, 0xff]).filter(|byte| *byte != b'\n');
    for byte in bytes {
        let key = a_key("sk-");
        let bent = [&key.as_bytes()[..12], &[byte], &key.as_bytes()[12..]].concat();
        for (before, target) in [
            (format!("authorization: Bearer {token}\r\nx-byok-key: "), CHAT),
            (format!("x-keyferry-token: {token}\r\nauthorization: Bearer "), CHAT),
            (format!("authorization: Bearer {token}\r\nx-byok-key: "), "/api/v1/keys/test"),
        ] {
            let body = r#"{"model":"m"}"#;
            let body = if target == CHAT { body } else { r#"{"provider":"openai"}"# };
            let head = format!(
                "POST {target} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n{before}",
                body.len()
            );
            let mut connection = Connection::open(gateway.port()).await;
            connection.send(&[head.as_bytes(), &bent, b"\r\n\r\n", body.as_bytes()].concat()).await;
            let reply = connection.reply().await;
            assert_eq!(
                (reply.status(), reply.code().as_str()),
                (400, "invalid_request"),
                "{byte:#x} at {target}"
            );
            assert!(!reply.text().contains(&key[12..]), "{}", reply.text());
        }
    }
    assert_eq!(provider.count(), 0);
}

#[tokio::test]
async fn the_log_names_the_operation_and_neither_path_nor_query() {
    let provider = Provider::right().await;
    let gateway = Gateway::before(&provider).await;
    let tenant = gateway.tenant_with_key("openai", &a_key("sk-")).await;
    let bearer = format!("Bearer {}", tenant.caller_token);
    for (target, pieces) in [
        ("/openai/v1/models/ft-marker-of-the-path", &["marker-of-the-path"][..]),
        ("/openai/v1/files?after=marker-of-the-query&limit=7", &["marker-of-the-query", "after=", "limit=7"]),
        ("/openai/v1/marker-of-nowhere?after=marker-of-nothing", &["marker-of-nowhere", "marker-of-nothing"]),
        ("/marker-of-no-provider/v1/models", &["marker-of-no-provider"]),
    ] {
        let url = format!("{}{target}", gateway.url());
        crate::harness::request("GET", &url, &[("authorization", &bearer)], b"").await;
        for piece in pieces {
            assert!(!gateway.log().contains(piece), "{target}: {piece} stands in the log");
        }
    }
    gateway.usage_row(&tenant.id, 2).await;
    for operation in ["models.get", "files.list"] {
        gateway.logged(&["request_served", &format!("\"operation\":\"{operation}\"")]).await;
    }
}

#[tokio::test]
async fn over_http2_no_header_is_kept_for_the_next_request() {
    let provider = Provider::right().await;
    let gateway = Gateway::before(&provider).await;
    let mut connection = Connection::open(gateway.port()).await;
    // The preface and an empty SETTINGS frame.
    connection.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
    let mut frame = connection.bytes(9).await;
    let length = usize::from(frame[1]) << 8 | usize::from(frame[2]);
    assert_eq!((frame[0], frame[3]), (0, 4), "the first frame is SETTINGS");
    frame = connection.bytes(length).await;
    let tables: Vec<&[u8]> = frame.chunks(6).filter(|setting| setting[..2] == [0, 1]).collect();
    assert_eq!(tables, [&[0, 1, 0, 0, 0, 0][..]], "SETTINGS_HEADER_TABLE_SIZE is 0: {frame:?}");
}

#[tokio::test]
async fn a_destroyed_version_that_is_put_back_beside_its_successor_is_not_used() {
    let provider = Provider::right().await;
    let gateway = Gateway::start(Options::to(&provider).yaml(UNLIMITED)).await;
    let old = a_key("sk-old-");
    let tenant = gateway.tenant_with_key("openai", &old).await;
    let mut database = Database::open(&gateway.database()).await;
    database.run("CREATE TABLE yesterday AS SELECT * FROM credential_versions", &[]).await;
    let itself = format!("/tenants/{}", tenant.id);
    let credential = format!("{itself}/credentials/{}", tenant.credential_id);
    let new = a_key("sk-new-");
    gateway.operator("POST", &format!("{credential}/rotate"), &json!({"api_key": new})).await.expect(200);
    assert_eq!(database.run("INSERT INTO credential_versions SELECT * FROM yesterday", &[]).await, 1);
    gateway.operator("PATCH", &itself, &json!({"name": "read again"})).await.expect(200);
    gateway.chat(&tenant.caller_token).await.expect(200);
    assert_eq!(provider.last().header("authorization"), format!("Bearer {new}"));

    // Under the number of its successor it does not open.
    database.run("DELETE FROM credential_versions WHERE version = 2", &[]).await;
    database.run("UPDATE credential_versions SET version = 2", &[]).await;
    gateway.operator("PATCH", &itself, &json!({"name": "read again"})).await.expect(200);
    gateway.chat(&tenant.caller_token).await.refused(503, "BYOK_SERVICE_UNAVAILABLE");

    // Of a credential that was revoked, it is not looked for.
    gateway.operator("DELETE", &credential, &Value::Null).await.expect(204);
    database.run("INSERT INTO credential_versions SELECT * FROM yesterday", &[]).await;
    gateway.operator("PATCH", &itself, &json!({"name": "read again"})).await.expect(200);
    gateway.chat(&tenant.caller_token).await.refused(404, "BYOK_KEY_NOT_FOUND");
    assert_eq!(provider.count(), 1);
}
