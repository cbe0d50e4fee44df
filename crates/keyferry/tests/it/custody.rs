//! Keys in custody: what is sealed for one place opens in no other, and what is revoked is gone.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::harness::{Blobs, Connection, Database, Gateway, Options, Provider, Tenant, a_key, until};

const CHAT: &str = "/openai/v1/chat/completions";

async fn gateway(provider: &Provider) -> Gateway {
    Gateway::start(Options::to(provider).yaml("rate_limits: {key_test: unlimited}")).await
}

/// Whether a stored key opens: the key test opens it and sends it to the provider.
async fn opens(gateway: &Gateway, provider: &Provider, tenant: &str, credential: &str) -> bool {
    // A change by the rules, after which the gateway reads the row again.
    gateway
        .operator("PATCH", &format!("/tenants/{tenant}"), &json!({"name": "read again"}))
        .await
        .expect(200);
    let before = provider.count();
    let path = format!("/tenants/{tenant}/credentials/{credential}/test");
    let reply = gateway.operator("POST", &path, &json!({})).await;
    if reply.status() == 200 {
        assert_eq!(provider.count(), before + 1);
        return true;
    }
    let reply = reply.refused(503, "BYOK_SERVICE_UNAVAILABLE");
    assert!(!reply.text().contains("sk-"), "{}", reply.text());
    assert_eq!(provider.count(), before, "no provider is called with a key that does not open");
    false
}

