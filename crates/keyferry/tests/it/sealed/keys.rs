//! The sealing keys themselves: made, signed, published, replaced, from the command line.

use std::{
    io::Write,
    path::Path,
    process::{Output, Stdio},
    time::Duration,
};

use keyferry_core::{sealing::SealingKeyList, time::Timestamp};
use keyferry_envelope::{SigningKey, SystemEntropy};
use serde_json::Value;

use super::{CHAT, Scene};
use crate::harness::{a_key, command, now, until};

/// Runs a command with something on its standard input.
fn run(arguments: &[&str], input: &str) -> Output {
    let mut child = command()
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it runs");
    child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("written");
    child.wait_with_output().expect("it ends")
}

fn good(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).expect("text").trim().to_owned()
}

/// `keyferry sealing-key …` beside a gateway.
fn sealing_key(scene: &Scene, arguments: &[&str], input: &str) -> Output {
    let config = scene.gateway.config();
    let arguments = [&["sealing-key"], arguments, &["--config", config.to_str().expect("a path")]].concat();
    run(&arguments, input)
}

fn seal(scene: &Scene, more: &[&str], key: &str) -> Output {
    let url = scene.gateway.url();
    let fixed = ["seal", "--tenant", &scene.tenant.id, "--provider", "openai", "--url", &url];
    run(&[&fixed[..], more].concat(), key)
}

fn write(folder: &Path, name: &str, text: &[u8]) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).expect("written");
    path.to_str().expect("a path").to_owned()
}

#[tokio::test]
async fn a_script_seals_a_key_with_a_command() {
    let scene = Scene::start("").await;
    let key = a_key("sk-own-");
    let sealed = good(&seal(&scene, &[], &key));
    assert!(!sealed.contains(&key) && sealed.starts_with("v=1;kid=seal_"), "{sealed}");
    scene.ask(CHAT, &sealed).await.expect(200);
    assert_eq!(scene.provider.last().header("authorization"), format!("Bearer {key}"));
    let json: Value = serde_json::from_str(&good(&seal(&scene, &["--json"], &key))).expect("JSON");
    scene.ask(CHAT, json["sealed_key"].as_str().expect("text")).await.expect(200);

    let list = write(scene.gateway.dir(), "keys.json", &scene.sealing_keys().await.body);
    scene.ask(CHAT, &good(&seal(&scene, &["--keys", &list], &key))).await.expect(200);
    let refused = seal(&scene, &[], "short");
    assert_eq!(refused.status.code(), Some(1));
}

#[tokio::test]
async fn an_operator_signs_the_keys_of_a_week_and_clients_check_it() {
    let scene = Scene::start("").await;
    let folder = scene.gateway.dir();
    let offline = SigningKey::generate(&SystemEntropy);
    let private = write(folder, "offline.pem", offline.to_pem().expose());
    let public = write(folder, "offline.pub", offline.verifying_key().to_pem().as_bytes());
    let foreign = SigningKey::generate(&SystemEntropy).verifying_key();
    let foreign = write(folder, "foreign.pub", foreign.to_pem().as_bytes());

    good(&sealing_key(&scene, &["make", "--days", "7"], ""));
    let list = good(&sealing_key(&scene, &["list", "--json"], ""));
    let parsed = SealingKeyList::parse(list.as_bytes()).expect("a list");
    assert_eq!(parsed.keys.len(), 14, "seven days, two suites");
    let jws = good(&run(&["sealing-key", "sign", "--signing-key", &private], &list));
    assert!(
        seal(&scene, &["--signed-by", &public], &a_key("sk-")).status.code() == Some(1),
        "not signed yet"
    );
    let refused = sealing_key(&scene, &["publish", "--signed-by", &foreign], &jws);
    assert_eq!(refused.status.code(), Some(1));
    let refused = sealing_key(&scene, &["publish"], &jws);
    assert_eq!(refused.status.code(), Some(2), "a signature that nobody checks: {refused:?}");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--signed-by"), "{refused:?}");
    good(&sealing_key(&scene, &["publish", "--signed-by", &public], &jws));
    let mut scene = scene;
    scene.gateway.restart().await;

    let shown = scene.sealing_keys().await.json();
    assert_eq!(shown["jws"], jws);
    let payload = SealingKeyList::verify(&jws, &offline.verifying_key()).expect("signed");
    assert_eq!(serde_json::to_value(&payload.keys).expect("JSON"), shown["keys"], "the same list");
    let sealed = good(&seal(&scene, &["--signed-by", &public], &a_key("sk-own-")));
    scene.ask(CHAT, &sealed).await.expect(200);
    let refused = seal(&scene, &["--signed-by", &foreign], &a_key("sk-own-"));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("not signed by the given key"), "{refused:?}");

    let forged = SealingKeyList {
        keys: vec![{
            let mut key = parsed.keys[0].clone();
            key.not_after = Timestamp::from_secs(now() + 1_000_000);
            key
        }],
    };
    let refused = sealing_key(&scene, &["publish", "--signed-by", &public], &forged.sign(&offline));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("not in the store"), "{refused:?}");
    good(&sealing_key(&scene, &["publish", "--unsigned"], ""));
    scene.gateway.restart().await;
    assert_eq!(scene.sealing_keys().await.json()["jws"], Value::Null);
}

#[tokio::test]
async fn clients_may_keep_the_list_for_as_long_as_a_gateway_does() {
    let scene = Scene::start("").await;
    assert_eq!(scene.sealing_keys().await.header("cache-control"), "max-age=30");
}

#[tokio::test]
async fn a_rotation_makes_new_keys_and_can_destroy_the_old_ones() {
    let scene = Scene::start("").await;
    let newest = async || scene.published().await.keys[0].kid.clone();
    let old = newest().await;
    let before = scene.seal_for_request(&a_key("sk-own-")).await;
    good(&sealing_key(&scene, &["rotate"], ""));
    // A name that is not known makes the gateway look, if it has not looked a moment ago.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let list = good(&sealing_key(&scene, &["list", "--json"], ""));
    let list = SealingKeyList::parse(list.as_bytes()).expect("a list");
    assert_eq!(list.keys.len(), 4);
    let file = write(scene.gateway.dir(), "keys.json", list.to_json().as_bytes());
    scene.ask(CHAT, &good(&seal(&scene, &["--keys", &file], &a_key("sk-own-")))).await.expect(200);
    assert_ne!(newest().await, old);
    scene.ask(CHAT, &before).await.expect(200);

    let late = scene.seal_for_request(&a_key("sk-own-")).await;
    good(&sealing_key(&scene, &["rotate", "--destroy-old"], ""));
    scene.ask(CHAT, &late).await.refused(400, "BYOK_SEALING_KEY_UNKNOWN");
    // What the refusal advises works at once.
    assert_eq!(scene.published().await.keys.len(), 2);
    let again = scene.seal_for_request(&a_key("sk-own-")).await;
    scene.ask(CHAT, &again).await.expect(200);
}

#[tokio::test]
async fn keys_that_were_destroyed_are_not_published_though_nobody_used_them() {
    let scene = Scene::start("").await;
    let old: Vec<String> = scene.published().await.keys.iter().map(|key| key.kid.clone()).collect();
    good(&sealing_key(&scene, &["rotate", "--destroy-old"], ""));
    // Long before the gateway looks by itself.
    until("the new keys are published", || async {
        let list = scene.published().await.keys;
        (list.len() == 2 && !list.iter().any(|key| old.contains(&key.kid))).then_some(())
    })
    .await;
    let sealed = scene.seal_for_request(&a_key("sk-own-")).await;
    scene.ask(CHAT, &sealed).await.expect(200);
}
