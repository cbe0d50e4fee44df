//! Tenants and lists on the control plane.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::harness::{Gateway, Options, Provider, a_key};

async fn gateway() -> Gateway {
    let provider = Provider::right().await;
    Gateway::before(&provider).await
}

#[tokio::test]
async fn a_tenant_begins_shut_with_the_defaults_and_no_fallback() {
    let gateway = gateway().await;
    let made = gateway.operator("POST", "/tenants", &json!({"id": "acme"})).await.expect(201).json();
    let fallback = json!({"missing": false, "unauthorized": false, "rate_limited": false, "no_credit": false, "server_error": false});
    for (field, value) in [
        ("id", json!("acme")),
        ("name", json!("acme")),
        ("byok_enabled", json!(false)),
        ("daily_quota", json!(10_000)),
        ("fallback", fallback),
        ("budget_micro_usd", Value::Null),
        ("budget_period", json!("month")),
    ] {
        assert_eq!(made[field], value, "{field}");
    }
    assert_eq!(gateway.operator("GET", "/tenants/acme", &Value::Null).await.expect(200).json(), made);
    let budget = gateway.operator("GET", "/tenants/acme/budget", &Value::Null).await.expect(200).json();
    let empty = [&budget["spent_micro_usd"], &budget["held_micro_usd"], &budget["quota"]["used"]];
    assert_eq!(empty, [&json!(0), &json!(0), &json!(0)]);
    assert_eq!((&budget["limit_micro_usd"], &budget["quota"]["limit"]), (&Value::Null, &json!(10_000)));
    assert!(budget["quota"]["resets_at"].as_str().is_some_and(|at| at.contains("T00:00:00")), "{budget}");
    gateway.operator("POST", "/tenants", &json!({"id": "acme"})).await.refused(409, "conflict");
}

#[tokio::test]
async fn a_change_changes_what_it_names_and_nothing_else() {
    let gateway = gateway().await;
    let new = json!({"id": "acme", "name": "Acme", "byok_enabled": true, "daily_quota": 5, "budget_micro_usd": 7,
        "fallback": {"missing": true}});
    let mut expected = gateway.operator("POST", "/tenants", &new).await.expect(201).json();
    for (change, pointer, value) in [
        (json!({"name": "New"}), "/name", json!("New")),
        (json!({"daily_quota": 0}), "/daily_quota", json!(0)),
        (json!({"fallback": {"no_credit": true}}), "/fallback/no_credit", json!(true)),
        (json!({"fallback": {"missing": false}}), "/fallback/missing", json!(false)),
        (json!({"budget_micro_usd": null}), "/budget_micro_usd", Value::Null),
        (json!({"budget_period": "total"}), "/budget_period", json!("total")),
        (json!({"tier": "gold"}), "/tier", json!("gold")),
        (json!({"byok_enabled": false}), "/byok_enabled", json!(false)),
    ] {
        *expected.pointer_mut(pointer).expect("a field") = value;
        let changed = gateway.operator("PATCH", "/tenants/acme", &change).await.expect(200).json();
        assert_eq!(changed, expected, "{change}");
    }
    gateway.operator("PATCH", "/tenants/nobody", &json!({"name": "x"})).await.refused(404, "not_found");
}

#[tokio::test]
async fn what_is_no_tenant_is_refused() {
    let gateway = gateway().await;
    for body in [
        json!({}),
        json!({"id": ""}),
        json!({"id": "-x"}),
        json!({"id": "a/b"}),
        json!({"id": "a b"}),
        json!({"id": "x".repeat(65)}),
        json!({"id": "ä"}),
        json!({"id": "acme", "moon": 1}),
        json!({"id": "acme", "daily_quota": -1}),
        json!({"id": "acme", "daily_quota": 1.5}),
        json!({"id": "acme", "daily_quota": "5"}),
        json!({"id": "acme", "daily_quota": u64::MAX}),
        json!({"id": "acme", "byok_enabled": "yes"}),
        json!({"id": "acme", "fallback": {"moon": true}}),
        json!({"id": "acme", "budget_period": "year"}),
        json!(["acme"]),
        json!("acme"),
    ] {
        let reply = gateway.operator("POST", "/tenants", &body).await;
        assert_eq!((reply.status(), reply.code().as_str()), (400, "invalid_request"), "{body}");
    }
    let list = gateway.operator("GET", "/tenants", &Value::Null).await.expect(200).json();
    assert_eq!(list, json!({"data": [], "next_cursor": null}));
}