/// Two layers, and what is taken from elsewhere of them.
fn mixtures(own: &Blobs, other: &Blobs) -> [(&'static str, Blobs); 3] {
    let (own, other) = (own.clone(), other.clone());
    [
        ("the record", Blobs { envelope: other.envelope.clone(), ..own.clone() }),
        ("the wrapped key", Blobs { wrapped_dek: other.wrapped_dek.clone(), ..own }),
        ("both layers", other),
    ]
}

#[tokio::test]
async fn a_sealed_key_opens_in_no_other_row() {
    let provider = Provider::right().await;
    let gateway = gateway(&provider).await;
    let a = gateway.tenant_with_key("openai", &a_key("sk-a-")).await;
    let b = gateway.tenant_with_key("openai", &a_key("sk-b-")).await;
    let other_provider = gateway.store(&a.id, "anthropic", &a_key("sk-c-")).await;
    let body = json!({"provider": "openai", "label": "second", "api_key": a_key("sk-d-")});
    let second = gateway.operator("POST", &format!("/tenants/{}/credentials", a.id), &body).await.expect(201);
    let second = second.json()["id"].as_str().expect("an id").to_owned();
    let rotated = a.credential_id.clone();
    let rotate = json!({"api_key": a_key("sk-e-"), "overlap_seconds": 3600});
    let path = format!("/tenants/{}/credentials/{rotated}/rotate", a.id);
    gateway.operator("POST", &path, &rotate).await.expect(200);

    let mut database = Database::open(&gateway.database()).await;
    let mut tried = 0;
    // From where, to where: each pair differs in one thing that the envelope is bound to.
    for (bound_to, from, to, tenant) in [
        ("tenant", (&b.credential_id, 1), (&second, 1), &a.id),
        ("tenant", (&second, 1), (&b.credential_id, 1), &b.id),
        ("provider", (&other_provider, 1), (&second, 1), &a.id),
        ("provider", (&second, 1), (&other_provider, 1), &a.id),
        ("credential id", (&rotated, 1), (&second, 1), &a.id),
        ("credential id", (&second, 1), (&rotated, 2), &a.id),
        ("version", (&rotated, 1), (&rotated, 2), &a.id),
    ] {
        let own = database.blobs(to.0, to.1).await;
        let other = database.blobs(from.0, from.1).await;
        assert!(opens(&gateway, &provider, tenant, to.0).await, "{bound_to}: opens before");
        for (layer, mixture) in mixtures(&own, &other) {
            database.put_blobs(to.0, to.1, &mixture).await;
            assert!(!opens(&gateway, &provider, tenant, to.0).await, "{layer} of another {bound_to} opened");
            tried += 1;
        }
        database.put_blobs(to.0, to.1, &own).await;
        assert!(opens(&gateway, &provider, tenant, to.0).await, "{bound_to}: opens again");
    }
    assert_eq!(tried, 21);
}

#[tokio::test]
async fn a_row_that_is_given_another_name_does_not_open() {
    let provider = Provider::right().await;
    for (what, statements) in [
        ("tenant", &["UPDATE credentials SET tenant_id = ?2 WHERE id = ?1"][..]),
        ("provider", &["UPDATE credentials SET provider = 'anthropic' WHERE id = ?1"]),
        (
            "credential id",
            &[
                "UPDATE credential_versions SET credential_id = 'cred_' || ?3 WHERE credential_id = ?1",
                "UPDATE credentials SET id = 'cred_' || ?3 WHERE id = ?1",
            ],
        ),
        (
            "version",
            &[
                "UPDATE credential_versions SET version = 2 WHERE credential_id = ?1",
                "UPDATE credentials SET version = 2 WHERE id = ?1",
            ],
        ),
        (
            "kek",
            &["UPDATE credential_versions SET kek_id = 'local:0000000000000000' WHERE credential_id = ?1"],
        ),
    ] {
        let gateway = gateway(&provider).await;
        let tenant = gateway.tenant_with_key("openai", &a_key("sk-")).await;
        gateway.chat(&tenant.caller_token).await.expect(200);
        let thief = format!("{}-thief", tenant.id);
        gateway.tenant(&thief).await;
        let thief_token = gateway.token(&thief, &json!({"role": "caller"})).await;
        let mut database = Database::open(&gateway.database()).await;
        let (kept, last) = tenant.credential_id[5..].split_at(tenant.credential_id.len() - 6);
        let renamed = format!("{kept}{}", if last == "x" { "y" } else { "x" });
        for statement in statements {
            database.run(statement, &[&tenant.credential_id, &thief, &renamed]).await;
        }
        // A change by the rules, after which the gateway reads the row again.
        for id in [&tenant.id, &thief] {
            gateway.operator("PATCH", &format!("/tenants/{id}"), &json!({"name": "moved"})).await.expect(200);
        }
        let before = provider.count();
        let token = if what == "tenant" { &thief_token } else { &tenant.caller_token };
        let path = if what == "provider" { "/anthropic/v1/messages" } else { CHAT };
        let reply = gateway.post(token, path, &[], &json!({"model": "m", "messages": []})).await;
        assert_eq!((reply.status(), reply.code().as_str()), (503, "BYOK_SERVICE_UNAVAILABLE"), "{what}");
        assert_eq!(provider.count(), before, "{what}");
    }
}

#[tokio::test]
async fn a_row_that_is_given_another_provider_of_the_same_host_does_not_open() {
    let provider = Provider::right().await;
    let yaml = "providers:
  acme: {kind: openai-compatible, base_url: 'https://llm.acme.com/v1'}
  zeta: {kind: openai-compatible, base_url: 'https://llm.acme.com/v1'}";
    let options = Options::to(&provider).dial("llm.acme.com", provider.address, true).yaml(yaml);
    let gateway = Gateway::start(options).await;
    let tenant = gateway.tenant_with_key("acme", &a_key("sk-")).await;
    let body = json!({"model": "m", "messages": []});
    gateway.post(&tenant.caller_token, "/acme/v1/chat/completions", &[], &body).await.expect(200);
    let mut database = Database::open(&gateway.database()).await;
    let rename = "UPDATE credentials SET provider = 'zeta' WHERE id = ?";
    assert_eq!(database.run(rename, &[&tenant.credential_id]).await, 1);
    let itself = format!("/tenants/{}", tenant.id);
    gateway.operator("PATCH", &itself, &json!({"name": "read again"})).await.expect(200);
    let reply = gateway.post(&tenant.caller_token, "/zeta/v1/chat/completions", &[], &body).await;
    reply.refused(503, "BYOK_SERVICE_UNAVAILABLE");
    assert_eq!(provider.count(), 1);
}

#[tokio::test]
async fn every_flipped_byte_of_a_sealed_key_is_found() {
    let provider = Provider::right().await;
    let gateway = gateway(&provider).await;
    let tenant = gateway.tenant_with_key("openai", &a_key("sk-")).await;
    let mut database = Database::open(&gateway.database()).await;
    let own = database.blobs(&tenant.credential_id, 1).await;
    for at in (0..own.envelope.len()).step_by(23) {
        let mut changed = own.clone();
        changed.envelope[at] ^= 1;
        database.put_blobs(&tenant.credential_id, 1, &changed).await;
        assert!(
            !opens(&gateway, &provider, &tenant.id, &tenant.credential_id).await,
            "byte {at} of the record"
        );
    }
    for at in (0..own.wrapped_dek.len()).step_by(23) {
        let mut changed = own.clone();
        changed.wrapped_dek[at] ^= 1;
        database.put_blobs(&tenant.credential_id, 1, &changed).await;
        assert!(!opens(&gateway, &provider, &tenant.id, &tenant.credential_id).await, "byte {at} of the key");
    }
    database.put_blobs(&tenant.credential_id, 1, &own).await;
    assert!(opens(&gateway, &provider, &tenant.id, &tenant.credential_id).await);
}

#[tokio::test]
async fn a_revoked_key_is_refused_from_the_next_request_on_also_under_load() {
    let provider = Provider::right().await;
    let gateway = gateway(&provider).await;
    let tenant = gateway.tenant_with_key("openai", &a_key("sk-")).await;
    let mut credential = tenant.credential_id.clone();
    for round in 0..20 {
        let calls = join_all((0..8).map(|_| gateway.chat(&tenant.caller_token)));
        let path = format!("/tenants/{}/credentials/{credential}", tenant.id);
        let revoke = async {
            gateway.operator("DELETE", &path, &Value::Null).await.expect(204);
            // From here on nothing passes, whatever is under way.
            for reply in join_all((0..4).map(|_| gateway.chat(&tenant.caller_token))).await {
                assert_eq!(
                    (reply.status(), reply.code().as_str()),
                    (404, "BYOK_KEY_NOT_FOUND"),
                    "round {round}"
                );
            }
        };
        let (replies, ()) = tokio::join!(calls, revoke);
        assert!(replies.iter().all(|reply| matches!(reply.status(), 200 | 404)), "round {round}");
        credential = gateway.store(&tenant.id, "openai", &a_key("sk-")).await;
        gateway.chat(&tenant.caller_token).await.expect(200);
    }
}

#[tokio::test]
async fn revoking_twice_changes_nothing_else() {
    let provider = Provider::right().await;
    let gateway = gateway(&provider).await;
    let tenant = gateway.tenant_with_key("openai", &a_key("sk-")).await;
    let path = format!("/tenants/{}/credentials/{}", tenant.id, tenant.credential_id);
    gateway.operator("DELETE", &path, &Value::Null).await.expect(204);
    gateway.operator("DELETE", &path, &Value::Null).await.refused(404, "not_found");
    let newer = gateway.store(&tenant.id, "openai", &a_key("sk-")).await;
    gateway.operator("DELETE", &path, &Value::Null).await.refused(404, "not_found");
    let reply = gateway.chat(&tenant.caller_token).await.expect(200);
    assert_eq!(reply.header("x-keyferry-credential-id"), newer);
    let rotate = json!({"api_key": a_key("sk-")});
    gateway.operator("POST", &format!("{path}/rotate"), &rotate).await.refused(404, "not_found");
    gateway.operator("POST", &format!("{path}/test"), &json!({})).await.refused(404, "not_found");
    let list =
        gateway.operator("GET", &format!("/tenants/{}/credentials", tenant.id), &Value::Null).await.json();
    let states: Vec<&Value> =
        list["data"].as_array().expect("rows").iter().map(|row| &row["state"]).collect();
    assert_eq!(states, ["active", "revoked"], "newest first");
}

/// Whether any file of the data folder has these bytes in it.
fn on_disk(gateway: &Gateway, bytes: &[u8]) -> Vec<String> {
    let folder = std::fs::read_dir(gateway.dir().join("data")).expect("a folder");
    let holds = |path: &std::path::Path| {
        std::fs::read(path).is_ok_and(|text| text.windows(bytes.len()).any(|window| window == bytes))
    };
    folder
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| holds(path))
        .map(|path| path.display().to_string())
        .collect()
}

