//! Admission: quotas and single uses that hold under load, rates, models, switches.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::harness::{
    Connection, Gateway, Issuer, Options, Provider, a_key,
    issuer::{claims, header},
    request,
};

const CHAT: &str = "/openai/v1/chat/completions";
const ROUNDS: usize = 100;
const NO_RATES: &str = "rate_limits: {caller: unlimited, tenant: unlimited, tenant_provider: unlimited}";

/// One chat on each of these connections, all at once, each with its token; answers status and code.
async fn at_once(connections: &mut [Connection], tokens: &[String]) -> Vec<(u16, String)> {
    let asked = connections.iter_mut().zip(tokens).map(|(connection, token)| async move {
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
        connection.request("POST", CHAT, &headers, b"{\"model\":\"m\",\"messages\":[]}").await;
        let reply = connection.reply().await;
        (reply.status(), reply.code())
    });
    join_all(asked).await
}

async fn connect(gateway: &Gateway, count: usize) -> Vec<Connection> {
    join_all((0..count).map(|_| Connection::open(gateway.port()))).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_60_at_once_on_a_quota_of_20_exactly_20_pass_a_hundred_times() {
    let provider = Provider::right().await;
    let gateway = Gateway::start(Options::to(&provider).yaml(NO_RATES).quiet()).await;
    let tenant = gateway.tenant_with_key("openai", &a_key("key-")).await;
    let mut connections = connect(&gateway, 60).await;
    let tokens = vec![tenant.caller_token.clone(); 60];
    let path = format!("/tenants/{}", tenant.id);
    for round in 1..=ROUNDS {
        let quota = json!({"daily_quota": 20 * round});
        gateway.operator("PATCH", &path, &quota).await.expect(200);
        let answers = at_once(&mut connections, &tokens).await;
        let passed = answers.iter().filter(|answer| answer.0 == 200).count();
        let refused =
            answers.iter().filter(|answer| **answer == (429, "BYOK_QUOTA_EXCEEDED".to_owned())).count();
        assert_eq!((passed, refused), (20, 40), "round {round}: {answers:?}");
    }
    assert_eq!(provider.count(), 20 * ROUNDS);
    let budget = gateway.operator("GET", &format!("{path}/budget"), &Value::Null).await.expect(200).json();
    assert_eq!(budget["quota"]["used"], 20 * ROUNDS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_40_uses_of_one_token_id_at_once_exactly_one_passes_a_hundred_times() {
    let provider = Provider::right().await;
    let gateway = Gateway::start(Options::to(&provider).yaml(NO_RATES).quiet()).await;
    let tenant = gateway.tenant_with_key("openai", &a_key("key-")).await;
    let issuer = Issuer::new();
    issuer.register(&gateway, &tenant.id).await;
    let mut connections = connect(&gateway, 40).await;
    for round in 1..=ROUNDS {
        // Tokens that differ in everything but their id are the same use.
        let tokens: Vec<String> = (0..40).map(|_| issuer.token(&tenant.id, &format!("id-{round}"))).collect();
        let answers = at_once(&mut connections, &tokens).await;
        let passed = answers.iter().filter(|answer| answer.0 == 200).count();
        let refused =
            answers.iter().filter(|answer| **answer == (409, "BYOK_REPLAY_DETECTED".to_owned())).count();
        assert_eq!((passed, refused), (1, 39), "round {round}: {answers:?}");
    }
    assert_eq!(provider.count(), ROUNDS);
}

#[tokio::test]
async fn one_tenants_token_id_does_not_use_up_anothers() {
    let provider = Provider::right().await;
    let gateway = Gateway::before(&provider).await;
    let issuer = Issuer::new();
    // So many that some share whatever the counters are divided into.
    for _ in 0..24 {
        let tenant = gateway.tenant_with_key("openai", &a_key("key-")).await.id;
        issuer.register(&gateway, &tenant).await;
        gateway.chat(&issuer.token(&tenant, "the-same")).await.expect(200);
        gateway.chat(&issuer.token(&tenant, "the-same")).await.refused(409, "BYOK_REPLAY_DETECTED");
    }
}

#[tokio::test]
async fn a_jwt_from_before_a_restart_is_refused_because_its_use_was_forgotten() {
    let provider = Provider::right().await;
    let mut gateway = Gateway::before(&provider).await;
    let tenant = gateway.tenant_with_key("openai", &a_key("key-")).await;
    let issuer = Issuer::new();
    issuer.register(&gateway, &tenant.id).await;
    let used = issuer.token(&tenant.id, "used");
    gateway.chat(&used).await.expect(200);
    gateway.restart().await;
    gateway.chat(&used).await.refused(401, "unauthorized");
    gateway.chat(&issuer.token(&tenant.id, "new, but it could be old")).await.refused(401, "unauthorized");
    let no_iat = {
        let mut claims = claims(&tenant.id, "without a time");
        claims.as_object_mut().expect("an object").remove("iat");
        issuer.sign(&header().to_string(), &claims.to_string())
    };
    gateway.chat(&no_iat).await.refused(401, "unauthorized");
    gateway.chat(&tenant.caller_token).await.expect(200);
}

#[tokio::test]
async fn refused_requests_do_not_count_and_a_higher_quota_opens_again() {
    let provider = Provider::right().await;
    let gateway = Gateway::before(&provider).await;
    let tenant = gateway.tenant_with_key("openai", &a_key("key-")).await;
    let path = format!("/tenants/{}", tenant.id);
    gateway.operator("PATCH", &path, &json!({"daily_quota": 2})).await.expect(200);
    let used = async || {
        gateway.operator("GET", &format!("{path}/budget"), &Value::Null).await.expect(200).json()["quota"]["used"]
            .as_u64()
            .expect("a number")
    };
    gateway.post(&tenant.caller_token, CHAT, &[], &json!([])).await.refused(400, "invalid_request");
    let anthropic = "/anthropic/v1/messages";
    gateway
        .post(&tenant.caller_token, anthropic, &[], &json!({"model": "m"}))
        .await
        .refused(404, "BYOK_KEY_NOT_FOUND");
    gateway.chat("sk-kf-nobody-secret").await.refused(401, "unauthorized");
    assert_eq!(used().await, 0);
    gateway.chat(&tenant.caller_token).await.expect(200);
    gateway.chat(&tenant.caller_token).await.expect(200);
    let refused = gateway.chat(&tenant.caller_token).await.refused(429, "BYOK_QUOTA_EXCEEDED");
    let wait: i64 = refused.header("retry-after").parse().expect("seconds");
    assert!((1..=86_400).contains(&wait));
    assert_eq!(refused.header("x-should-retry"), "false");
    assert_eq!(refused.header("ratelimit-policy"), "\"day\";q=2;w=86400");
    assert_eq!(refused.header("ratelimit"), format!("\"day\";r=0;t={wait}"));
    assert_eq!(used().await, 2);
    gateway.operator("PATCH", &path, &json!({"daily_quota": 3})).await.expect(200);
    gateway.chat(&tenant.caller_token).await.expect(200);
    gateway.chat(&tenant.caller_token).await.refused(429, "BYOK_QUOTA_EXCEEDED");
    assert_eq!((used().await, provider.count()), (3, 3));
    gateway.operator("PATCH", &path, &json!({"daily_quota": 0})).await.expect(200);
    gateway.chat(&tenant.caller_token).await.refused(429, "BYOK_QUOTA_EXCEEDED");
}

#[tokio::test]
async fn a_quota_of_none_lets_none_pass_and_one_of_one_lets_one() {
    let provider = Provider::right().await;
    let gateway = Gateway::before(&provider).await;
    for quota in [0, 1, 2] {
        let tenant = gateway.tenant_with_key("openai", &a_key("key-")).await;
        let path = format!("/tenants/{}", tenant.id);
        gateway.operator("PATCH", &path, &json!({"daily_quota": quota})).await.expect(200);
        for _ in 0..quota {
            gateway.chat(&tenant.caller_token).await.expect(200);
        }
        gateway.chat(&tenant.caller_token).await.refused(429, "BYOK_QUOTA_EXCEEDED");
    }
    assert_eq!(provider.count(), 3);
}

#[tokio::test]
async fn a_callers_rate_is_its_own() {
    let provider = Provider::right().await;
    let gateway = Gateway::before(&provider).await;
    let tenant = gateway.tenant_with_key("openai", &a_key("key-")).await;
    let slow = gateway.token(&tenant.id, &json!({"role": "caller", "rate": "2/h"})).await;
    for _ in 0..4 {
        gateway.chat(&slow).await.expect(200);
    }
    let refused = gateway.chat(&slow).await.refused(429, "RATE_LIMITED");
    let wait: u64 = refused.header("retry-after").parse().expect("seconds");
    assert!((1700..=1800).contains(&wait), "{wait}");
    assert_eq!(refused.header("ratelimit-policy"), "\"caller\";q=4;w=7200");
    assert_eq!(refused.header("ratelimit"), format!("\"caller\";r=0;t={wait}"));
    gateway.chat(&tenant.caller_token).await.expect(200);
    assert_eq!(provider.count(), 5);
    // What was refused for its rate did not count towards the quota.
    let budget = gateway.operator("GET", &format!("/tenants/{}/budget", tenant.id), &Value::Null).await;
    assert_eq!(budget.json()["quota"]["used"], 5);
}

#[tokio::test]
async fn a_tenants_admin_may_slow_a_token_down_and_not_speed_it_up() {
    let provider = Provider::right().await;
    let gateway = Gateway::start(Options::to(&provider).yaml("rate_limits: {caller: 10/min}")).await;
    let tenant = gateway.tenant_with_key("openai", &a_key("key-")).await;
    let path = format!("/tenants/{}/tokens", tenant.id);
    for (rate, allowed) in [
        ("10/min", true),
        ("1/min", true),
        ("10/h", true),
        ("10/d", true),
        ("11/min", false),
        ("1/s", false),
        ("11/h", false),
        ("10000000/d", false),
        ("unlimited", false),
    ] {
        let body = json!({"role": "caller", "rate": rate});
        let reply = gateway.admin(&tenant.admin_token, "POST", &path, &body).await;
        if allowed {
            reply.expect(201);
        } else {
            let reply = reply.refused(400, "invalid_request");
            let detail = reply.json()["detail"].as_str().expect("a text").to_owned();
            assert!(detail.contains("rate_limits.caller") && detail.contains("10/min"), "{detail}");
        }
        // What all callers may do is the operator's to say, and so is an exception to it.
        gateway.operator("POST", &path, &body).await.expect(201);
    }
    let body = json!({"role": "tenant_admin", "rate": "unlimited"});
    gateway.admin(&tenant.admin_token, "POST", &path, &body).await.refused(400, "invalid_request");
}

#[tokio::test]
async fn each_rate_of_the_configuration_holds() {
    for (setting, other_caller, other_provider, other_tenant) in [
        ("rate_limits: {caller: 1/h}", true, false, true),
        ("rate_limits: {tenant: 1/h}", false, false, true),
        ("rate_limits: {tenant_provider: 1/h}", false, true, true),
    ] {
        let provider = Provider::right().await;
        let gateway = Gateway::start(Options::to(&provider).yaml(setting)).await;
        let tenant = gateway.tenant_with_key("openai", &a_key("key-")).await;
        gateway.store(&tenant.id, "gemini", &a_key("key-")).await;
        gateway.chat(&tenant.caller_token).await.expect(200);
        gateway.chat(&tenant.caller_token).await.expect(200);
        gateway.chat(&tenant.caller_token).await.refused(429, "RATE_LIMITED");
        let passes = async |what: &str, reply: crate::harness::Reply, expected: bool| {
            assert_eq!(reply.status() == 200, expected, "{setting}, {what}: {}", reply.text());
        };
        let generate = "/gemini/v1beta/models/m:generateContent";
        let reply = gateway.post(&tenant.caller_token, generate, &[], &json!({"contents": []})).await;
        passes("another provider", reply, other_provider).await;
        let second = gateway.token(&tenant.id, &json!({"role": "caller"})).await;
        passes("another caller", gateway.chat(&second).await, other_caller).await;
        let stranger = gateway.tenant_with_key("openai", &a_key("key-")).await;
        passes("another tenant", gateway.chat(&stranger.caller_token).await, other_tenant).await;
    }
}

#[tokio::test]
async fn a_token_may_use_its_models_and_no_other() {
    let provider = Provider::right().await;
    let gateway = Gateway::before(&provider).await;
    let tenant = gateway.tenant_with_key("openai", &a_key("key-")).await;
    gateway.store(&tenant.id, "gemini", &a_key("key-")).await;
    let bound =
        gateway.token(&tenant.id, &json!({"role": "caller", "models": ["small", "gemini-small"]})).await;
    let generate = |model: &str| format!("/gemini/v1beta/models/{model}:generateContent");
    gateway.post(&bound, CHAT, &[], &json!({"model": "small"})).await.expect(200);
    gateway.post(&bound, &generate("gemini-small"), &[], &json!({})).await.expect(200);
    for model in ["large", "Small", "small ", "smal", ""] {
        gateway.post(&bound, CHAT, &[], &json!({"model": model})).await.refused(403, "MODEL_NOT_ALLOWED");
    }
    gateway.post(&bound, &generate("gemini-large"), &[], &json!({})).await.refused(403, "MODEL_NOT_ALLOWED");
    assert_eq!(provider.count(), 2);
}

#[tokio::test]
async fn a_token_with_models_cannot_leave_out_the_model() {
    let provider = Provider::right().await;
    let gateway = Gateway::before(&provider).await;
    let tenant = gateway.tenant_with_key("openai", &a_key("key-")).await;
    let bound = gateway.token(&tenant.id, &json!({"role": "caller", "models": ["small"]})).await;
    for body in [json!({}), json!({"model": null}), json!({"model": 7}), json!({"model": ["large"]})] {
        let reply = gateway.post(&bound, CHAT, &[], &body).await;
        assert!(matches!(reply.status(), 400 | 403), "{body}: {} {}", reply.status(), reply.text());
    }
    let twice = r#"{"model":"small","model":"large"}"#;
    let mut connection = Connection::open(gateway.port()).await;
    let bearer = format!("Bearer {bound}");
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    connection.request("POST", CHAT, &headers, twice.as_bytes()).await;
    let reply = connection.reply().await;
    assert!(matches!(reply.status(), 400 | 403), "{}", reply.text());
    assert_eq!(provider.count(), 0);
}

#[tokio::test]
async fn a_claim_of_an_own_key_decides_nothing() {
    let provider = Provider::right().await;
    let gateway = Gateway::before(&provider).await;
    gateway.tenant("claims").await;
    let issuer = Issuer::new();
    issuer.register(&gateway, "claims").await;
    let token = |jti: &str, byok: Value| {
        let mut claims = claims("claims", jti);
        claims["byok"] = byok;
        issuer.sign(&header().to_string(), &claims.to_string())
    };
    gateway.chat(&token("1", json!(true))).await.refused(403, "BYOK_NOT_ELIGIBLE");
    gateway.chat(&token("2", json!({"openai": "yes"}))).await.refused(403, "BYOK_NOT_ELIGIBLE");
    gateway.chat(&token("3", json!(false))).await.refused(404, "BYOK_KEY_NOT_FOUND");
    gateway.store("claims", "openai", &a_key("key-")).await;
    gateway.chat(&token("4", json!(false))).await.expect(200);
    assert_eq!(provider.count(), 1);
}

#[tokio::test]
async fn the_gate_of_a_tenant_opens_and_shuts_with_the_next_request() {
    let provider = Provider::right().await;
    let gateway = Gateway::before(&provider).await;
    let tenant = gateway.tenant_with_key("openai", &a_key("key-")).await;
    let path = format!("/tenants/{}", tenant.id);
    let credential = format!("{path}/credentials/{}", tenant.credential_id);
    for _ in 0..3 {
        gateway.chat(&tenant.caller_token).await.expect(200);
        gateway.operator("PATCH", &path, &json!({"byok_enabled": false})).await.expect(200);
        gateway.chat(&tenant.caller_token).await.refused(404, "BYOK_DISABLED");
        let carried = a_key("key-");
        let headers = [("x-byok-key", carried.as_str())];
        let body = json!({"model": "m"});
        gateway.post(&tenant.caller_token, CHAT, &headers, &body).await.refused(404, "BYOK_DISABLED");
        for (path, body) in [
            (format!("{path}/credentials"), json!({"provider": "gemini", "api_key": a_key("key-")})),
            (format!("{credential}/rotate"), json!({"api_key": a_key("key-")})),
            (format!("{credential}/test"), json!({})),
        ] {
            gateway.admin(&tenant.admin_token, "POST", &path, &body).await.refused(404, "BYOK_DISABLED");
        }
        gateway.operator("PATCH", &path, &json!({"byok_enabled": true})).await.expect(200);
    }
    // A new tenant's gate is shut until its operator opens it.
    gateway.operator("POST", "/tenants", &json!({"id": "shut"})).await.expect(201);
    let token = gateway.token("shut", &json!({"role": "caller"})).await;
    gateway.chat(&token).await.refused(404, "BYOK_DISABLED");
    assert_eq!(provider.count(), 3);
}

#[tokio::test]
async fn the_kill_switch_beats_everything() {
    let provider = Provider::right().await;
    let gateway = Gateway::start(Options::to(&provider).yaml("byok: {enabled: false}")).await;
    gateway.tenant("off").await;
    let token = gateway.token("off", &json!({"role": "caller"})).await;
    let key = a_key("key-");
    gateway.chat(&token).await.refused(404, "BYOK_DISABLED");
    let body = json!({"model": "m"});
    gateway.post(&token, CHAT, &[("x-byok-key", &key)], &body).await.refused(404, "BYOK_DISABLED");
    let store = json!({"provider": "openai", "api_key": key});
    gateway.operator("POST", "/tenants/off/credentials", &store).await.refused(404, "BYOK_DISABLED");
    assert_eq!(provider.count(), 0);
}

#[tokio::test]
async fn a_way_of_bringing_keys_that_is_off_falls_back_to_no_other() {
    for (setting, held, carried) in [("byok: {held: false}", 404, 200), ("byok: {carried: false}", 200, 404)]
    {
        let provider = Provider::right().await;
        let gateway = Gateway::start(Options::to(&provider).yaml(setting)).await;
        let tenant = gateway.tenant_with_key("openai", &a_key("key-")).await;
        let own = a_key("key-");
        let body = json!({"model": "m"});
        gateway.chat(&tenant.caller_token).await.expect(held);
        gateway.post(&tenant.caller_token, CHAT, &[("x-byok-key", &own)], &body).await.expect(carried);
        assert_eq!(provider.count(), 1);
    }
}

#[tokio::test]
async fn a_stranger_does_not_learn_which_providers_there_are() {
    let provider = Provider::right().await;
    let yaml = "providers:\n  acme: {kind: openai-compatible, base_url: 'https://llm.acme.com/v1'}";
    let options = Options::to(&provider).dial("llm.acme.com", provider.address, true).yaml(yaml);
    let gateway = Gateway::start(options).await;
    let tenant = gateway.tenant_with_key("openai", &a_key("sk-")).await;
    let (secret, good) = (a_key("sk-"), format!("Bearer {}", tenant.caller_token));
    let key = secret.as_str();
    let cases: [&[(&str, &str)]; 9] = [
        &[],
        &[("authorization", "Bearer nobody")],
        &[("authorization", "Basic eDp5")],
        &[("authorization", "Bearer sk-kf-nobody-secret")],
        &[("x-api-key", key)],
        &[("x-keyferry-token", "nobody"), ("x-api-key", key)],
        &[("x-keyferry-token", "nobody"), ("authorization", &good)],
        &[("authorization", &good), ("x-api-key", key)],
        &[("authorization", "Bearer nobody"), ("x-sealed-key", "v=1")],
    ];
    for headers in cases {
        for (method, below, body) in [
            ("POST", "v1/chat/completions", "{\"model\":\"m\"}"),
            ("GET", "v1/models", ""),
            ("POST", "", ""),
            ("GET", "v1/moon?key=1", ""),
        ] {
            let ask = async |name: &str| {
                let url = format!("{}/{name}/{below}", gateway.url());
                let reply = request(method, &url, headers, body.as_bytes()).await;
                let mut seen = reply.head.headers.clone();
                seen.retain(|(name, _)| !name.ends_with("request-id") && name != "date");
                (reply.status(), seen, reply.text().replace(name, "NAME"))
            };
            assert_eq!(ask("acme").await, ask("moon").await, "{method} {below} {headers:?}");
        }
    }
    let asked = gateway.post(&tenant.caller_token, "/moon/v1/chat/completions", &[], &json!({})).await;
    asked.refused(400, "BYOK_UNKNOWN_PROVIDER");
}

#[tokio::test]
async fn what_is_left_of_each_limit_is_told() {
    let provider = Provider::right().await;
    let rates = "rate_limits: {caller: 5/h, tenant: 1000/h, tenant_provider: unlimited}";
    let gateway = Gateway::start(Options::to(&provider).yaml(rates)).await;
    let tenant = gateway.tenant_with_key("openai", &a_key("key-")).await;
    let path = format!("/tenants/{}", tenant.id);
    gateway.operator("PATCH", &path, &json!({"daily_quota": 50})).await.expect(200);
    for left in [9, 8] {
        let reply = gateway.chat(&tenant.caller_token).await.expect(200);
        assert_eq!(
            reply.header("ratelimit-policy"),
            "\"caller\";q=10;w=7200, \"tenant\";q=2000;w=7200, \"day\";q=50;w=86400"
        );
        let told = reply.header("ratelimit").to_owned();
        assert!(told.starts_with(&format!("\"caller\";r={left};t={}", (10 - left) * 720)), "{told}");
        assert!(told.contains(&format!("\"day\";r={}", 40 + left)), "{told}");
    }
}

#[tokio::test]
async fn of_the_limit_that_refused_is_told_when_there_is_more() {
    let provider = Provider::right().await;
    for (rates, name) in [
        ("tenant: 2/h, tenant_provider: 1000/h", "tenant"),
        ("tenant: unlimited, tenant_provider: 2/h", "provider"),
    ] {
        let rates = format!("rate_limits: {{caller: 1000/h, {rates}}}");
        let gateway = Gateway::start(Options::to(&provider).yaml(&rates)).await;
        let tenant = gateway.tenant_with_key("openai", &a_key("key-")).await;
        for _ in 0..4 {
            gateway.chat(&tenant.caller_token).await.expect(200);
        }
        let refused = gateway.chat(&tenant.caller_token).await.refused(429, "RATE_LIMITED");
        assert_eq!(refused.header("ratelimit-policy"), format!("\"{name}\";q=4;w=7200"));
        let wait = refused.header("retry-after");
        assert_eq!(refused.header("ratelimit"), format!("\"{name}\";r=0;t={wait}"));
        let missing = gateway.post(&tenant.caller_token, CHAT, &[], &json!([])).await;
        let missing = missing.refused(400, "invalid_request");
        assert_eq!(
            (missing.header("ratelimit"), missing.header("ratelimit-policy")),
            ("", ""),
            "no limit refused it"
        );
    }
}
