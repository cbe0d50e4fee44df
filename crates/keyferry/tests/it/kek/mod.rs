//! The keys that wrap keys: replaced and moved while traffic runs, under every root.

mod apart;
mod away;
mod bad_days;
mod between;
mod moving;
mod paused;
mod roots;
mod spoiled;

use std::process::{Output, Stdio};

use keyferry_kms::{AwsConfig, Pkcs11Config, VaultConfig};
use keyferry_kms_testing::{
    Bench,
    transit::{Day, Transit},
};
use serde_json::{Value, json};

use crate::harness::{
    Connection, Gateway, OPERATOR, Options, Provider, Reply, a_key, connect, request, until,
};

/// Runs a command beside a gateway, while what this test serves goes on.
async fn run(gateway: &Gateway, arguments: &[&str]) -> Output {
    let mut command = gateway.command();
    command.args(arguments).arg("--config").arg(gateway.config()).stdin(Stdio::null());
    tokio::task::spawn_blocking(move || command.output().expect("it runs")).await.expect("it runs")
}

/// Runs `keyferry kek …` beside a gateway.
async fn kek(gateway: &Gateway, arguments: &[&str]) -> Output {
    run(gateway, &[&["kek"], arguments, &["--json"]].concat()).await
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
                    // A disk that is busy with other tests may take longer than the gateway waits for it.
                    let status = until("the key is stored", || async {
                        let mut connection = Connection::over(connect(port).await);
                        connection.request("POST", &path, &headers, body.as_bytes()).await;
                        Some(connection.reply().await.status()).filter(|status| *status != 503)
                    })
                    .await;
                    assert!(matches!(status, 201 | 409), "{status}");
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("stored");
    }
}

/// The section `kms`: a root, and what else belongs there.
pub fn kms(root: &str, more: &str) -> String {
    format!("kms: {{{root}{more}}}")
}

/// A root as it stands in the section `kms`.
pub fn vault(config: &VaultConfig) -> String {
    let ca = config.ca.as_ref().map(|ca| format!(", ca: {}", ca.display())).unwrap_or_default();
    let (address, token) = (&config.address, config.token_file.display());
    format!(
        "kind: vault, address: \"{address}\", mount: {}, key: {}, token_file: {token}{ca}",
        config.mount, config.key
    )
}

fn aws(config: &AwsConfig) -> String {
    let endpoint = config.endpoint.as_deref().expect("an endpoint of a test");
    format!("kind: aws, key_id: \"{}\", region: {}, endpoint: \"{endpoint}\"", config.key_id, config.region)
}

fn pkcs11(config: &Pkcs11Config) -> String {
    let (module, pin) = (config.module.display(), config.pin_file.display());
    format!(
        "kind: pkcs11, module: {module}, token_label: {}, key_label: {}, pin_file: {pin}",
        config.token_label, config.key_label
    )
}

/// For tests that ask as fast as they can.
const WITHOUT_LIMITS: &str = "rate_limits: {caller: unlimited, tenant: unlimited, tenant_provider: unlimited}\nbyok: {daily_quota: 100000000}";

/// A gateway whose root is a key on the small Transit server.
struct OnTransit {
    server: Transit,
    bench: Bench,
    provider: Provider,
    gateway: Gateway,
}

impl OnTransit {
    async fn start(more: &str) -> Self {
        let server = Transit::start().await;
        let bench = Bench::small(&server, "transit").await;
        let provider = Provider::right().await;
        let options = Options::to(&provider).quiet().yaml(&kms(&vault(&bench.config), more));
        let gateway = Gateway::start(options.yaml(WITHOUT_LIMITS)).await;
        Self { server, bench, provider, gateway }
    }

    /// The same process anew: no KEK is open, and no failure is remembered.
    async fn forget(&mut self) {
        self.server.has(Day::Fine);
        self.gateway.restart().await;
    }

    async fn readiness(&self) -> String {
        readiness(&self.gateway).await
    }

    /// The gauge of the root's circuit.
    async fn circuit(&self) -> String {
        let url = format!("{}/metrics", self.gateway.metrics_url());
        let metrics = request("GET", &url, &[], b"").await.expect(200).text();
        let line = metrics.lines().find(|line| line.starts_with("keyferry_kms_circuit_state{"));
        line.and_then(|line| line.rsplit(' ').next()).expect("the gauge").to_owned()
    }

    async fn store(&self, tenant: &str, label: &str) -> Reply {
        store(&self.gateway, tenant, label).await
    }
}

/// What `/readyz` says of the root; it must say that the gateway is ready.
async fn readiness(gateway: &Gateway) -> String {
    let url = format!("{}/readyz", gateway.metrics_url());
    let ready = request("GET", &url, &[], b"").await.expect(200).json();
    ready["kms"]["status"].as_str().expect("a word").to_owned()
}

/// Stores one more key for a tenant.
async fn store(gateway: &Gateway, tenant: &str, label: &str) -> Reply {
    let body = json!({"provider": "openai", "label": label, "api_key": a_key("sk-new-")});
    gateway.operator("POST", &format!("/tenants/{tenant}/credentials"), &body).await
}