#[tokio::test]
async fn a_revoked_key_is_gone_from_the_disk() {
    let provider = Provider::right().await;
    let gateway = gateway(&provider).await;
    let tenant = gateway.tenant_with_key("openai", &a_key("sk-")).await;
    let mut database = Database::open(&gateway.database()).await;
    let blobs = database.blobs(&tenant.credential_id, 1).await;
    database.close().await;
    assert!(!on_disk(&gateway, &blobs.wrapped_dek).is_empty(), "the search finds what is there");
    let path = format!("/tenants/{}/credentials/{}", tenant.id, tenant.credential_id);
    gateway.operator("DELETE", &path, &Value::Null).await.expect(204);
    let gone = || async { on_disk(&gateway, &blobs.wrapped_dek).is_empty().then_some(()) };
    until("the wrapped key is overwritten", gone).await;
}

#[tokio::test]
async fn a_rotated_key_serves_from_the_next_request_on_and_the_old_one_is_destroyed() {
    let provider = Provider::right().await;
    let gateway = gateway(&provider).await;
    let (first, second) = (a_key("sk-first-"), a_key("sk-second-"));
    let tenant = gateway.tenant_with_key("openai", &first).await;
    gateway.chat(&tenant.caller_token).await.expect(200);
    assert_eq!(provider.last().header("authorization"), format!("Bearer {first}"));
    let path = format!("/tenants/{}/credentials/{}", tenant.id, tenant.credential_id);
    let before = gateway.operator("GET", &path, &Value::Null).await.expect(200).json();
    let rotated = gateway.operator("POST", &format!("{path}/rotate"), &json!({"api_key": second})).await;
    let rotated = rotated.expect(200).json();
    assert_eq!((&rotated["id"], &rotated["version"]), (&json!(tenant.credential_id), &json!(2)));
    assert_ne!(rotated["fingerprint"], before["fingerprint"]);
    assert_eq!(rotated["last4"], second[second.len() - 4..]);
    let reply = gateway.chat(&tenant.caller_token).await.expect(200);
    assert_eq!(provider.last().header("authorization"), format!("Bearer {second}"));
    assert_eq!(reply.header("x-keyferry-credential-id"), tenant.credential_id);
    let mut database = Database::open(&gateway.database()).await;
    let versions = "SELECT count(*) FROM credential_versions WHERE credential_id = ?";
    assert_eq!(database.number(versions, &tenant.credential_id).await, 1);
}

