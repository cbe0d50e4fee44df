//! From one root to another, step by step, as an operator does it.

use std::{fs, os::unix::fs::PermissionsExt};

use keyferry_core::{sealing::SealingKeyList, time::Timestamp};
use keyferry_envelope::{ApiKey, LocalRoot, SealFor, SealPurpose, SecretBytes, SystemEntropy, seal_key};
use keyferry_kms_testing::{Bench, Moto, softhsm::on_a_token, transit::Transit};
use serde_json::{Value, json};

use super::{
    aws, kek_json, kms, pkcs11, readiness,
    roots::{ACCESS_KEY, aws_key},
    run, vault,
};
use crate::harness::{Database, Gateway, Options, Provider, Tenant, a_key, now, request};

/// What must stay as it is whatever root it lies under.
struct Scene {
    provider: Provider,
    gateway: Gateway,
    tenants: Vec<(Tenant, String)>,
    fingerprints: Vec<Value>,
}

impl Scene {
    /// On the first root, with keys of three tenants.
    async fn on(root: &str) -> Self {
        let provider = Provider::right().await;
        let options = ACCESS_KEY
            .iter()
            .fold(Options::to(&provider).quiet(), |options, (name, value)| options.env(name, value));
        let gateway = Gateway::start(options.yaml(&kms(root, ""))).await;
        let mut tenants = Vec::new();
        for _ in 0..3 {
            let key = a_key("sk-held-");
            tenants.push((gateway.tenant_with_key("openai", &key).await, key));
        }
        let mut scene = Self { provider, gateway, tenants, fingerprints: Vec::new() };
        scene.fingerprints = scene.fingerprints().await;
        scene
    }

    async fn fingerprints(&self) -> Vec<Value> {
        let mut fingerprints = Vec::new();
        for (tenant, _) in &self.tenants {
            let path = format!("/tenants/{}/credentials", tenant.id);
            let listed = self.gateway.operator("GET", &path, &Value::Null).await.expect(200).json();
            fingerprints.push(listed["data"][0]["fingerprint"].clone());
        }
        fingerprints
    }

    /// Moves from one root to another; answers how many keys there were.
    async fn moves(&mut self, from: &str, to: &str) -> u64 {
        let sealed = self.seal().await;
        self.gateway.set_kms(&kms(to, &format!(", previous: [{{{from}}}]")));
        self.gateway.restart().await;
        // What lies under the old root serves at once, and new keys go under the new one.
        self.everything_serves().await;
        let before = kek_json(&self.gateway, &["status"]).await;
        assert_eq!(before["keks_under_previous_roots"], 3, "{before}");
        let keys = before["keys_under_previous_roots"].as_u64().expect("a number");
        assert_eq!(keys, 6, "the service secret and two sealing keys too: {before}");
        let moved = kek_json(&self.gateway, &["rewrap"]).await;
        assert_eq!((&moved["keys"], &moved["left"]), (&json!(keys), &json!(0)));
        self.everything_serves().await;

        let status = kek_json(&self.gateway, &["status"]).await;
        assert_eq!(
            (&status["keks_under_previous_roots"], &status["keys_under_previous_roots"]),
            (&json!(0), &json!(0)),
            "{status}"
        );
        assert_eq!(status["roots"][0]["keys"], keys, "{status}");
        self.gateway.set_kms(&kms(to, ""));
        self.gateway.restart().await;
        self.everything_serves().await;
        self.serves_sealed(&sealed).await;
        keys
    }

    async fn everything_serves(&self) {
        for (tenant, key) in &self.tenants {
            let reply = self.gateway.chat(&tenant.caller_token).await.expect(200);
            assert_eq!(reply.header("x-keyferry-credential"), "held");
            assert_eq!(self.provider.last().header("authorization"), format!("Bearer {key}"));
        }
        assert_eq!(self.fingerprints().await, self.fingerprints);
        let verified = run(&self.gateway, &["audit", "verify"]).await;
        assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
    }

    /// A sealed key, and the key in it.
    async fn seal(&self) -> (String, String) {
        let url = format!("{}/api/v1/sealing-keys", self.gateway.url());
        let list = SealingKeyList::parse(&request("GET", &url, &[], b"").await.expect(200).body);
        let (kid, public) = list.expect("a list").choose(Timestamp::from_secs(now())).expect("a key");
        let key = a_key("sk-sealed-");
        let tenant = &self.tenants[0].0.id;
        let to = SealFor { purpose: SealPurpose::Request, tenant, provider: "openai", ts: now() as u64 };
        let secret = ApiKey::parse(SecretBytes::new(key.clone().into_bytes())).expect("a key");
        (seal_key(&public, &kid, &to, &secret, &SystemEntropy).expect("seals"), key)
    }

