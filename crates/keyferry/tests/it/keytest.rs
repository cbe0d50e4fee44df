//! Key tests: one request that costs nothing, a verdict, and a limit on how often.

use serde_json::{Value, json};

use crate::harness::{Answer, Gateway, Options, Provider, Reply, Tenant, a_key, post_json};

async fn test_stored(gateway: &Gateway, tenant: &Tenant) -> Reply {
    let path = format!("/tenants/{}/credentials/{}/test", tenant.id, tenant.credential_id);
    gateway.admin(&tenant.admin_token, "POST", &path, &json!({})).await
}

async fn test_carried(gateway: &Gateway, token: &str, provider: &str, key: &str) -> Reply {
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str()), ("x-byok-key", key)];
    post_json(&format!("{}/api/v1/keys/test", gateway.url()), &headers, &json!({"provider": provider})).await
}

/// Each provider's answer, and what it says about the key.
fn verdicts() -> Vec<(&'static str, u16, Value, &'static str)> {
    let openai =
        |code: &str, message: &str| json!({"error": {"message": message, "type": "x", "code": code}});
    let anthropic =
        |kind: &str, message: &str| json!({"type": "error", "error": {"type": kind, "message": message}});
    let gemini = |reason: &str, message: &str| {
        let info = json!([{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason}]);
        json!({"error": {"code": 400, "message": message, "status": "X", "details": info}})
    };
    vec![
        ("openai", 200, json!({"data": []}), "ok"),
        ("openai", 401, openai("invalid_api_key", "Incorrect API key provided: sk-..."), "invalid"),
        ("openai", 401, openai("account_deactivated", "x"), "forbidden"),
        (
            "openai",
            403,
            openai("missing_scope", "You have insufficient permissions. Missing scopes: api.model.read"),
            "ok_restricted",
        ),
        ("openai", 403, openai("unsupported_country_region_territory", "x"), "region_blocked"),
        ("openai", 429, openai("insufficient_quota", "You exceeded your current quota"), "no_credit"),
        ("openai", 429, openai("rate_limit_exceeded", "slow"), "rate_limited"),
        ("openai", 500, json!({}), "provider_down"),
        ("openai", 503, json!({}), "provider_down"),
        ("openai", 401, json!("a proxy's page"), "untested"),
        ("anthropic", 200, json!({"data": []}), "ok"),
        ("anthropic", 401, anthropic("authentication_error", "invalid x-api-key"), "invalid"),
        ("anthropic", 403, anthropic("permission_error", "x"), "forbidden"),
        (
            "anthropic",
            400,
            anthropic("invalid_request_error", "Your credit balance is too low to access the API"),
            "no_credit",
        ),
        ("anthropic", 429, anthropic("rate_limit_error", "slow"), "rate_limited"),
        ("anthropic", 529, anthropic("overloaded_error", "busy"), "provider_down"),
        ("gemini", 200, json!({"models": []}), "ok"),
        (
            "gemini",
            400,
            gemini("API_KEY_INVALID", "API key not valid. Please pass a valid API key."),
            "invalid",
        ),
        ("gemini", 403, gemini("SERVICE_DISABLED", "x"), "forbidden"),
        ("gemini", 403, gemini("API_KEY_HTTP_REFERRER_BLOCKED", "x"), "forbidden"),
        ("gemini", 400, gemini("X", "User location is not supported for the API use."), "region_blocked"),
        ("gemini", 429, gemini("RATE_LIMIT_EXCEEDED", "slow"), "rate_limited"),
    ]
}

#[tokio::test]
async fn a_providers_answer_becomes_a_verdict_on_a_carried_and_a_stored_key() {
    let cases = verdicts();
    // Asked twice each: for the carried key, then for the stored one.
    let answers = cases.iter().flat_map(|(_, status, body, _)| {
        let answer = Answer::json(*status, body);
        [answer.clone(), answer]
    });
    let provider = Provider::answering(answers.collect::<Vec<_>>()).await;
    let gateway = Gateway::start(Options::to(&provider).yaml("rate_limits: {key_test: unlimited}")).await;
    for (name, status, body, verdict) in cases {
        let tenant = gateway.tenant_with_key(name, &a_key("key-")).await;
        let reply = test_carried(&gateway, &tenant.caller_token, name, &a_key("key-")).await.expect(200);
        assert_eq!(reply.json()["status"], verdict, "{name} {status} {body}");
        assert!(!reply.text().contains("key-"), "{}", reply.text());
        let reply = test_stored(&gateway, &tenant).await.expect(200);
        assert_eq!(reply.json()["status"], verdict, "{name} {status} {body}");
        let path = format!("/tenants/{}/credentials/{}", tenant.id, tenant.credential_id);
        let kept = gateway.operator("GET", &path, &Value::Null).await.expect(200).json();
        assert_eq!(kept["test"]["status"], verdict, "{kept}");
        assert!(kept["test"]["at"].is_string(), "{kept}");
    }
}

