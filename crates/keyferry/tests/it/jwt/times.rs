//! The claims of time: over, to come, too far apart, or no time at all.

use serde_json::json;

use super::Scene;
use crate::harness::{issuer::header, now};

#[tokio::test]
async fn times_that_are_over_to_come_or_no_times_are_refused() {
    let scene = Scene::new().await;
    let now = now();
    let mut tokens = Vec::new();
    for (name, changes) in [
        ("over", json!({"exp": now - 31})),
        ("long over", json!({"exp": 1})),
        ("no exp", json!({"exp": null})),
        ("exp is a text", json!({"exp": (now + 120).to_string()})),
        ("exp is a fraction", json!({"exp": now as f64 + 120.5})),
        ("exp is negative", json!({"exp": -1})),
        ("exp is a list", json!({"exp": [now + 120]})),
        ("exp is true", json!({"exp": true})),
        ("lives for more than an hour", json!({"exp": now + 3600 + 60})),
        ("lives for ever", json!({"exp": 4_102_444_800_i64})),
        ("lives for more than an hour since it was issued", json!({"iat": now - 3590, "exp": now + 60})),
        ("exp before iat", json!({"iat": now + 20, "exp": now + 10})),
        ("not yet", json!({"nbf": now + 90})),
        ("nbf is a text", json!({"nbf": "0"})),
        ("nbf is negative", json!({"nbf": -5})),
        ("issued later", json!({"iat": now + 90})),
        ("iat is a text", json!({"iat": now.to_string()})),
        ("iat is a fraction", json!({"iat": 1.5})),
    ] {
        tokens.push((name, scene.claiming(&changes)));
    }
    for exp in [
        "1e300",
        "1e10",
        "99999999999999999999999",
        "9223372036854775807",
        "18446744073709551615",
        "NaN",
        "-0.0",
    ] {
        let text = scene.claims("the-id", &json!({"exp": 0})).replace("\"exp\":0", &format!("\"exp\":{exp}"));
        tokens.push((exp, scene.issuer.sign(&header().to_string(), &text)));
    }
    // `null` is not the same as nothing.
    for claim in ["nbf", "iat", "exp", "sub", "req_hash"] {
        let text = scene
            .claims("the-id", &json!({claim: 0}))
            .replace(&format!("\"{claim}\":0"), &format!("\"{claim}\":null"));
        assert!(text.contains("null"), "{text}");
        tokens.push((claim, scene.issuer.sign(&header().to_string(), &text)));
    }
    scene.refuses(tokens).await;
    // Within the half minute that two clocks may differ.
    for (jti, changes) in [
        ("late", json!({"exp": now - 10, "iat": now - 60})),
        ("early", json!({"nbf": now + 20, "iat": now + 20})),
        ("no iat", json!({"iat": null})),
        ("an hour", json!({"exp": now + 3600, "iat": now})),
    ] {
        let token = scene.issuer.sign(&header().to_string(), &scene.claims(jti, &changes));
        assert_eq!(scene.gateway.chat(&token).await.status(), 200, "{jti}");
    }
}
