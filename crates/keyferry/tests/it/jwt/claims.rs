//! Claims of somebody else, or of another shape.

use serde_json::json;

use super::Scene;
use crate::harness::{
    a_key,
    issuer::{AUDIENCE, ISSUER, header},
    now,
};

#[tokio::test]
async fn claims_of_somebody_else_or_of_another_shape_are_refused() {
    let scene = Scene::new().await;
    let other = scene.gateway.tenant_with_key("openai", &a_key("key-")).await.id;
    let mut tokens = Vec::new();
    for (name, changes) in [
        ("no aud", json!({"aud": null})),
        ("another aud", json!({"aud": "else"})),
        ("other auds", json!({"aud": ["else", "where"]})),
        ("no auds", json!({"aud": []})),
        ("aud is an object", json!({"aud": {"keyferry": 1}})),
        ("aud in another case", json!({"aud": "Keyferry"})),
        ("no iss", json!({"iss": null})),
        ("another iss", json!({"iss": "https://else.example"})),
        ("iss with a slash more", json!({"iss": format!("{ISSUER}/")})),
        ("iss is a list", json!({"iss": [ISSUER]})),
        ("no tenant", json!({"tenant": null})),
        ("another tenant", json!({"tenant": other})),
        ("a tenant that is not there", json!({"tenant": "nobody"})),
        ("tenant is a path", json!({"tenant": "../x"})),
        ("tenant is a list", json!({"tenant": [scene.tenant]})),
        ("no jti", json!({"jti": null})),
        ("an empty jti", json!({"jti": ""})),
        ("a long jti", json!({"jti": "j".repeat(256)})),
        ("a jti with NUL", json!({"jti": "the-id\0"})),
        ("jti is a number", json!({"jti": 7})),
        ("jti is a list", json!({"jti": ["the-id"]})),
        ("a long sub", json!({"sub": "s".repeat(256)})),
        ("sub with a line break", json!({"sub": "a\nb"})),
    ] {
        tokens.push((name, scene.claiming(&changes)));
    }
    let good = scene.claims("the-id", &json!({}));
    let open = good.trim_end_matches('}');
    for (name, twice) in [
        ("jti twice", format!("{open},\"jti\":\"else\"}}")),
        ("exp twice", format!("{open},\"exp\":{}}}", now() + 60)),
        ("tenant twice", format!("{open},\"tenant\":\"{other}\"}}")),
        ("aud twice", format!("{open},\"aud\":\"else\"}}")),
        ("jti twice, once in escapes", format!("{open},\"\\u006ati\":\"else\"}}")),
        ("not an object", "[]".to_owned()),
        (
            "a list in the order of the claims",
            json!([ISSUER, AUDIENCE, scene.tenant, now() + 60, null, now(), "the-id", "alice", null, null])
                .to_string(),
        ),
        ("a text", "\"x\"".to_owned()),
        ("two objects", format!("{good}{good}")),
        ("a comment", format!("{good}//")),
        ("nothing", String::new()),
    ] {
        tokens.push((name, scene.issuer.sign(&header().to_string(), &twice)));
    }
    scene.refuses(tokens).await;
    let many = scene.claims("many", &json!({"aud": ["else", AUDIENCE]}));
    scene.gateway.chat(&scene.issuer.sign(&header().to_string(), &many)).await.expect(200);
}