#[tokio::test]
async fn an_overlap_keeps_the_old_version_until_it_is_over() {
    let provider = Provider::right().await;
    let gateway = gateway(&provider).await;
    let tenant = gateway.tenant_with_key("openai", &a_key("sk-")).await;
    let new = a_key("sk-");
    let path = format!("/tenants/{}/credentials/{}/rotate", tenant.id, tenant.credential_id);
    let body = json!({"api_key": new, "overlap_seconds": 1});
    gateway.operator("POST", &path, &body).await.expect(200);
    let mut database = Database::open(&gateway.database()).await;
    let versions = "SELECT count(*) FROM credential_versions WHERE credential_id = ?";
    assert_eq!(database.number(versions, &tenant.credential_id).await, 2);
    gateway.chat(&tenant.caller_token).await.expect(200);
    assert_eq!(provider.last().header("authorization"), format!("Bearer {new}"));
    let database = tokio::sync::Mutex::new(database);
    until("the old version is destroyed", || async {
        (database.lock().await.number(versions, &tenant.credential_id).await == 1).then_some(())
    })
    .await;
    gateway.chat(&tenant.caller_token).await.expect(200);
    let log = gateway.operator("GET", &format!("/tenants/{}/audit", tenant.id), &Value::Null).await.json();
    assert!(log["data"].as_array().is_some_and(|rows| rows.len() >= 3), "{log}");
}

#[tokio::test]
async fn two_rotations_at_once_leave_one_key_that_opens() {
    let provider = Provider::right().await;
    let gateway = gateway(&provider).await;
    let tenant = gateway.tenant_with_key("openai", &a_key("sk-")).await;
    let path = format!("/tenants/{}/credentials/{}/rotate", tenant.id, tenant.credential_id);
    for _ in 0..10 {
        let bodies: Vec<Value> = (0..4).map(|_| json!({"api_key": a_key("sk-")})).collect();
        let replies = join_all(bodies.iter().map(|body| gateway.operator("POST", &path, body))).await;
        assert!(replies.iter().any(|reply| reply.status() == 200));
        assert!(replies.iter().all(|reply| matches!(reply.status(), 200 | 409)));
        gateway.chat(&tenant.caller_token).await.expect(200);
    }
}

