//! Many gateways on one PostgreSQL and one Redis: what one does, all obey; what is counted, is counted once.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::harness::{Gateway, Issuer, Options, Provider, Shared, a_key, until};

const NO_RATES: &str = "rate_limits: {caller: unlimited, tenant: unlimited, tenant_provider: unlimited}";

async fn two(shared: &Shared, provider: &Provider) -> [Gateway; 2] {
    let start = || Gateway::start(shared.options(Options::to(provider).yaml(NO_RATES).quiet()));
    [start().await, start().await]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quota_and_a_token_id_are_used_up_across_gateways_exactly() {
    let test = "a_quota_and_a_token_id_are_used_up_across_gateways_exactly";
    let Some(shared) = Shared::open(test).await else { return };
    let provider = Provider::right().await;
    let gateways = two(&shared, &provider).await;
    let tenant = gateways[0].tenant_with_key("openai", &a_key("key-")).await;
    let path = format!("/tenants/{}", tenant.id);
    for round in 1..=20 {
        gateways[round % 2].operator("PATCH", &path, &json!({"daily_quota": 20 * round})).await.expect(200);
        let all = (0..60).map(|number| gateways[number % 2].chat(&tenant.caller_token));
        let passed = join_all(all).await.iter().filter(|reply| reply.status() == 200).count();
        assert_eq!(passed, 20, "round {round}");
    }
    let issuer = Issuer::new();
    issuer.register(&gateways[0], &tenant.id).await;
    gateways[0].operator("PATCH", &path, &json!({"daily_quota": 100_000})).await.expect(200);
    for round in 1..=20 {
        let tokens: Vec<String> = (0..40).map(|_| issuer.token(&tenant.id, &format!("id-{round}"))).collect();
        let all = tokens.iter().enumerate().map(|(number, token)| gateways[number % 2].chat(token));
        let passed = join_all(all).await.iter().filter(|reply| reply.status() == 200).count();
        assert_eq!(passed, 1, "round {round}");
    }
    assert_eq!(provider.count(), 20 * 20 + 20);
}

#[tokio::test]
async fn what_one_revokes_the_other_refuses_from_the_next_request_on() {
    let test = "what_one_revokes_the_other_refuses_from_the_next_request_on";
    let Some(shared) = Shared::open(test).await else { return };
    let provider = Provider::right().await;
    let [one, other] = two(&shared, &provider).await;
    let tenant = one.tenant_with_key("openai", &a_key("key-")).await;
    other.chat(&tenant.caller_token).await.expect(200);
    let credential = format!("/tenants/{}/credentials/{}", tenant.id, tenant.credential_id);
    one.operator("DELETE", &credential, &Value::Null).await.expect(204);
    other.chat(&tenant.caller_token).await.refused(404, "BYOK_KEY_NOT_FOUND");
    // A new one, a token, the tenant's switch.
    let stored = json!({"provider": "openai", "api_key": a_key("key-")});
    other.operator("POST", &format!("/tenants/{}/credentials", tenant.id), &stored).await.expect(201);
    one.chat(&tenant.caller_token).await.expect(200);
    let issued = one
        .operator("POST", &format!("/tenants/{}/tokens", tenant.id), &json!({"role": "caller"}))
        .await
        .expect(201)
        .json();
    let (id, token) = (issued["id"].as_str().expect("an id"), issued["token"].as_str().expect("a token"));
    other.chat(token).await.expect(200);
    one.operator("DELETE", &format!("/tenants/{}/tokens/{id}", tenant.id), &Value::Null).await.expect(204);
    other.chat(token).await.refused(401, "unauthorized");
    one.operator("PATCH", &format!("/tenants/{}", tenant.id), &json!({"byok_enabled": false}))
        .await
        .expect(200);
    other.chat(&tenant.caller_token).await.refused(404, "BYOK_DISABLED");
}

#[tokio::test]
async fn a_change_moves_its_epoch_once() {
    let Some(shared) = Shared::open("a_change_moves_its_epoch_once").await else { return };
    let provider = Provider::right().await;
    let gateways = two(&shared, &provider).await;
    let tenant = gateways[0].tenant_with_key("openai", &a_key("key-")).await;
    let path = format!("/tenants/{}", tenant.id);
    let mut redis = shared.redis.client(0);
    let mut epoch = || redis.ask::<String>(&format!("GET kf:{{{}}}:epoch", tenant.id));
    for quota in 1..=3 {
        let before = epoch();
        gateways[quota % 2].operator("PATCH", &path, &json!({"daily_quota": quota})).await.expect(200);
        let moved = epoch();
        assert_ne!(moved, before);
        // Rounds of both gateways, in which what was left over would be carried.
        sleep(Duration::from_millis(1200)).await;
        assert_eq!(epoch(), moved, "quota {quota}");
    }
}

/// The counters stand still between a change and the move of its epoch, and the gateway that made it dies.
#[tokio::test]
async fn a_change_whose_gateway_dies_before_the_epoch_moves_is_obeyed_within_a_second() {
    let test = "a_change_whose_gateway_dies_before_the_epoch_moves_is_obeyed_within_a_second";
    let Some(shared) = Shared::open(test).await else { return };
    let provider = Provider::right().await;
    let [mut one, other] = two(&shared, &provider).await;
    let tenant = one.tenant_with_key("openai", &a_key("key-")).await;
    other.chat(&tenant.caller_token).await.expect(200);
    let path = format!("/tenants/{}", tenant.id);
    shared.redis.pause();
    let off = json!({"byok_enabled": false});
    // Nobody waits for its answer.
    let asked = tokio::time::timeout(Duration::from_millis(200), one.operator("PATCH", &path, &off)).await;
    assert!(asked.is_err(), "the counters do not answer");
    until("the change is made", || async {
        let seen = other.operator("GET", &path, &Value::Null).await.expect(200).json();
        (seen["byok_enabled"] == false).then_some(())
    })
    .await;
    one.kill();
    shared.redis.resume();
    let begun = Instant::now();
    until("the change is obeyed", || async {
        (other.chat(&tenant.caller_token).await.status() == 404).then_some(())
    })
    .await;
    assert!(begun.elapsed() < Duration::from_secs(1), "it took {:?}", begun.elapsed());
}

#[tokio::test]
async fn tenants_that_strangers_make_up_leave_nothing_in_the_counters() {
    let test = "tenants_that_strangers_make_up_leave_nothing_in_the_counters";
    let Some(shared) = Shared::open(test).await else { return };
    let provider = Provider::right().await;
    let gateway = Gateway::start(shared.options(Options::to(&provider))).await;
    let issuer = Issuer::new();
    let mut redis = shared.redis.client(0);
    let before: usize = redis.ask("DBSIZE");
    for number in 0..20 {
        gateway.chat(&issuer.token(&format!("nobody-{number}"), "once")).await.refused(401, "unauthorized");
    }
    assert_eq!(redis.ask::<usize>("DBSIZE"), before);
}

/// Each request reaches its provider with its own tenant's key, whichever gateway serves it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_tenants_never_meet_each_others_keys() {
    let test = "a_hundred_tenants_never_meet_each_others_keys";
    let Some(shared) = Shared::open(test).await else { return };
    let provider = Provider::right().await;
    let gateways = two(&shared, &provider).await;
    let mut tenants = Vec::new();
    for number in 0..100 {
        let id = format!("tenant-{number:03}");
        gateways[number % 2].tenant(&id).await;
        // A key says whose it is.
        for name in ["openai", "anthropic"] {
            let key = format!("{}-{id}-{name}", a_key("key-"));
            gateways[number % 2].store(&id, name, &key).await;
        }
        let token = gateways[(number + 1) % 2].token(&id, &json!({"role": "caller"})).await;
        tenants.push((id, token));
    }
    let ask = |number: usize, name: &'static str, gateway: usize| {
        let (id, token) = &tenants[number];
        let gateway = &gateways[gateway];
        async move {
            let path = match name {
                "openai" => "/openai/v1/chat/completions",
                _ => "/anthropic/v1/messages",
            };
            let stream = number.is_multiple_of(3);
            let body = json!({"model": "m", "max_tokens": 9, "messages": [], "user": id, "stream": stream});
            gateway.post(token, path, &[], &body).await.expect(200);
        }
    };
    for round in 0..3 {
        // So many at once that they meet, and so few that a busy machine does not keep the store from answering in time.
        for some in (0..100).collect::<Vec<_>>().chunks(10) {
            let all = some.iter().flat_map(|&number| {
                [("openai", number + round), ("anthropic", number + round + 1)]
                    .map(|(name, gateway)| ask(number, name, gateway % 2))
            });
            join_all(all).await;
        }
    }
    let seen = provider.seen();
    assert_eq!(seen.len(), 600);
    for one in seen {
        let (name, key) = match one.header("x-api-key") {
            "" => ("openai", one.header("authorization").to_owned()),
            key => ("anthropic", key.to_owned()),
        };
        let id = one.json()["user"].as_str().expect("an id").to_owned();
        assert!(key.ends_with(&format!("-{id}-{name}")), "{id} was served by another key");
    }
}
