//! The suite, and what only Transit can show, on the small server and on OpenBao.

use std::sync::Arc;

use keyferry_core::port::root::{Root, RootError};
use keyferry_envelope::SystemEntropy;
use keyferry_kms::{VaultConfig, vault::Vault};
use keyferry_kms_testing::{Bench, OpenBao, Operator, transit::Transit};
use serde_json::json;

use crate::suite::{CONTEXT, conforms, key, rotation_keeps_old_keys_readable};

async fn a_transit_key_conforms(operator: Operator) {
    let bench = Bench::on(operator, "conforms").await;
    let vault = bench.vault();
    assert_eq!(vault.id(), "vault:conforms/kek");
    conforms(&*vault).await;
    rotation_keeps_old_keys_readable(&*vault, async || bench.rotate().await).await;
    conforms(&*vault).await;
}

async fn a_derived_key_conforms(operator: Operator) {
    let derived = json!({"type": "aes256-gcm96", "derived": true});
    let bench = Bench::with_key(operator, None, "derived", &derived).await;
    let vault = bench.vault();
    conforms(&*vault).await;
    rotation_keeps_old_keys_readable(&*vault, async || bench.rotate().await).await;
}

async fn a_key_in_a_namespace_conforms(operator: Operator) {
    operator.done("POST", "sys/namespaces/team", &json!({})).await;
    let key = json!({"type": "aes256-gcm96"});
    let bench = Bench::with_key(operator, Some("team"), "inside", &key).await;
    let vault = bench.vault();
    assert_eq!(vault.id(), "vault:team/inside/kek");
    conforms(&*vault).await;
}

async fn another_transit_key_does_not_open_it(operator: Operator) {
    let (here, there) = (Bench::on(operator.clone(), "here").await, Bench::on(operator, "there").await);
    let wrapped = here.vault().wrap(&CONTEXT, &key(7)).await.expect("wraps");
    let refused = there.vault().unwrap(&CONTEXT, &wrapped).await;
    assert!(matches!(refused, Err(RootError::Refused)));
}

/// Each is mended by the operator; none may pass for a key that does not open.
async fn the_operators_faults_are_denials(operator: Operator) {
    let bench = Bench::on(operator.clone(), "faults").await;
    let vault = bench.vault();
    let old = vault.wrap(&CONTEXT, &key(7)).await.expect("wraps");
    bench.rotate().await;
    let config = |least: u32| json!({"min_decryption_version": least});
    operator.done("POST", "faults/keys/kek/config", &config(2)).await;
    for asked in [vault.unwrap(&CONTEXT, &old).await.err(), vault.renew(&CONTEXT, &old).await.err()] {
        let Some(RootError::Outdated(words)) = asked else { panic!("{asked:?}") };
        assert!(words.contains("min_decryption_version"), "{words}");
    }
    operator.done("POST", "faults/keys/kek/config", &config(1)).await;
    assert!(vault.unwrap(&CONTEXT, &old).await.is_ok());

    bench.write_token(&operator.token);
    let missing = || "missing".to_owned();
    let named = || bench.config.clone();
    for (config, words) in [
        (VaultConfig { key: missing(), ..named() }, "does not exist"),
        (VaultConfig { mount: missing(), ..named() }, "at this `mount`"),
        (VaultConfig { namespace: Some(missing()), ..named() }, "namespace"),
    ] {
        let other = Vault::new(&config, Arc::new(SystemEntropy)).expect("a root");
        told(other.unwrap(&CONTEXT, &old).await.err(), words);
    }

    let rsa = json!({"type": "rsa-2048"});
    let wrong_type = Bench::with_key(operator, None, "rsa", &rsa).await;
    told(wrong_type.vault().wrap(&CONTEXT, &key(7)).await.err(), "aes256-gcm96");
}

/// A token with the README's policy cannot make a key by encrypting with a name that is not there.
async fn the_least_policy_makes_no_keys(operator: Operator) {
    let bench = Bench::on(operator.clone(), "least").await;
    let token = bench.new_token(&json!({})).await;
    let policy = "path \"least/encrypt/absent\" { capabilities = [\"update\"] }";
    operator.done("POST", "sys/policies/acl/least", &json!({"policy": policy})).await;
    bench.write_token(&token);
    let config = VaultConfig { key: "absent".to_owned(), ..bench.config.clone() };
    let vault = Vault::new(&config, Arc::new(SystemEntropy)).expect("a root");
    told(vault.wrap(&CONTEXT, &key(7)).await.err(), "policy");
}

fn told(error: Option<RootError>, words: &str) {
    match error {
        Some(RootError::Denied(told)) => assert!(told.contains(words), "{told}"),
        other => panic!("expected a denial with `{words}`, got {other:?}"),
    }
}

#[tokio::test]
async fn a_transit_key_is_a_root() {
    a_transit_key_conforms(Operator::of(&Transit::start().await)).await;
}

#[tokio::test]
async fn a_derived_transit_key_is_a_root() {
    a_derived_key_conforms(Operator::of(&Transit::start().await)).await;
}

#[tokio::test]
async fn a_transit_key_in_a_namespace_is_a_root() {
    a_key_in_a_namespace_conforms(Operator::of(&Transit::start().await)).await;
}

#[tokio::test]
async fn keys_of_one_transit_key_do_not_open_with_another() {
    another_transit_key_does_not_open_it(Operator::of(&Transit::start().await)).await;
}

#[tokio::test]
async fn what_the_operator_can_mend_is_denied_and_says_how() {
    the_operators_faults_are_denials(Operator::of(&Transit::start().await)).await;
}

#[tokio::test]
async fn encrypting_under_the_least_policy_makes_no_key() {
    the_least_policy_makes_no_keys(Operator::of(&Transit::start().await)).await;
}

#[tokio::test]
async fn openbao_is_a_root() {
    let Some(bao) = OpenBao::start("openbao_is_a_root").await else { return };
    a_transit_key_conforms(bao.operator.clone()).await;
    a_derived_key_conforms(bao.operator.clone()).await;
    a_key_in_a_namespace_conforms(bao.operator.clone()).await;
    another_transit_key_does_not_open_it(bao.operator.clone()).await;
    the_operators_faults_are_denials(bao.operator.clone()).await;
    the_least_policy_makes_no_keys(bao.operator.clone()).await;
}