#[tokio::test]
async fn lists_show_the_last_four_characters_and_a_fingerprint_and_never_a_key() {
    let provider = Provider::right().await;
    let gateway = gateway(&provider).await;
    let key = a_key("sk-proj-");
    let tenant = gateway.tenant_with_key("openai", &key).await;
    let base = format!("/tenants/{}", tenant.id);
    for path in ["/credentials", &format!("/credentials/{}", tenant.credential_id), "/audit", "/tokens", ""] {
        let reply = gateway
            .admin(&tenant.admin_token, "GET", &format!("{base}{path}"), &Value::Null)
            .await
            .expect(200);
        let text = reply.text();
        assert!(!text.contains(&key[..key.len() - 4]) && !text.contains(&key[8..20]), "{text}");
        assert!(!text.contains(&tenant.caller_token), "{text}");
    }
    let list =
        gateway.admin(&tenant.admin_token, "GET", &format!("{base}/credentials"), &Value::Null).await.json();
    let row = &list["data"][0];
    assert_eq!(row["last4"], key[key.len() - 4..]);
    assert_eq!(
        (&row["label"], &row["state"], &row["version"]),
        (&json!("default"), &json!("active"), &json!(1))
    );
    assert_eq!(row["test"]["status"], "untested");
    for field in ["fingerprint", "kek_id", "created_at", "created_by"] {
        assert!(row[field].as_str().is_some_and(|text| !text.is_empty()), "{field}: {row}");
    }
    // The same key of another tenant has another fingerprint: nobody can compare tenants' keys.
    let other = gateway.tenant_with_key("openai", &key).await;
    let path = format!("/tenants/{}/credentials/{}", other.id, other.credential_id);
    let other = gateway.operator("GET", &path, &Value::Null).await.json();
    assert_ne!(other["fingerprint"], row["fingerprint"]);
}

#[tokio::test]
async fn one_active_key_for_each_tenant_provider_and_label() {
    let provider = Provider::right().await;
    let gateway = gateway(&provider).await;
    let tenant = gateway.tenant_with_key("openai", &a_key("sk-")).await;
    let path = format!("/tenants/{}/credentials", tenant.id);
    let again = json!({"provider": "openai", "api_key": a_key("sk-")});
    gateway.operator("POST", &path, &again).await.refused(409, "conflict");
    let bodies: Vec<Value> = (0..8).map(|_| json!({"provider": "gemini", "api_key": a_key("sk-")})).collect();
    let replies = join_all(bodies.iter().map(|body| gateway.operator("POST", &path, body))).await;
    let mut statuses: Vec<u16> = replies.iter().map(crate::harness::Reply::status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409, 409, 409, 409, 409, 409, 409]);
}

#[tokio::test]
async fn tokens_stop_with_the_next_request_when_they_are_revoked_or_over() {
    let provider = Provider::right().await;
    let gateway = gateway(&provider).await;
    let tenant = gateway.tenant_with_key("openai", &a_key("sk-")).await;
    gateway.chat(&tenant.caller_token).await.expect(200);
    let id = tenant.caller_token.split('-').nth(2).expect("an id");
    let path = format!("/tenants/{}/tokens/{id}", tenant.id);
    gateway.operator("DELETE", &path, &Value::Null).await.expect(204);
    gateway.chat(&tenant.caller_token).await.refused(401, "unauthorized");
    gateway.operator("DELETE", &path, &Value::Null).await.refused(404, "not_found");
    let over = json!({"role": "caller", "expires_at": "2020-01-01T00:00:00Z"});
    let tokens = format!("/tenants/{}/tokens", tenant.id);
    gateway.operator("POST", &tokens, &over).await.refused(400, "invalid_request");
    let soon = keyferry_core::time::Timestamp::from_secs(crate::harness::now() + 2).to_rfc3339();
    let token = gateway.token(&tenant.id, &json!({"role": "caller", "expires_at": soon})).await;
    gateway.chat(&token).await.expect(200);
    until("the token is over", || async { (gateway.chat(&token).await.status() == 401).then_some(()) }).await;
    // One character else is another token.
    let mut wrong = tenant.admin_token.clone();
    let last = wrong.pop().expect("a character");
    wrong.push(if last == 'a' { 'b' } else { 'a' });
    gateway.chat(&wrong).await.refused(401, "unauthorized");
}

