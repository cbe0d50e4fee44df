//! The small server is itself checked: the same conversation with it and with OpenBao has the same
//! statuses, the same errors word for word, and the same members in every answer.

use keyferry_kms_testing::{OpenBao, Operator, transit::Transit};
use serde_json::{Value, json};

/// What is compared of an answer: its status, its errors, and its shape.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    asked: String,
    status: u16,
    shape: Value,
}

/// One side of the conversation.
struct Talk {
    operator: Operator,
    seen: Vec<Seen>,
}

impl Talk {
    async fn say(&mut self, operator: &Operator, method: &str, path: &str, body: Value) -> Value {
        let (status, answer) = operator.ask(method, path, &body).await;
        let asked = format!("{} {method} {path}", self.seen.len());
        self.seen.push(Seen { asked, status, shape: shape(&answer) });
        answer
    }

    async fn post(&mut self, path: &str, body: Value) -> Value {
        let operator = self.operator.clone();
        self.say(&operator, "POST", path, body).await
    }
}

/// Errors as they are, of everything else the members and the kinds of their values.
fn shape(answer: &Value) -> Value {
    match answer {
        Value::Object(members) if members.contains_key("errors") => answer.clone(),
        Value::Object(members) => members.iter().map(|(name, value)| (name.clone(), shape(value))).collect(),
        Value::Null => json!("null"),
        Value::Bool(_) => json!("bool"),
        Value::Number(_) => json!("number"),
        Value::String(_) => json!("text"),
        Value::Array(_) => json!("list"),
    }
}

const PLAIN: &str = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";
const AAD: &str = "YWNtZQ==";
const OTHER: &str = "Z2xvYmV4";

fn ciphertext(answer: &Value) -> String {
    answer["data"]["ciphertext"].as_str().expect("a ciphertext").to_owned()
}

async fn conversation(operator: Operator) -> Vec<Seen> {
    let mut talk = Talk { operator, seen: Vec::new() };
    keys_and_contexts(&mut talk).await;
    versions(&mut talk).await;
    what_is_no_request(&mut talk).await;
    tokens_and_namespaces(&mut talk).await;
    talk.seen
}

async fn keys_and_contexts(talk: &mut Talk) {
    talk.post("sys/mounts/t", json!({"type": "transit"})).await;
    for (name, key) in [
        ("kek", json!({"type": "aes256-gcm96"})),
        ("derived", json!({"type": "aes256-gcm96", "derived": true})),
    ] {
        talk.post(&format!("t/keys/{name}"), key).await;
        let encrypt = json!({"plaintext": PLAIN, "associated_data": AAD, "context": AAD});
        let sealed = ciphertext(&talk.post(&format!("t/encrypt/{name}"), encrypt).await);
        for (aad, context) in [(AAD, AAD), (OTHER, AAD), (AAD, OTHER), ("", AAD), (AAD, "")] {
            let decrypt = json!({"ciphertext": sealed, "associated_data": aad, "context": context});
            talk.post(&format!("t/decrypt/{name}"), decrypt).await;
        }
        let rewrap = json!({"ciphertext": sealed, "associated_data": AAD, "context": AAD});
        talk.post(&format!("t/rewrap/{name}"), rewrap).await;
    }
    talk.post("t/keys/rsa", json!({"type": "rsa-2048"})).await;
    talk.seen.pop(); // Keys of other types look otherwise; that they encrypt nothing is all that counts.
    talk.post("t/encrypt/rsa", json!({"plaintext": PLAIN, "associated_data": AAD})).await;
    talk.post("t/encrypt/upserted", json!({"plaintext": PLAIN})).await;
}

async fn versions(talk: &mut Talk) {
    let encrypt = json!({"plaintext": PLAIN, "associated_data": AAD});
    let old = ciphertext(&talk.post("t/encrypt/kek", encrypt.clone()).await);
    let bare = ciphertext(&talk.post("t/encrypt/kek", json!({"plaintext": PLAIN})).await);
    talk.post("t/keys/kek/rotate", json!({})).await;
    let new = ciphertext(&talk.post("t/encrypt/kek", encrypt).await);
    assert!(old.starts_with("vault:v1:") && new.starts_with("vault:v2:"));
    let decrypt = |sealed: &str| json!({"ciphertext": sealed, "associated_data": AAD});
    talk.post("t/decrypt/kek", decrypt(&old)).await;
    talk.post("t/decrypt/kek", decrypt(&new)).await;
    let rewrapped = ciphertext(&talk.post("t/rewrap/kek", json!({"ciphertext": bare})).await);
    assert!(rewrapped.starts_with("vault:v2:"));
    talk.post("t/keys/kek/config", json!({"min_decryption_version": 2})).await;
    talk.post("t/decrypt/kek", decrypt(&old)).await;
    talk.post("t/rewrap/kek", decrypt(&old)).await;
    talk.post("t/keys/kek/config", json!({"min_decryption_version": 1})).await;
    talk.post("t/decrypt/kek", decrypt(&old)).await;
    talk.post("t/decrypt/kek", decrypt(&new.replace("vault:v2", "vault:v1"))).await;
    talk.post("t/decrypt/kek", decrypt(&new.replace("vault:v2", "vault:v3"))).await;
    talk.post("t/decrypt/kek", decrypt(&old.replace("vault:v1", "vault:v0"))).await;
}

