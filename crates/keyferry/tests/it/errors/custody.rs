//! What custody tells: sealed keys that are not taken, and a root that is away.

use keyferry_core::{code::Code, sealing::SealingKeyList, time::Timestamp};
use keyferry_envelope::{ApiKey, SealFor, SealPurpose, SecretBytes, SystemEntropy, seal_key};
use keyferry_kms_testing::{Bench, transit::Transit};
use serde_json::json;

use super::{
    SURFACES, post,
    told::{PROBLEM, Told},
};
use crate::{
    harness::{Gateway, Options, Provider, a_key, now, request},
    kek,
};

/// A key, sealed as a client does it.
async fn seal(gateway: &Gateway, purpose: SealPurpose, tenant: &str, provider: &str, ts: i64) -> String {
    let url = format!("{}/api/v1/sealing-keys", gateway.url());
    let list = SealingKeyList::parse(&request("GET", &url, &[], b"").await.expect(200).body).expect("a list");
    let (kid, public) = list.choose(Timestamp::from_secs(now())).expect("a key");
    let to = SealFor { purpose, tenant, provider, ts: ts as u64 };
    let key = ApiKey::parse(SecretBytes::new(a_key("sk-sealed-").into_bytes())).expect("a key");
    seal_key(&public, &kid, &to, &key, &SystemEntropy).expect("seals")
}

/// Sealed to a key that was never there.
fn to_an_unknown_key(sealed: &str) -> String {
    let (kid, rest) = sealed.split_once(";provider=").expect("fields");
    let last = if kid.ends_with('0') { '1' } else { '0' };
    format!("{}{last};provider={rest}", &kid[..kid.len() - 1])
}

/// What is wrong with a sealed key, in a request and for storing.
pub async fn sealed(told: &mut Told) {
    let provider = Provider::right().await;
    let gateway = Gateway::before(&provider).await;
    for (name, path, body) in SURFACES {
        let tenant = gateway.tenant_with_key(name, &a_key("sk-")).await;
        let sealed_at = |ts| seal(&gateway, SealPurpose::Request, &tenant.id, name, ts);
        let good = sealed_at(now()).await;
        let stale = sealed_at(now() - 600).await;
        let ask = async |sealed: &str| {
            let headers = [("x-sealed-key", sealed)];
            post(&gateway, &tenant.caller_token, path, &headers, body.as_bytes()).await
        };
        told.note(name, &ask("v=1").await, Code::DecryptionFailed);
        told.note(name, &ask(&to_an_unknown_key(&good)).await, Code::SealingKeyUnknown);
        told.note(name, &ask(&stale).await, Code::SealStale);
        ask(&good).await.expect(200);
        told.note(name, &ask(&good).await, Code::ReplayDetected);
    }
    let tenant = gateway.tenant_with_key("openai", &a_key("sk-")).await;
    let sealed_at = |ts| seal(&gateway, SealPurpose::Store, &tenant.id, "openai", ts);
    let (good, stale) = (sealed_at(now()).await, sealed_at(now() - 600).await);
    let store = async |label: &str, sealed: &str| {
        let body = json!({"provider": "openai", "label": label, "sealed_key": sealed});
        gateway.operator("POST", &format!("/tenants/{}/credentials", tenant.id), &body).await
    };
    told.note(PROBLEM, &store("new", "v=1").await, Code::DecryptionFailed);
    told.note(PROBLEM, &store("new", &to_an_unknown_key(&good)).await, Code::SealingKeyUnknown);
    told.note(PROBLEM, &store("new", &stale).await, Code::SealStale);
    store("new", &good).await.expect(201);
    told.note(PROBLEM, &store("newer", &good).await, Code::ReplayDetected);
}

/// What is told while the root is away, and when it is not asked any more.
pub async fn root(told: &mut Told) {
    let mut server = Transit::start().await;
    let bench = Bench::small(&server, "transit").await;
    let provider = Provider::right().await;
    let root = kek::kms(&kek::vault(&bench.config), "");
    let mut gateway = Gateway::start(Options::to(&provider).yaml(&root)).await;
    let mut tenants = Vec::new();
    for (name, ..) in SURFACES {
        tenants.push(gateway.tenant_with_key(name, &a_key("sk-")).await);
    }
    // Whose key is open is served.
    gateway.restart().await;
    server.down().await;
    let mut now = Code::ServiceUnavailable;
    for _ in 0..2 {
        for ((name, path, body), tenant) in SURFACES.iter().zip(&tenants) {
            let reply = post(&gateway, &tenant.caller_token, path, &[], body.as_bytes()).await;
            told.note(name, &reply, now);
        }
        now = Code::KmsCircuitOpen;
    }
    let new = json!({"provider": "openai", "label": "new", "api_key": a_key("sk-")});
    let credentials = format!("/tenants/{}/credentials", tenants[0].id);
    told.note(PROBLEM, &gateway.operator("POST", &credentials, &new).await, Code::KmsCircuitOpen);
    let test = format!("{credentials}/{}/test", tenants[0].credential_id);
    told.note(PROBLEM, &gateway.operator("POST", &test, &json!({})).await, Code::KmsCircuitOpen);
}