#[tokio::test]
async fn a_test_asks_for_the_list_of_models_with_the_key_in_the_providers_header() {
    let provider = Provider::right().await;
    let gateway = Gateway::before(&provider).await;
    for (name, target, slot) in [
        ("openai", "/v1/models", "authorization"),
        ("anthropic", "/v1/models?limit=1", "x-api-key"),
        ("gemini", "/v1beta/models?pageSize=1", "x-goog-api-key"),
    ] {
        let key = a_key("key-");
        let tenant = gateway.tenant_with_key(name, &key).await;
        assert_eq!(test_stored(&gateway, &tenant).await.expect(200).json()["status"], "ok");
        let seen = provider.last();
        assert_eq!((seen.method.as_str(), seen.target.as_str()), ("GET", target));
        assert_eq!(seen.header(slot).trim_start_matches("Bearer "), key);
        assert_eq!(String::from_utf8_lossy(&seen.head).matches(&key).count(), 1, "and nowhere else");
        let rows =
            gateway.operator("GET", &format!("/tenants/{}/usage", tenant.id), &Value::Null).await.json();
        assert_eq!(rows["total"]["requests"], 0, "a test is no request of the tenant's");
    }
}

#[tokio::test]
async fn a_provider_that_is_away_says_nothing_about_the_key() {
    let provider = Provider::start(|seen| match seen.connection % 3 {
        0 => Answer::reset(),
        1 => Answer::raw("garbage\r\n\r\n").then_close(),
        _ => Answer::hang(),
    })
    .await;
    let gateway = Gateway::start(Options::to(&provider).upstream("first_byte_timeout: 300ms")).await;
    let tenant = gateway.tenant_with_key("openai", &a_key("key-")).await;
    for _ in 0..3 {
        assert_eq!(test_stored(&gateway, &tenant).await.expect(200).json()["status"], "unreachable");
    }
}

#[tokio::test]
async fn a_redirect_is_no_verdict_and_is_not_followed() {
    let elsewhere = Provider::right().await;
    let location = format!("http://{}/v1/models", elsewhere.address);
    let provider = Provider::answering([Answer::redirect(307, &location)]).await;
    let gateway = Gateway::before(&provider).await;
    let tenant = gateway.tenant_with_key("openai", &a_key("key-")).await;
    assert_eq!(test_stored(&gateway, &tenant).await.expect(200).json()["status"], "untested");
    assert_eq!(elsewhere.connections(), 0);
}

#[tokio::test]
async fn tests_from_one_address_are_limited_and_storing_is_not() {
    let provider = Provider::right().await;
    let gateway = Gateway::start(Options::to(&provider).yaml("rate_limits: {key_test: 3/h}")).await;
    let tenant = gateway.tenant_with_key("openai", &a_key("key-")).await;
    let other = gateway.tenant_with_key("gemini", &a_key("key-")).await;
    // Twice the rate at once, carried and stored together, over all tenants of the address.
    for _ in 0..2 {
        test_stored(&gateway, &tenant).await.expect(200);
        test_stored(&gateway, &other).await.expect(200);
        test_carried(&gateway, &tenant.caller_token, "openai", &a_key("key-")).await.expect(200);
    }
    for reply in [
        test_stored(&gateway, &tenant).await,
        test_stored(&gateway, &other).await,
        test_carried(&gateway, &other.caller_token, "gemini", &a_key("key-")).await,
    ] {
        let reply = reply.refused(429, "RATE_LIMITED");
        let wait: u64 = reply.header("retry-after").parse().expect("seconds");
        assert!((1..=1200).contains(&wait), "{wait}");
        assert_eq!(reply.header("ratelimit-policy"), "\"key_test\";q=6;w=7200");
        assert_eq!(reply.header("ratelimit"), format!("\"key_test\";r=0;t={wait}"));
    }
    assert_eq!(provider.count(), 6);
    gateway.store(&tenant.id, "anthropic", &a_key("key-")).await;
    gateway.chat(&tenant.caller_token).await.expect(200);
}