#[tokio::test]
async fn lists_come_in_pages_that_miss_nothing() {
    let gateway = gateway().await;
    let names: Vec<String> = (0..7).map(|n| format!("tenant-{n}")).collect();
    for name in &names {
        gateway.tenant(name).await;
    }
    for list in ["/tenants", "/tenants/tenant-0/tokens", "/tenants/tenant-0/credentials"] {
        for n in 0..5 {
            if list.ends_with("tokens") {
                gateway.token("tenant-0", &json!({"role": "caller", "name": format!("t{n}")})).await;
            } else if list.ends_with("credentials") {
                let body = json!({"provider": "openai", "label": format!("l{n}"), "api_key": a_key("sk-")});
                gateway.operator("POST", list, &body).await.expect(201);
            }
        }
        let (mut found, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = gateway
                .operator("GET", &format!("{list}?limit=2{cursor}"), &Value::Null)
                .await
                .expect(200)
                .json();
            let rows = page["data"].as_array().expect("rows");
            assert!((1..=2).contains(&rows.len()), "{page}");
            found.extend(rows.iter().map(|row| row["id"].as_str().expect("an id").to_owned()));
            let Some(next) = page["next_cursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        let count = found.len();
        found.sort();
        found.dedup();
        assert_eq!((found.len(), count), if list == "/tenants" { (7, 7) } else { (5, 5) }, "{list}");
        for wrong in ["limit=0", "limit=1001", "limit=x", "moon=1"] {
            gateway
                .operator("GET", &format!("{list}?{wrong}"), &Value::Null)
                .await
                .refused(400, "invalid_request");
        }
    }
}

#[tokio::test]
async fn a_token_is_shown_once() {
    let gateway = gateway().await;
    gateway.tenant("acme").await;
    let body = json!({"role": "caller", "name": "ci", "models": ["m"], "rate": "5/min"});
    let issued = gateway.operator("POST", "/tenants/acme/tokens", &body).await.expect(201).json();
    let token = issued["token"].as_str().expect("a token");
    assert!(token.starts_with(&format!("sk-kf-{}-", issued["id"].as_str().expect("an id"))), "{token}");
    let list = gateway.operator("GET", "/tenants/acme/tokens", &Value::Null).await.expect(200);
    assert!(!list.text().contains(&token[20..]), "{}", list.text());
    let row = &list.json()["data"][0];
    for (field, value) in [
        ("id", &issued["id"]),
        ("name", &json!("ci")),
        ("rate", &json!("5/min")),
        ("revoked_at", &Value::Null),
    ] {
        assert_eq!(row[field], *value, "{field}");
    }
    for body in [
        json!({}),
        json!({"role": "operator"}),
        json!({"role": "caller", "rate": "fast"}),
        json!({"role": "caller", "models": "m"}),
    ] {
        gateway.operator("POST", "/tenants/acme/tokens", &body).await.refused(400, "invalid_request");
    }
}

#[tokio::test]
async fn changes_at_once_are_all_made_and_all_in_the_log() {
    let gateway = gateway().await;
    gateway.tenant("acme").await;
    let body = json!({"role": "caller"});
    let tokens = join_all((0..40).map(|_| gateway.token("acme", &body))).await;
    assert_eq!(tokens.len(), 40);
    let log = gateway
        .operator("GET", "/tenants/acme/audit?limit=100&action=token.issued", &Value::Null)
        .await
        .json();
    assert_eq!(log["data"].as_array().map(Vec::len), Some(40));
    let verified = crate::harness::command()
        .args(["audit", "verify", "--json", "--config"])
        .arg(gateway.config())
        .output();
    let verified: Value = serde_json::from_slice(&verified.expect("it runs").stdout).expect("JSON");
    assert_eq!(verified["whole"], true, "{verified}");
}

#[tokio::test]
async fn counts_of_what_happened_are_in_the_metrics() {
    let provider = Provider::right().await;
    let gateway = Gateway::start(Options::to(&provider)).await;
    let tenant = gateway.tenant_with_key("openai", &a_key("sk-")).await;
    gateway.chat(&tenant.caller_token).await.expect(200);
    gateway.chat(&tenant.caller_token).await.expect(200);
    gateway.chat("nobody").await.refused(401, "unauthorized");
    let test = format!("/tenants/{}/credentials/{}/test", tenant.id, tenant.credential_id);
    gateway.operator("POST", &test, &json!({})).await.expect(200);
    let url = format!("{}/metrics", gateway.metrics_url());
    let text = crate::harness::request("GET", &url, &[], b"").await.expect(200).text();
    for (name, label, value) in [
        ("byok_key_stored_total", "provider=\"openai\"", "1"),
        ("byok_key_tested_total", "provider=\"openai\",status=\"ok\"", "1"),
        ("keyferry_requests_total", "outcome=\"ok\"", "2"),
        ("keyferry_denials_total", "code=\"unauthorized\"", "1"),
        ("keyferry_tokens_total", "direction=\"output\"", "14"),
        ("keyferry_upstream_connections_total", "how=\"reused\"", "2"),
    ] {
        let line = text.lines().find(|line| line.starts_with(&format!("{name}{{")) && line.contains(label));
        let line = line.unwrap_or_else(|| panic!("no {name} with {label} in {text}"));
        assert_eq!(line.rsplit(' ').next(), Some(value), "{line}");
    }
    assert!(!text.contains(&tenant.id), "metrics have no label of a tenant");
}
