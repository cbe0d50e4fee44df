//! Keys lost on the control plane.

use serde_json::{Value, json};

use super::{Waters, random};
use crate::harness::OPERATOR;

/// Each route that takes a body, and bodies that are right but for a key in them. `{t}` is a tenant, `{c}` a
/// credential, `UNIQUE` a name that was not used before.
const ROUTES: [(&str, &[&str]); 9] = [
    (
        "POST /tenants",
        &[
            r#"{"id": "KEY"}"#,
            r#"{"id": "new-1", "name": "KEY"}"#,
            r#"{"id": "new-2", "tier": "KEY"}"#,
            r#"{"id": "new-3", "byok_enabled": "KEY"}"#,
            r#"{"id": "new-4", "daily_quota": "KEY"}"#,
            r#"{"id": "new-5", "fallback": {"KEY": true}}"#,
            r#"{"id": "new-6", "fallback": "KEY"}"#,
            r#"{"id": "new-7", "budget_period": "KEY"}"#,
        ],
    ),
    (
        "PATCH /tenants/{t}",
        &[
            r#"{"name": "KEY"}"#,
            r#"{"tier": "KEY"}"#,
            r#"{"budget_micro_usd": "KEY"}"#,
            r#"{"fallback": {"missing": "KEY"}}"#,
        ],
    ),
    (
        "POST /tenants/{t}/credentials",
        &[
            r#"{"provider": "openai", "label": "KEY", "api_key": "KEY"}"#,
            r#"{"provider": "openai", "label": "my KEY", "api_key": "KEY"}"#,
            r#"{"provider": "KEY", "api_key": "KEY"}"#,
            r#"{"provider": "openai", "label": "KEY"}"#,
            r#"{"provider": "openai", "label": "KEY", "api_key": "sk-other-0123456789"}"#,
            r#"{"provider": "openai", "api_key": ["KEY"]}"#,
            r#"{"provider": "openai", "api_key": {"KEY": "KEY"}}"#,
            r#"{"provider": "openai", "sealed_key": "KEY"}"#,
            r#"{"provider": "openai", "api_key": "KEY", "sealed_key": "KEY"}"#,
            r#"{"provider": "openai", "api_key": "KEY KEY"}"#,
            r#"{"provider": "openai", "api_key": "KEY\n"}"#,
            r#"{"provider": "openai", "api_key": "KEY\u0041"}"#,
            r#"{"provider": "openai", "key": "KEY"}"#,
            r#"{"provider": ["KEY"], "api_key": "KEY"}"#,
            r#"{"api_key": "KEY"}"#,
        ],
    ),
    (
        "POST /tenants/{t}/credentials/{c}/rotate",
        &[
            r#"{"api_key": ["KEY"]}"#,
            r#"{"api_key": "KEY", "overlap_seconds": "KEY"}"#,
            r#"{"sealed_key": "KEY"}"#,
            r#"{"new_key": "KEY"}"#,
            r#"{"api_key": "KEY KEY"}"#,
            r#"{"api_key": "KEY", "overlap_seconds": -1}"#,
        ],
    ),
    ("POST /tenants/{t}/credentials/{c}/test", &[r#"{"api_key": "KEY"}"#]),
    (
        "POST /tenants/{t}/tokens",
        &[
            r#"{"role": "KEY"}"#,
            r#"{"role": "caller", "name": "KEY"}"#,
            r#"{"role": "caller", "models": ["KEY"]}"#,
            r#"{"role": "caller", "models": "KEY"}"#,
            r#"{"role": "caller", "expires_at": "KEY"}"#,
            r#"{"role": "caller", "rate": "KEY"}"#,
            r#"{"role": "caller", "token": "KEY"}"#,
        ],
    ),
    (
        "POST /tenants/{t}/issuers",
        &[
            r#"{"issuer": "KEY", "audience": "a", "algorithm": "ES256", "jwks_url": "https://keys.example/x.json"}"#,
            r#"{"issuer": "UNIQUE", "audience": "KEY", "algorithm": "ES256", "jwks_url": "https://keys.example/x.json"}"#,
            r#"{"issuer": "UNIQUE", "audience": "a", "algorithm": "KEY", "jwks_url": "https://keys.example/x.json"}"#,
            r#"{"issuer": "UNIQUE", "audience": "a", "algorithm": "ES256", "jwks_url": "https://KEY@keys.example/"}"#,
            r#"{"issuer": "UNIQUE", "audience": "a", "algorithm": "ES256", "jwks_url": "https://keys.example/KEY"}"#,
            r#"{"issuer": "UNIQUE", "audience": "a", "algorithm": "ES256", "jwks_url": "KEY"}"#,
            r#"{"issuer": "UNIQUE", "audience": "a", "algorithm": "ES256", "jwks": {"keys": [{"kty": "oct", "k": "KEY"}]}}"#,
            r#"{"issuer": "UNIQUE", "audience": "a", "algorithm": "ES256", "jwks": {"keys": [{"kty": "KEY"}]}}"#,
            r#"{"issuer": "UNIQUE", "audience": "a", "algorithm": "ES256", "jwks": "KEY"}"#,
            r#"{"issuer": "UNIQUE", "audience": "a", "algorithm": "EdDSA", "jwks": {"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "KEY", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}}"#,
            r#"{"issuer": "UNIQUE", "audience": "a", "algorithm": "EdDSA", "jwks": {"api_key": "KEY", "keys": [{"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}}"#,
        ],
    ),
    (
        "POST /keys/test",
        &[
            r#"{"provider": "KEY"}"#,
            r#"{"provider": "openai", "api_key": "KEY"}"#,
            r#"{"provider": {"KEY": 1}}"#,
        ],
    ),
    ("POST /keys/cache", &[r#"{"provider": "KEY"}"#]),
];

/// Bodies that are wrong on every route.
const WRONG: [&str; 9] = [
    "KEY",
    "\"KEY\"",
    "[\"KEY\"]",
    "{\"api_key\": \"KEY",
    "{\"KEY\": 1}",
    "{\"api_key\": KEY}",
    "{\"api_key\": \"KEY\"} KEY",
    "{'api_key': 'KEY'}",
    "api_key=KEY",
];

/// Addresses with a key in them.
const ADDRESSES: [&str; 26] = [
    "GET /tenants/KEY",
    "PATCH /tenants/KEY",
    "DELETE /tenants/KEY",
    "GET /tenants/KEY/credentials",
    "POST /tenants/KEY/credentials",
    "GET /tenants/{t}/credentials/KEY",
    "DELETE /tenants/{t}/credentials/KEY",
    "POST /tenants/{t}/credentials/KEY/rotate",
    "POST /tenants/{t}/credentials/KEY/test",
    "POST /tenants/KEY/tokens",
    "DELETE /tenants/{t}/tokens/KEY",
    "POST /tenants/KEY/issuers",
    "DELETE /tenants/{t}/issuers/KEY",
    "GET /tenants?cursor=KEY",
    "GET /tenants?KEY=1",
    "GET /tenants?limit=KEY",
    "GET /tenants/{t}/audit?action=KEY",
    "GET /tenants/{t}/audit?actor=KEY",
    "GET /tenants/{t}/audit?from=KEY",
    "GET /tenants/{t}/usage?group_by=KEY",
    "GET /tenants/{t}/usage?from=KEY",
    "GET /tenants/{t}/usage/requests?format=KEY",
    "GET /tenants/{t}/usage/requests?cursor=KEY",
    "GET /KEY",
    "POST /tenants/{t}/KEY",
    "KEY /tenants",
];

impl Waters {
    fn local(&self, line: &str) -> String {
        let (method, path) = line.split_once(' ').expect("a method and a path");
        let path = path.replace("{t}", &self.tenant.id).replace("{c}", &self.tenant.credential_id);
        format!("{method} /api/v1{path}")
    }
}

#[tokio::test]
async fn keys_in_every_field_of_every_route_leave_no_trace() {
    let waters = Waters::open().await;
    let (operator, admin) = (format!("Bearer {OPERATOR}"), format!("Bearer {}", waters.tenant.admin_token));
    for (line, bodies) in ROUTES {
        for body in bodies.iter().chain(&WRONG) {
            for (who, token) in [("the operator", &operator), ("an admin", &admin)] {
                let way = format!("{line} with {body} by {who}");
                let key = waters.key(&way);
                let headers = [
                    ("authorization", token.as_str()),
                    ("content-type", "application/json"),
                    ("x-byok-key", &waters.key(&way)),
                ];
                waters
                    .ask(
                        &way,
                        &waters.local(line),
                        &headers,
                        &body.replace("KEY", &key).replace("UNIQUE", &random(8)),
                    )
                    .await;
            }
        }
    }
    waters.assert_clean().await;
}

#[tokio::test]
async fn keys_in_addresses_and_headers_of_every_route_leave_no_trace() {
    let waters = Waters::open().await;
    let operator = format!("Bearer {OPERATOR}");
    for line in ADDRESSES {
        for prefix in ["sk-proj-", ""] {
            let way = format!("{line} ({prefix:?})");
            let local = waters.local(line).replace("KEY", &waters.key_like(&way, prefix));
            let body = if line.starts_with('P') { r#"{"role": "caller"}"# } else { "" };
            waters.ask(&way, &local, &[("authorization", &operator)], body).await;
        }
    }
    let lines = ROUTES.iter().map(|(line, _)| *line).chain([
        "GET /tenants",
        "GET /tenants/{t}/audit",
        "GET /tenants/{t}/credentials",
        "GET /tenants/{t}/usage",
    ]);
    for line in lines {
        for name in [
            "authorization",
            "x-keyferry-token",
            "x-byok-key",
            "x-byok-keys",
            "x-api-key",
            "x-sealed-key",
            "cookie",
            "x-custom",
        ] {
            for form in ["KEY", "Bearer KEY", "Bearer eyJh.KEY.x", "Bearer sk-kf-KEY"] {
                let way = format!("{line} with {name}: {form}");
                let key = waters.key(&way);
                let body =
                    if line.starts_with("GET") { "" } else { r#"{"provider": "openai", "api_key": 7}"# };
                waters.ask(&way, &waters.local(line), &[(name, &form.replace("KEY", &key))], body).await;
            }
        }
    }
    waters.assert_clean().await;
}

#[tokio::test]
async fn the_life_of_a_stored_key_leaves_no_trace_but_its_last_four_characters() {
    let waters = Waters::open().await;
    let admin = waters.tenant.admin_token.clone();
    let path = format!("/tenants/{}/credentials", waters.tenant.id);
    for (provider, prefix) in [
        ("openai", "sk-proj-"),
        ("anthropic", "sk-ant-"),
        ("gemini", "AIzaSy"),
        ("openai", ""),
        ("gemini", ""),
    ] {
        let keep = |what: &str, reply: crate::harness::Reply| {
            waters.keep(
                &format!("{what} for {provider}"),
                format!("{:?} {}", reply.head, reply.text()).into_bytes(),
            );
            reply
        };
        let key = waters.key_like(&format!("stored for {provider}"), prefix);
        let body =
            json!({"provider": provider, "api_key": key, "label": format!("label of {}", prefix.len())});
        let stored =
            keep("stored", waters.gateway.admin(&admin, "POST", &path, &body).await).expect(201).json();
        assert_eq!(stored["last4"], key[key.len() - 4..]);
        keep("stored twice", waters.gateway.admin(&admin, "POST", &path, &body).await);
        let one = format!("{path}/{}", stored["id"].as_str().expect("an id"));
        keep("read", waters.gateway.admin(&admin, "GET", &one, &Value::Null).await).expect(200);
        keep("tested", waters.gateway.admin(&admin, "POST", &format!("{one}/test"), &Value::Null).await)
            .expect(200);
        for overlap in [3600, 0, 0] {
            let key = waters.key_like(&format!("rotated for {provider}"), prefix);
            let body = json!({"api_key": key, "overlap_seconds": overlap});
            keep("rotated", waters.gateway.admin(&admin, "POST", &format!("{one}/rotate"), &body).await)
                .expect(200);
            keep("tested", waters.gateway.admin(&admin, "POST", &format!("{one}/test"), &Value::Null).await)
                .expect(200);
        }
        keep("used", waters.gateway.chat(&waters.tenant.caller_token).await);
        keep("revoked", waters.gateway.admin(&admin, "DELETE", &one, &Value::Null).await).expect(204);
        keep("revoked twice", waters.gateway.admin(&admin, "DELETE", &one, &Value::Null).await).expect(404);
        let carried = waters.key_like(&format!("tested for {provider}"), prefix);
        let bearer = format!("Bearer {admin}");
        let body = json!({"provider": provider}).to_string();
        waters
            .ask(
                "tested",
                "POST /api/v1/keys/test",
                &[("authorization", &bearer), ("x-byok-key", &carried)],
                &body,
            )
            .await;
    }
    waters.assert_clean().await;
}