#[tokio::test]
async fn the_limit_is_30_a_minute_by_default() {
    let provider = Provider::right().await;
    let gateway = Gateway::before(&provider).await;
    let tenant = gateway.tenant_with_key("openai", &a_key("key-")).await;
    let mut passed = 0;
    while test_stored(&gateway, &tenant).await.status() == 200 {
        passed += 1;
        assert!(passed <= 70);
    }
    // A burst of 60, and one more for each two seconds that this took.
    assert!((60..=63).contains(&passed), "{passed}");
}

#[tokio::test]
async fn a_carried_test_needs_a_token_a_key_and_a_provider() {
    let provider = Provider::right().await;
    let gateway = Gateway::before(&provider).await;
    let tenant = gateway.tenant_with_key("openai", &a_key("key-")).await;
    let key = a_key("key-");
    test_carried(&gateway, "nobody", "openai", &key).await.refused(401, "unauthorized");
    test_carried(&gateway, &tenant.caller_token, "moon", &key).await.refused(400, "BYOK_UNKNOWN_PROVIDER");
    test_carried(&gateway, &tenant.caller_token, "openai", "short").await.refused(400, "invalid_request");
    let own = &tenant.caller_token;
    test_carried(&gateway, own, "openai", own).await.refused(400, "invalid_request");
    let reply =
        gateway.admin(&tenant.caller_token, "POST", "/keys/test", &json!({"provider": "openai"})).await;
    reply.refused(400, "invalid_request");
    assert_eq!(provider.count(), 0);
    let path = format!("/tenants/{}", tenant.id);
    gateway.operator("PATCH", &path, &json!({"byok_enabled": false})).await.expect(200);
    test_carried(&gateway, &tenant.caller_token, "openai", &key).await.refused(404, "BYOK_DISABLED");
    assert_eq!(provider.count(), 0);
}

#[tokio::test]
async fn a_carried_test_with_a_key_in_a_second_way_is_refused() {
    let provider = Provider::right().await;
    let gateway = Gateway::before(&provider).await;
    let tenant = gateway.tenant_with_key("openai", &a_key("key-")).await;
    let (url, bearer) =
        (format!("{}/api/v1/keys/test", gateway.url()), format!("Bearer {}", tenant.caller_token));
    let (key, body) = (a_key("key-"), json!({"provider": "openai"}));
    for (name, value) in [
        ("x-byok-keys", r#"{"openai": "sk-another-0123456789"}"#),
        ("x-sealed-key", "v=1;kid=seal_x;provider=openai;ts=1;n=x;enc=x;ct=x"),
        ("x-encrypted-key", "AAAA"),
        ("x-session-key", "AAAA"),
    ] {
        let headers = [("authorization", bearer.as_str()), ("x-byok-key", &key), (name, value)];
        let reply = post_json(&url, &headers, &body).await.refused(400, "invalid_request");
        assert!(reply.text().contains("two ways"), "{name}: {}", reply.text());
    }
    assert_eq!(provider.count(), 0);
}

#[tokio::test]
async fn a_failed_test_is_logged_with_tenant_user_and_provider_and_without_the_key() {
    let body = json!({"error": {"code": "invalid_api_key", "message": "Incorrect API key provided"}});
    let provider = Provider::answering([Answer::json(401, &body)]).await;
    let gateway = Gateway::before(&provider).await;
    let tenant = gateway.tenant_with_key("openai", &a_key("key-")).await;
    let key = a_key("key-");
    test_carried(&gateway, &tenant.caller_token, "openai", &key).await.expect(200);
    let line = gateway.logged(&["byok_key_test_failed"]).await;
    let line: Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!((&line["tenant"], &line["provider"]), (&json!(tenant.id), &json!("openai")), "{line}");
    let id = tenant.caller_token.split('-').nth(2).expect("an id");
    assert!(line["user"].as_str().is_some_and(|user| user.contains(id)), "{line}");
    let log = gateway.log();
    assert!(!log.contains(&key) && !log.contains(&key[10..]));
}

#[tokio::test]
async fn the_operator_may_test_a_key_in_nobodys_name() {
    let provider = Provider::right().await;
    let gateway = Gateway::before(&provider).await;
    let key = a_key("key-");
    let reply = test_carried(&gateway, crate::harness::OPERATOR, "openai", &key).await.expect(200);
    assert_eq!(reply.json(), json!({"status": "ok"}));
    assert_eq!(provider.last().header("authorization"), format!("Bearer {key}"));
    let gateway = Gateway::start(Options::to(&provider).yaml("byok: {enabled: false}")).await;
    test_carried(&gateway, crate::harness::OPERATOR, "openai", &key).await.refused(404, "BYOK_DISABLED");
    assert_eq!(provider.count(), 1);
}