#[tokio::test]
async fn a_deleted_tenant_is_gone_with_its_keys() {
    let provider = Provider::right().await;
    let gateway = gateway(&provider).await;
    let tenant = gateway.tenant_with_key("openai", &a_key("sk-")).await;
    gateway.chat(&tenant.caller_token).await.expect(200);
    let path = format!("/tenants/{}", tenant.id);
    gateway.operator("DELETE", &path, &Value::Null).await.expect(204);
    gateway.chat(&tenant.caller_token).await.refused(401, "unauthorized");
    gateway.admin(&tenant.admin_token, "GET", &path, &Value::Null).await.refused(401, "unauthorized");
    gateway.operator("DELETE", &path, &Value::Null).await.refused(404, "not_found");
    let mut database = Database::open(&gateway.database()).await;
    let versions = "SELECT count(*) FROM credential_versions WHERE credential_id = ?";
    assert_eq!(database.number(versions, &tenant.credential_id).await, 0);
    // A new tenant of the same name inherits nothing.
    gateway.tenant(&tenant.id).await;
    gateway.chat(&tenant.caller_token).await.refused(401, "unauthorized");
    let token = gateway.token(&tenant.id, &json!({"role": "caller"})).await;
    gateway.chat(&token).await.refused(404, "BYOK_KEY_NOT_FOUND");
}

/// Every path below a tenant.
fn paths_of(tenant: &Tenant) -> Vec<(&'static str, String, Value)> {
    let (id, credential) = (&tenant.id, &tenant.credential_id);
    let token = tenant.caller_token.split('-').nth(2).expect("an id");
    let at = |rest: String| format!("/tenants/{id}{rest}");
    vec![
        ("GET", at(String::new()), Value::Null),
        ("GET", at("/credentials".to_owned()), Value::Null),
        ("POST", at("/credentials".to_owned()), json!({"provider": "gemini", "api_key": a_key("sk-")})),
        ("GET", at(format!("/credentials/{credential}")), Value::Null),
        ("POST", at(format!("/credentials/{credential}/rotate")), json!({"api_key": a_key("sk-")})),
        ("POST", at(format!("/credentials/{credential}/test")), json!({})),
        ("DELETE", at(format!("/credentials/{credential}")), Value::Null),
        ("GET", at("/tokens".to_owned()), Value::Null),
        ("POST", at("/tokens".to_owned()), json!({"role": "caller"})),
        ("DELETE", at(format!("/tokens/{token}")), Value::Null),
        ("GET", at("/issuers".to_owned()), Value::Null),
        (
            "POST",
            at("/issuers".to_owned()),
            json!({"issuer": "i", "audience": "a", "algorithm": "ES256", "jwks_url": "https://keys.example.com/"}),
        ),
        ("DELETE", at("/issuers/iss_00000000000000000000000000".to_owned()), Value::Null),
        ("GET", at("/usage".to_owned()), Value::Null),
        ("GET", at("/usage/requests".to_owned()), Value::Null),
        ("GET", at("/budget".to_owned()), Value::Null),
        ("GET", at("/audit".to_owned()), Value::Null),
    ]
}

#[tokio::test]
async fn one_tenants_admin_finds_nothing_of_another_tenants() {
    let provider = Provider::right().await;
    let gateway = gateway(&provider).await;
    let a = gateway.tenant_with_key("openai", &a_key("sk-")).await;
    let b = gateway.tenant_with_key("openai", &a_key("sk-")).await;
    let missing =
        gateway.admin(&a.admin_token, "GET", "/tenants/nobody", &Value::Null).await.refused(404, "not_found");
    for (method, path, body) in paths_of(&b) {
        let reply = gateway.admin(&a.admin_token, method, &path, &body).await;
        assert_eq!((reply.status(), reply.code().as_str()), (404, "not_found"), "{method} {path}");
        assert_eq!(reply.text(), missing.text(), "{method} {path}: as if it were not there");
    }
    // B's things under A's own name.
    for (method, path, body) in paths_of(&Tenant { id: a.id.clone(), ..b.clone() }) {
        if path.contains(&b.credential_id) || method == "DELETE" {
            let reply = gateway.admin(&a.admin_token, method, &path, &body).await;
            assert_eq!((reply.status(), reply.code().as_str()), (404, "not_found"), "{method} {path}");
        }
    }
    gateway.chat(&b.caller_token).await.expect(200);
    // Tenants themselves are the operator's.
    let path = format!("/tenants/{}", a.id);
    for (method, path, body) in [
        ("GET", "/tenants", Value::Null),
        ("POST", "/tenants", json!({"id": "mine"})),
        ("PATCH", path.as_str(), json!({"daily_quota": 1_000_000})),
        ("DELETE", path.as_str(), Value::Null),
    ] {
        gateway.admin(&a.admin_token, method, path, &body).await.refused(403, "forbidden");
    }
}

