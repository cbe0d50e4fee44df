//! The keys that wrap keys: replaced and moved while traffic runs, under every root.

mod moving;
mod roots;

use std::process::{Output, Stdio};

use serde_json::{Value, json};

use crate::harness::{Gateway, OPERATOR, command, connect};

/// Runs `keyferry kek …` beside a gateway.
async fn kek(gateway: &Gateway, arguments: &[&str]) -> Output {
    let mut command = command();
    command.arg("kek").args(arguments).arg("--json").arg("--config").arg(gateway.config());
    command.stdin(Stdio::null());
    tokio::task::spawn_blocking(move || command.output().expect("it runs")).await.expect("it runs")
}

/// The same, which must go well; answers what it printed.
async fn kek_json(gateway: &Gateway, arguments: &[&str]) -> Value {
    let output = kek(gateway, arguments).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// Stores so many keys for a tenant, over some connections.
async fn store_many(gateway: &Gateway, tenant: &str, count: usize) {
    const CONNECTIONS: usize = 8;
    let path = format!("/api/v1/tenants/{tenant}/credentials");
    let tasks: Vec<_> = (0..CONNECTIONS)
        .map(|first| {
            let (path, port) = (path.clone(), gateway.port());
            tokio::spawn(async move {
                for number in (first..count).step_by(CONNECTIONS) {
                    let key = format!("sk-many-{number:08}-{}", "x".repeat(24));
                    let label = format!("label-{number}");
                    let body = json!({"provider": "openai", "label": label, "api_key": key}).to_string();
                    let bearer = format!("Bearer {OPERATOR}");
                    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
                    let mut connection = crate::harness::Connection::over(connect(port).await);
                    connection.request("POST", &path, &headers, body.as_bytes()).await;
                    connection.reply().await.expect(201);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("stored");
    }
}
