//! Every operation of the OpenAPI document, asked by everybody: none answers a key.

use serde_json::{Value, json};

use super::Waters;
use crate::harness::{Issuer, OPERATOR};

const OPENAPI: &str = include_str!("../../../src/admin/openapi.json");

/// `METHOD /path` of every operation of the control plane, without ids in it. Those that take
/// something away come last.
fn operations() -> Vec<(String, String)> {
    let document: Value = serde_json::from_str(OPENAPI).expect("JSON");
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        let surface = ["/openai/", "/anthropic/", "/gemini/"].iter().any(|name| path.starts_with(name));
        if !surface {
            found.extend(
                item.as_object().expect("a path item").keys().map(|verb| (verb.to_uppercase(), path.clone())),
            );
        }
    }
    found.sort_by_key(|(verb, path)| (verb == "DELETE", std::cmp::Reverse(path.len())));
    assert!(found.len() > 20, "the document was not read: {found:?}");
    found
}

#[tokio::test]
async fn no_operation_of_the_document_answers_a_key() {
    let waters = Waters::open().await;
    let tenant = waters.tenant.clone();
    let issuer = Issuer::new().register(&waters.gateway, &tenant.id).await;
    let tokens =
        waters.gateway.operator("GET", &format!("/tenants/{}/tokens", tenant.id), &Value::Null).await;
    let token = tokens.json()["data"][0]["id"].as_str().expect("an id").to_owned();
    let rotate = format!("/tenants/{}/credentials/{}/rotate", tenant.id, tenant.credential_id);
    for _ in 0..2 {
        let body = json!({"api_key": waters.key("rotated"), "overlap_seconds": 3600});
        waters.gateway.operator("POST", &rotate, &body).await.expect(200);
    }
    waters.gateway.chat(&tenant.caller_token).await.expect(200);
    waters.gateway.usage_row(&tenant.id, 1).await;
    let who = [
        ("nobody", String::new()),
        ("a caller", tenant.caller_token.clone()),
        ("an admin", tenant.admin_token.clone()),
        ("the operator", OPERATOR.to_owned()),
    ];
    let mut answered = 0;
    for (verb, path) in operations() {
        let concrete = path
            .replace("{tenant}", &tenant.id)
            .replace("{credential}", &tenant.credential_id)
            .replace("{token}", &token)
            .replace("{issuer}", &issuer);
        for (name, token) in &who {
            for query in [
                "",
                "?limit=1000",
                "?format=jsonl",
                "?format=csv",
                "?include=api_key",
                "?fields=api_key,envelope",
            ] {
                let way = format!("{verb} {path}{query} by {name}");
                let bearer = format!("Bearer {token}");
                let body = match verb.as_str() {
                    "POST" if path.ends_with("/rotate") => json!({"api_key": waters.key(&way)}).to_string(),
                    "POST" if path.ends_with("/credentials") => {
                        json!({"provider": "gemini", "label": way, "api_key": waters.key(&way)}).to_string()
                    }
                    "POST" if path.ends_with("/keys/test") => json!({"provider": "openai"}).to_string(),
                    "POST" | "PATCH" => "{}".to_owned(),
                    _ => String::new(),
                };
                let headers = [
                    ("authorization", bearer.as_str()),
                    ("content-type", "application/json"),
                    ("x-byok-key", &waters.key(&way)),
                ];
                let answer = waters.ask(&way, &format!("{verb} {concrete}{query}"), &headers, &body).await;
                answered += usize::from(answer.starts_with(b"HTTP/1.1 20"));
            }
        }
    }
    assert!(answered > 40, "hardly anything was answered: {answered}");
    waters.assert_clean().await;
}
