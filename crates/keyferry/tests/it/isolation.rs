//! Tenants side by side: on connections, under ids, and through a rotation.

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures_util::future::join_all;
use keyferry_envelope::{Entropy, SystemEntropy};
use serde_json::{Value, json};

use crate::{
    harness::{Answer, Connection, Gate, Gateway, Issuer, Options, Provider, Reply, Seen, Tenant, a_key},
    ingress::UNLIMITED,
};

const CHAT: &str = "/openai/v1/chat/completions";
const CLIENTS: usize = 12;
const ROUNDS: usize = 250;

fn key_of(seen: &Seen) -> String {
    seen.header("authorization").trim_start_matches("Bearer ").to_owned()
}

/// Says which key came with which model.
fn confess(seen: &Seen) -> Answer {
    let body = json!({"key": key_of(seen), "model": seen.json()["model"], "usage": {}});
    if seen.json()["stream"] != true {
        return Answer::json(200, &body);
    }
    let end = "data: [DONE]\n\n";
    Answer::events().chunk(format!("data: {body}\n\n")).pause(Duration::from_millis(2)).chunk(end).end()
}

/// Numbers without a pattern; the seed is printed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// One client that asks in the name of any tenant, in any way, and leaves some answers half read.
async fn wander(gateway: &Gateway, tenants: &[(Tenant, String)], client: usize, mut dice: Dice) {
    let mut connection = Connection::open(gateway.port()).await;
    for round in 0..ROUNDS {
        let (tenant, held) = &tenants[dice.roll(tenants.len() as u64) as usize];
        let carried = (dice.roll(4) == 0).then(|| a_key("sk-carried-"));
        let model = format!("m-{client}-{round}");
        let (streamed, leaves) = (dice.roll(2) == 0, dice.roll(6) == 0);
        let body = json!({"model": model, "stream": streamed}).to_string();
        let bearer = format!("Bearer {}", tenant.caller_token);
        let mut headers = vec![("authorization", bearer.as_str()), ("content-type", "application/json")];
        headers.extend(carried.as_ref().map(|key| ("x-byok-key", key.as_str())));
        connection.request("POST", CHAT, &headers, body.as_bytes()).await;
        if leaves {
            if dice.roll(2) == 0 {
                connection.head().await;
            }
            connection = Connection::open(gateway.port()).await;
            continue;
        }
        let reply = connection.reply().await.expect(200);
        let text = reply.text();
        let said: Value = match text.strip_prefix("data: ") {
            Some(event) => serde_json::from_str(event.split('\n').next().unwrap_or_default()),
            None => serde_json::from_str(&text),
        }
        .expect("JSON");
        let own = carried.as_ref().unwrap_or(held);
        assert_eq!((&said["key"], &said["model"]), (&json!(own), &json!(model)), "{}", tenant.id);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_3000_interleaved_requests_no_tenant_gets_anothers_key_answer_or_connection() {
    let provider = Provider::start(confess).await;
    let gateway = Arc::new(Gateway::start(Options::to(&provider).yaml(UNLIMITED).quiet()).await);
    let mut tenants = Vec::new();
    for _ in 0..4 {
        let key = a_key("sk-held-");
        tenants.push((gateway.tenant_with_key("openai", &key).await, key));
    }
    let mut seed = [0; 8];
    SystemEntropy.fill(&mut seed);
    let seed = u64::from_le_bytes(seed);
    println!("seed {seed}");
    join_all(
        (0..CLIENTS).map(|client| wander(&gateway, &tenants, client, Dice(seed.wrapping_add(client as u64)))),
    )
    .await;

    // A stored key never travels on a connection that another tenant's stored key used.
    let mut owners: HashMap<usize, String> = HashMap::new();
    let (mut asked, mut held) = (0, 0);
    for seen in provider.seen() {
        asked += 1;
        let key = key_of(&seen);
        if tenants.iter().any(|(_, known)| *known == key) {
            held += 1;
            let owner = owners.entry(seen.connection).or_insert_with(|| key.clone());
            assert_eq!(*owner, key, "a connection served two tenants");
        }
    }
    assert!(asked > CLIENTS * ROUNDS * 3 / 4, "{asked}");
    assert!(owners.len() * 4 < held, "connections are kept: {} for {held} requests", owners.len());
}

/// Every operation of the document below a tenant, with ids put in.
fn operations_below(tenant: &str, credential: &str, token: &str, issuer: &str) -> Vec<(String, String)> {
    let document: Value = serde_json::from_str(include_str!("../../src/admin/openapi.json")).expect("JSON");
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        let Some(below) = path.strip_prefix("/api/v1").filter(|path| path.contains("{tenant}")) else {
            continue;
        };
        let concrete = below
            .replace("{tenant}", tenant)
            .replace("{credential}", credential)
            .replace("{token}", token)
            .replace("{issuer}", issuer);
        assert!(!concrete.contains('{'), "an id that this test does not know: {path}");
        for method in item.as_object().expect("a path item").keys().filter(|key| *key != "parameters") {
            found.push((method.to_uppercase(), concrete.clone()));
        }
    }
    assert!(found.len() > 15, "the document was not read: {found:?}");
    found
}

/// What may be sent with a method; the tenant is looked at before it.
fn bodies(method: &str) -> Vec<Value> {
    match method {
        "POST" | "PATCH" => {
            vec![Value::Null, json!({}), json!({"api_key": a_key("sk-")}), json!({"name": "x"})]
        }
        _ => vec![Value::Null],
    }
}

fn told(reply: &Reply) -> (u16, Vec<(String, String)>, String) {
    let mut headers = reply.head.headers.clone();
    headers.retain(|(name, _)| !name.ends_with("request-id") && name != "date");
    (reply.status(), headers, reply.text())
}

#[tokio::test]
async fn another_tenants_ids_are_answered_as_ids_that_do_not_exist_on_every_operation() {
    let provider = Provider::right().await;
    let gateway = Gateway::before(&provider).await;
    let a = gateway.tenant_with_key("openai", &a_key("sk-")).await;
    let b = gateway.tenant_with_key("openai", &a_key("sk-")).await;
    let issuer = Issuer::new();
    let issuer_id = issuer.register(&gateway, &b.id).await;
    let tokens = gateway.operator("GET", &format!("/tenants/{}/tokens", b.id), &Value::Null).await.json();
    let token = tokens["data"][0]["id"].as_str().expect("an id").to_owned();
    // Ids of the right form, of nothing.
    let altered = |id: &str| {
        let last = if id.ends_with('0') { "1" } else { "0" };
        format!("{}{last}", &id[..id.len() - 1])
    };
    let (no_credential, no_token, no_issuer) =
        (altered(&b.credential_id), altered(&token), altered(&issuer_id));
    for (tenant, nobody) in [(b.id.as_str(), "nobody"), (a.id.as_str(), a.id.as_str())] {
        let theirs = operations_below(tenant, &b.credential_id, &token, &issuer_id);
        let nothing = operations_below(nobody, &no_credential, &no_token, &no_issuer);
        for ((method, theirs), (_, nothing)) in theirs.iter().zip(&nothing) {
            if tenant == a.id && theirs == nothing {
                continue; // A's own, without an id of B's
            }
            for who in [&a.admin_token, &a.caller_token] {
                for body in bodies(method) {
                    let on_theirs = gateway.admin(who, method, theirs, &body).await;
                    let on_nothing = gateway.admin(who, method, nothing, &body).await;
                    assert!(
                        matches!(on_theirs.status(), 403 | 404),
                        "{method} {theirs} {}",
                        on_theirs.text()
                    );
                    assert_eq!(told(&on_theirs), told(&on_nothing), "{method} {theirs}");
                }
            }
        }
    }
    gateway.chat(&b.caller_token).await.expect(200);
    gateway.chat(&issuer.token(&b.id, "still-there")).await.expect(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_a_key_is_rotated_no_request_is_without_one() {
    let gate = Gate::new();
    let held_back = gate.clone();
    let provider = Provider::start(move |seen| {
        if seen.json()["model"] != "slow" {
            return confess(seen);
        }
        let first = format!("data: {{\"key\":\"{}\"}}\n\n", key_of(seen));
        Answer::events().chunk(first).gate(&held_back, 1).chunk("data: [DONE]\n\n").end()
    })
    .await;
    let gateway = Gateway::start(Options::to(&provider).yaml(UNLIMITED).quiet()).await;
    let first = a_key("sk-");
    let tenant = gateway.tenant_with_key("openai", &first).await;

    // A stream that began under the first key ends whole after 30 rotations.
    let mut stream = Connection::open(gateway.port()).await;
    let bearer = format!("Bearer {}", tenant.caller_token);
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    stream.request("POST", CHAT, &headers, br#"{"model":"slow","stream":true}"#).await;
    let head = stream.head().await;
    assert_eq!(head.status, 200);
    stream.until_text(&first).await;

    let path = format!("/tenants/{}/credentials/{}/rotate", tenant.id, tenant.credential_id);
    let keys: Vec<String> = std::iter::once(first).chain((0..30).map(|_| a_key("sk-"))).collect();
    let rotating = async {
        for key in &keys[1..] {
            gateway.operator("POST", &path, &json!({"api_key": key})).await.expect(200);
            let said = gateway.chat(&tenant.caller_token).await.expect(200).json();
            assert_eq!(said["key"], json!(key), "the next request uses the new key");
        }
    };
    let asking = async {
        let mut newest = 0;
        for _ in 0..200 {
            let said = gateway.chat(&tenant.caller_token).await.expect(200).json();
            let used = keys.iter().position(|key| said["key"] == json!(key)).expect("one of the keys");
            assert!(used >= newest, "an older key came back");
            newest = used;
        }
    };
    tokio::join!(rotating, asking);
    gate.open();
    stream.until_text("[DONE]").await;
    let path = format!("/tenants/{}/credentials/{}", tenant.id, tenant.credential_id);
    let credential = gateway.operator("GET", &path, &Value::Null).await.expect(200).json();
    assert_eq!(credential["version"], 31);
}