#[tokio::test]
async fn a_callers_token_administers_nothing() {
    let provider = Provider::right().await;
    let gateway = gateway(&provider).await;
    let tenant = gateway.tenant_with_key("openai", &a_key("sk-")).await;
    for (method, path, body) in paths_of(&tenant) {
        let reply = gateway.admin(&tenant.caller_token, method, &path, &body).await;
        assert_eq!((reply.status(), reply.code().as_str()), (403, "forbidden"), "{method} {path}");
        let reply = gateway.admin("sk-kf-nobody-secret", method, &path, &body).await;
        assert_eq!((reply.status(), reply.code().as_str()), (401, "unauthorized"), "{method} {path}");
    }
    gateway.chat(&tenant.caller_token).await.expect(200);
}

#[tokio::test]
async fn a_tenants_admin_does_all_that_is_the_tenants() {
    let provider = Provider::right().await;
    let gateway = gateway(&provider).await;
    let tenant = gateway.tenant_with_key("openai", &a_key("sk-")).await;
    for (method, path, body) in paths_of(&tenant) {
        let reply = gateway.admin(&tenant.admin_token, method, &path, &body).await;
        let expected = if path.contains("iss_0000") { 404..405 } else { 200..300 };
        assert!(expected.contains(&reply.status()), "{method} {path}: {} {}", reply.status(), reply.text());
    }
}

#[tokio::test]
async fn a_carried_key_serves_instead_of_a_stored_one_and_is_never_kept() {
    let provider = Provider::right().await;
    let gateway = gateway(&provider).await;
    let tenant = gateway.tenant_with_key("openai", &a_key("sk-held-")).await;
    let anthropic = json!({"model": "m", "max_tokens": 1, "messages": []});
    let mut carried = Vec::new();
    for (path, body, slot) in [
        (CHAT, json!({"model": "m"}), "authorization"),
        ("/anthropic/v1/messages", anthropic, "x-api-key"),
        ("/gemini/v1beta/models/m:generateContent", json!({"contents": []}), "x-goog-api-key"),
    ] {
        let key = a_key("sk-carried-");
        let name = path.split('/').nth(1).expect("a provider");
        let map = json!({"else": a_key("sk-"), name: key}).to_string();
        for header in [("x-byok-key", key.as_str()), ("x-byok-keys", map.as_str())] {
            let reply = gateway.post(&tenant.caller_token, path, &[header], &body).await.expect(200);
            assert_eq!(reply.header("x-keyferry-credential"), "carried");
            assert_eq!(reply.header("x-keyferry-credential-id"), "");
            let seen = provider.last();
            assert_eq!(seen.header(slot).trim_start_matches("Bearer "), key);
            assert_eq!(String::from_utf8_lossy(&seen.head).matches(&key).count(), 1);
            assert_eq!((seen.header("x-byok-key"), seen.header("x-byok-keys")), ("", ""));
        }
        carried.push(key);
    }
    for key in carried {
        assert!(on_disk(&gateway, key.as_bytes()).is_empty());
        assert!(!gateway.log().contains(&key));
    }
    let row = gateway.usage_row(&tenant.id, 6).await;
    assert_eq!((&row["credential"], &row["credential_id"]), (&json!("carried"), &Value::Null), "{row}");
}

#[tokio::test]
async fn with_the_token_apart_the_providers_own_slot_carries_the_key() {
    let provider = Provider::right().await;
    let gateway = gateway(&provider).await;
    let tenant = gateway.tenant_with_key("openai", &a_key("sk-held-")).await;
    for (path, slot, prefix) in [
        (CHAT, "authorization", "Bearer "),
        ("/anthropic/v1/messages", "authorization", "Bearer "),
        ("/anthropic/v1/messages", "x-api-key", ""),
        ("/gemini/v1beta/models/m:generateContent", "x-goog-api-key", ""),
    ] {
        let key = format!("{prefix}{}", a_key("sk-own-"));
        let headers = [("x-keyferry-token", tenant.caller_token.as_str()), (slot, &key)];
        let url = format!("{}{path}", gateway.url());
        let reply = crate::harness::post_json(&url, &headers, &json!({"model": "m"})).await.expect(200);
        assert_eq!(reply.header("x-keyferry-credential"), "carried", "{path}");
        let seen = provider.last();
        assert_eq!(seen.header(slot), key, "{path}: the slot it came in");
        assert_eq!(seen.header("x-keyferry-token"), "");
        let slots =
            ["authorization", "x-api-key", "x-goog-api-key"].map(|name| !seen.header(name).is_empty());
        assert_eq!(slots.into_iter().filter(|&there| there).count(), 1, "{path}: exactly one goes upstream");
    }
}