    async fn serves_sealed(&self, (sealed, key): &(String, String)) {
        let token = &self.tenants[0].0.caller_token;
        let body = json!({"model": "m", "messages": []});
        let headers = [("x-sealed-key", sealed.as_str())];
        let reply = self.gateway.post(token, "/openai/v1/chat/completions", &headers, &body).await;
        assert_eq!(reply.expect(200).header("x-keyferry-credential"), "sealed");
        assert_eq!(self.provider.last().header("authorization"), format!("Bearer {key}"));
    }
}

/// A master secret in a file of its own.
fn local(folder: &tempfile::TempDir, name: &str) -> String {
    let path = folder.path().join(name);
    let secret = LocalRoot::generate(&SystemEntropy).to_hex_line();
    fs::write(&path, secret.expose()).expect("written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("mode");
    format!("kind: local, master_secret_file: {}", path.display())
}

/// What lies under it does not open, however well the root is that wraps.
#[tokio::test]
async fn readiness_tells_of_a_root_that_is_only_read_from() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut server = Transit::start().await;
    let bench = Bench::small(&server, "transit").await;
    let transit = vault(&bench.config);
    let mut scene = Scene::on(&transit).await;
    scene.gateway.set_kms(&kms(&local(&folder, "new"), &format!(", previous: [{{{transit}}}]")));
    scene.gateway.restart().await;
    assert_eq!(readiness(&scene.gateway).await, "ok");
    server.down().await;
    for (said, (tenant, _)) in ["degraded", "degraded", "open"].into_iter().zip(&scene.tenants) {
        scene.gateway.chat(&tenant.caller_token).await.refused(503, "BYOK_SERVICE_UNAVAILABLE");
        assert_eq!(readiness(&scene.gateway).await, said);
    }
}

#[tokio::test]
async fn from_a_master_secret_to_transit_and_to_another_master_secret() {
    let folder = tempfile::tempdir().expect("a folder");
    let (one, other) = (local(&folder, "one"), local(&folder, "other"));
    let server = Transit::start().await;
    let bench = Bench::small(&server, "transit").await;
    let transit = vault(&bench.config);
    let mut scene = Scene::on(&one).await;
    scene.moves(&one, &transit).await;
    scene.moves(&transit, &other).await;

    // The first root opens nothing any more, and the program says so.
    scene.gateway.kill();
    scene.gateway.set_kms(&kms(&one, ""));
    let told = run(&scene.gateway, &["serve"]).await;
    assert_eq!(told.status.code(), Some(1));
    let told = String::from_utf8_lossy(&told.stderr).into_owned();
    assert!(told.contains("kms: this store was made under the root local:"), "{told}");
}

#[test]
fn from_transit_to_a_hardware_module_and_to_a_master_secret() {
    let name = "kek::between::from_transit_to_a_hardware_module_and_to_a_master_secret";
    on_a_token(name, async |hsm| {
        let folder = tempfile::tempdir().expect("a folder");
        let last = local(&folder, "last");
        let server = Transit::start().await;
        let bench = Bench::small(&server, "transit").await;
        let (transit, module) = (vault(&bench.config), pkcs11(&hsm.with_key("kek")));
        let mut scene = Scene::on(&transit).await;
        scene.moves(&transit, &module).await;
        scene.moves(&module, &last).await;
    });
}

#[tokio::test]
async fn from_transit_to_aws_and_to_a_master_secret() {
    let Some(moto) = Moto::start("from_transit_to_aws_and_to_a_master_secret") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let last = local(&folder, "last");
    let server = Transit::start().await;
    let bench = Bench::small(&server, "transit").await;
    let (transit, kms) = (vault(&bench.config), aws(&aws_key(&moto)));
    let mut scene = Scene::on(&transit).await;
    scene.moves(&transit, &kms).await;
    scene.moves(&kms, &last).await;
}

#[tokio::test]
async fn a_new_version_of_the_roots_own_key_lets_the_old_one_be_retired() {
    let server = Transit::start().await;
    let bench = Bench::small(&server, "transit").await;
    let mut scene = Scene::on(&vault(&bench.config)).await;
    let sealed = scene.seal().await;
    bench.rotate().await;
    let moved = kek_json(&scene.gateway, &["rewrap"]).await;
    assert_eq!(
        (&moved["keys"], &moved["versions"], &moved["left"]),
        (&json!(6), &json!(0), &json!(0)),
        "the keys are written anew; what lies under them is not touched"
    );
    assert_eq!(kek_json(&scene.gateway, &["rewrap"]).await["keys"], 0);
    let mut database = Database::open(&scene.gateway.database()).await;
    let old =
        "SELECT count(*) FROM wrapped_keys WHERE CAST(wrapped AS TEXT) NOT LIKE 'vault:v2:%' AND id <> ?";
    assert_eq!(database.number(old, "").await, 0);
    scene.everything_serves().await;

    let retired = json!({"min_decryption_version": 2});
    bench.operator.done("POST", "transit/keys/kek/config", &retired).await;
    scene.gateway.restart().await;
    scene.everything_serves().await;
    scene.serves_sealed(&sealed).await;
}
