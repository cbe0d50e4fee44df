//! One suite for every root, through the running binary.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use keyferry_kms::AwsConfig;
use keyferry_kms_testing::{Bench, Moto, OpenBao, softhsm::on_a_token, transit::Transit};
use serde_json::json;

use super::{WITHOUT_LIMITS, aws, kek_json, kms, pkcs11, store_many, vault};
use crate::harness::{Gateway, Options, Provider, Tenant, a_key};

/// Stored keys that are moved under traffic.
const MANY: usize = 10_000;

/// Asks with stored keys until it is told to stop; answers how many requests there were. Not one may
/// fail.
fn traffic(
    gateway: &Arc<Gateway>,
    tenants: &[Tenant],
    stop: &Arc<AtomicBool>,
) -> Vec<tokio::task::JoinHandle<usize>> {
    tenants
        .iter()
        .map(|tenant| {
            let (gateway, token, stop) = (Arc::clone(gateway), tenant.caller_token.clone(), Arc::clone(stop));
            tokio::spawn(async move {
                let mut count = 0;
                while !stop.load(Ordering::Relaxed) {
                    gateway.chat(&token).await.expect(200);
                    count += 1;
                }
                count
            })
        })
        .collect()
}

/// Stores, rotates, and moves all of it under traffic.
async fn moves_ten_thousand_keys_under_traffic(kms: &str, env: &[(&str, &str)]) {
    let provider = Provider::right().await;
    let options = env.iter().fold(Options::to(&provider), |options, (name, value)| options.env(name, value));
    let options = options.quiet().yaml(kms).yaml(WITHOUT_LIMITS);
    let gateway = Arc::new(Gateway::start(options).await);
    let mut tenants = Vec::new();
    for _ in 0..4 {
        let tenant = gateway.tenant_with_key("openai", &a_key("sk-")).await;
        store_many(&gateway, &tenant.id, MANY / 4).await;
        tenants.push(tenant);
    }
    let stop = Arc::new(AtomicBool::new(false));
    let asking = traffic(&gateway, &tenants, &stop);
    assert_eq!(kek_json(&gateway, &["rotate"]).await["rotated"], 4);
    let begun = Instant::now();
    let moved = kek_json(&gateway, &["rewrap"]).await;
    let took = begun.elapsed();
    assert_eq!((&moved["versions"], &moved["left"]), (&json!(MANY + 4), &json!(0)));
    stop.store(true, Ordering::Relaxed);
    let mut requests = 0;
    for task in asking {
        requests += task.await.expect("not one request failed");
    }
    assert!(requests > 100, "there was traffic: {requests}");
    eprintln!("{MANY} keys moved in {took:?} under {requests} requests");
    assert_eq!(kek_json(&gateway, &["status"]).await["versions_to_move"], 0);
}

#[tokio::test]
async fn a_master_secret_moves_ten_thousand_keys_under_traffic() {
    moves_ten_thousand_keys_under_traffic("", &[]).await;
}

#[tokio::test]
async fn a_transit_key_moves_ten_thousand_keys_under_traffic() {
    let server = Transit::start().await;
    let bench = Bench::small(&server, "transit").await;
    moves_ten_thousand_keys_under_traffic(&kms(&vault(&bench.config), ""), &[]).await;
}

#[tokio::test]
async fn openbao_moves_ten_thousand_keys_under_traffic() {
    let Some(bao) = OpenBao::start("openbao_moves_ten_thousand_keys_under_traffic").await else { return };
    let bench = Bench::on(bao.operator.clone(), "transit").await;
    moves_ten_thousand_keys_under_traffic(&kms(&vault(&bench.config), ""), &[]).await;
}

/// The variables that name an access key for moto, which takes any.
pub(super) const ACCESS_KEY: [(&str, &str); 2] =
    [("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test")];

/// A new key in moto's KMS.
pub(super) fn aws_key(moto: &Moto) -> AwsConfig {
    AwsConfig {
        key_id: moto.new_key(),
        region: "us-east-1".to_owned(),
        endpoint: Some(moto.address()),
        ca: None,
    }
}

#[tokio::test]
async fn aws_kms_moves_ten_thousand_keys_under_traffic() {
    let Some(moto) = Moto::start("aws_kms_moves_ten_thousand_keys_under_traffic") else { return };
    moves_ten_thousand_keys_under_traffic(&kms(&aws(&aws_key(&moto)), ""), &ACCESS_KEY).await;
}

#[test]
fn a_hardware_module_moves_ten_thousand_keys_under_traffic() {
    on_a_token("kek::roots::a_hardware_module_moves_ten_thousand_keys_under_traffic", async |hsm| {
        let root = pkcs11(&hsm.with_key("kek"));
        moves_ten_thousand_keys_under_traffic(&kms(&root, ""), &[]).await;
    });
}