#[tokio::test]
async fn two_ways_of_bringing_a_key_are_refused() {
    let provider = Provider::right().await;
    let gateway = gateway(&provider).await;
    let tenant = gateway.tenant_with_key("openai", &a_key("sk-held-")).await;
    let (one, other) = (a_key("sk-"), a_key("sk-"));
    let map = json!({"openai": one}).to_string();
    let (token, own) = (format!("Bearer {}", tenant.caller_token), format!("Bearer {other}"));
    let in_slot = ("authorization", token.as_str());
    let apart = ("x-keyferry-token", tenant.caller_token.as_str());
    let cases: [&[(&str, &str)]; 8] = [
        &[in_slot, ("x-byok-key", &one), ("x-byok-keys", &map)],
        &[in_slot, ("x-byok-key", &one), ("x-sealed-key", "v=1")],
        &[in_slot, ("x-byok-key", &one), ("x-encrypted-key", "AAAA"), ("x-session-key", "AAAA")],
        &[in_slot, ("x-byok-keys", &map), ("x-sealed-key", "v=1")],
        &[apart, ("authorization", &own), ("x-byok-key", &one)],
        &[apart, ("authorization", &own), ("x-byok-keys", &map)],
        &[in_slot, ("x-api-key", &other)],
        &[in_slot, ("x-byok-key", &one), ("x-byok-key", &one)],
    ];
    for headers in cases {
        let reply =
            crate::harness::post_json(&format!("{}{CHAT}", gateway.url()), headers, &json!({"model": "m"}))
                .await;
        let names: Vec<_> = headers.iter().map(|(name, _)| name).collect();
        assert_eq!((reply.status(), reply.code().as_str()), (400, "invalid_request"), "{names:?}");
    }
    assert_eq!(provider.count(), 0);
}

#[tokio::test]
async fn keys_that_cannot_be_one_are_refused_and_never_quoted() {
    let provider = Provider::right().await;
    let gateway = gateway(&provider).await;
    let tenant = gateway.tenant_with_key("openai", &a_key("sk-held-")).await;
    let path = format!("/tenants/{}/credentials", tenant.id);
    let secret = a_key("sk-secret-");
    let mut kept = Vec::new();
    for body in [
        json!({"provider": "gemini", "api_key": "short"}),
        json!({"provider": "gemini", "api_key": format!("{secret} with a blank")}),
        json!({"provider": "gemini", "api_key": format!("{secret}\n")}),
        json!({"provider": "gemini", "api_key": secret.repeat(40)}),
        json!({"provider": "gemini", "api_key": 7}),
        json!({"provider": "gemini", "key": secret}),
        json!({"provider": "gemini", "api_key": a_key("sk-"), "label": secret, "more": 1}),
        json!({"provider": "gemini", "api_key": secret, "label": secret}),
        json!({"provider": "gemini", "api_key": secret, "label": ""}),
        json!({"provider": "gemini", "api_key": secret, "sealed_key": "v=1"}),
        json!({"provider": "gemini", "api_key": tenant.caller_token}),
        json!(["gemini", secret]),
        json!({"provider": "gemini"}),
        json!({"provider": secret, "api_key": 1}),
        json!([secret]),
        json!(secret),
    ] {
        let reply = gateway.operator("POST", &path, &body).await;
        if (reply.status(), reply.code().as_str()) != (400, "invalid_request") {
            kept.push((body, reply.status()));
        }
        assert!(!reply.text().contains(&secret), "{}", reply.text());
    }
    assert!(kept.is_empty(), "{kept:#?}");
    assert!(!gateway.log().contains(&secret));
    let mut connection = Connection::open(gateway.port()).await;
    let bearer = format!("Bearer {}", tenant.caller_token);
    for key in ["short", "with blank inside of it", "umläute-umläute-umläute"] {
        let headers =
            [("authorization", bearer.as_str()), ("content-type", "application/json"), ("x-byok-key", key)];
        connection.request("POST", CHAT, &headers, b"{\"model\":\"m\"}").await;
        let reply = connection.reply().await.refused(400, "invalid_request");
        assert!(!reply.text().contains(key));
        connection = Connection::open(gateway.port()).await;
    }
    assert_eq!(provider.count(), 0);
}
