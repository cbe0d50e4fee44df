//! Streams pass byte for byte, each piece before the next one is sent.

use serde_json::json;

use crate::harness::{Gateway, Provider, a_key};

#[tokio::test]
async fn a_stored_key_serves_a_call() {
    let provider = Provider::right().await;
    let gateway = Gateway::before(&provider).await;
    let key = a_key("sk-proj-");
    let tenant = gateway.tenant_with_key("openai", &key).await;
    let reply = gateway.chat(&tenant.caller_token).await.expect(200);
    assert_eq!(reply.json()["choices"][0]["message"]["content"], json!("hello"));
    assert_eq!(provider.last().header("authorization"), format!("Bearer {key}"));
}