async fn what_is_no_request(talk: &mut Talk) {
    for sealed in [
        "",
        "garbage",
        "vault:v1",
        "vault:vx:AAAA",
        "vault:v1:%",
        "vault:v1:AAAA",
        "vault:v1:AAAAAAAAAAAAAAAAAAAAAAAA",
    ] {
        talk.post("t/decrypt/kek", json!({"ciphertext": sealed, "associated_data": AAD})).await;
        talk.post("t/rewrap/kek", json!({"ciphertext": sealed})).await;
    }
    talk.post("t/encrypt/kek", json!({})).await;
    talk.post("t/encrypt/kek", json!({"plaintext": "%"})).await;
    talk.post("t/encrypt/kek", json!({"plaintext": PLAIN, "associated_data": "%"})).await;
    talk.post("t/decrypt/absent", json!({"ciphertext": "vault:v1:AAAA"})).await;
    talk.post("t/rewrap/absent", json!({"ciphertext": "vault:v1:AAAA"})).await;
    talk.post("absent/decrypt/kek", json!({"ciphertext": "vault:v1:AAAA"})).await;
    let operator = talk.operator.clone();
    talk.say(&operator, "GET", "t/decrypt/kek", Value::Null).await;
}

async fn tokens_and_namespaces(talk: &mut Talk) {
    let encrypt = || json!({"plaintext": PLAIN, "associated_data": AAD});
    let root = talk.operator.clone();
    talk.say(&root, "GET", "auth/token/lookup-self", Value::Null).await;
    talk.post("auth/token/renew-self", json!({})).await;
    let policy = "path \"t/encrypt/kek\" { capabilities = [\"update\"] }\n\
                  path \"t/encrypt/new\" { capabilities = [\"update\"] }";
    talk.post("sys/policies/acl/limited", json!({"policy": policy})).await;
    let made = talk.post("auth/token/create", json!({"policies": ["limited"], "ttl": "60s"})).await;
    let token = made["auth"]["client_token"].as_str().expect("a token");
    let limited = root.with_token(token);
    talk.say(&limited, "POST", "t/encrypt/kek", encrypt()).await;
    talk.say(&limited, "POST", "t/encrypt/new", encrypt()).await;
    talk.say(&limited, "POST", "t/decrypt/kek", encrypt()).await;
    talk.say(&limited, "POST", "absent/encrypt/kek", encrypt()).await;
    talk.say(&limited, "GET", "auth/token/lookup-self", Value::Null).await;
    talk.say(&limited, "POST", "auth/token/renew-self", json!({})).await;
    talk.post("auth/token/revoke", json!({"token": token})).await;
    talk.say(&limited, "POST", "t/encrypt/kek", encrypt()).await;
    talk.say(&limited, "GET", "auth/token/lookup-self", Value::Null).await;
    talk.say(&root.with_token("wrong"), "POST", "t/encrypt/kek", encrypt()).await;

    let inside = root.in_namespace(Some("team"));
    talk.say(&inside, "POST", "t/encrypt/kek", encrypt()).await;
    talk.post("sys/namespaces/team", json!({})).await;
    talk.say(&inside, "POST", "t/encrypt/kek", encrypt()).await;
    talk.say(&inside, "POST", "sys/mounts/t", json!({"type": "transit"})).await;
    talk.say(&inside, "POST", "t/keys/kek", json!({"type": "aes256-gcm96"})).await;
    talk.say(&inside, "POST", "t/encrypt/kek", encrypt()).await;
    talk.post("team/t/encrypt/kek", encrypt()).await;
}

#[tokio::test]
async fn the_small_server_answers_as_openbao_does() {
    let Some(bao) = OpenBao::start("the_small_server_answers_as_openbao_does").await else { return };
    let small = Transit::start().await;
    let (ours, theirs) = (conversation(Operator::of(&small)).await, conversation(bao.operator.clone()).await);
    assert_eq!(ours.len(), theirs.len());
    let differing: Vec<_> = ours.iter().zip(&theirs).filter(|(ours, theirs)| ours != theirs).collect();
    assert!(differing.is_empty(), "{differing:#?}");
}
