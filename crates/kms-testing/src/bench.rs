//! A Transit key on a server, and what a gateway needs for it.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use keyferry_envelope::SystemEntropy;
use keyferry_kms::{VaultConfig, vault::Vault};
use serde_json::json;

use crate::{
    Operator,
    transit::{ROOT, Transit},
};

/// A Transit key on some server, and a token that may encrypt and decrypt with it and nothing else.
pub struct Bench {
    pub operator: Operator,
    pub config: VaultConfig,
    _folder: tempfile::TempDir,
}

impl Bench {
    /// A mount of its own with the key `kek`, so that tests do not meet on one server.
    pub async fn on(operator: Operator, mount: &str) -> Self {
        Self::with_key(operator, None, mount, &json!({"type": "aes256-gcm96"})).await
    }

    pub async fn with_key(
        operator: Operator,
        namespace: Option<&str>,
        mount: &str,
        key: &serde_json::Value,
    ) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let token_file = folder.path().join("token");
        let inside = operator.in_namespace(namespace);
        inside.done("POST", &format!("sys/mounts/{mount}"), &json!({"type": "transit"})).await;
        inside.done("POST", &format!("{mount}/keys/kek"), key).await;
        let bench = Self {
            config: VaultConfig {
                address: operator.address.clone(),
                mount: mount.to_owned(),
                key: "kek".to_owned(),
                token_file,
                namespace: namespace.map(str::to_owned),
                ca: operator.ca.clone(),
            },
            operator: inside,
            _folder: folder,
        };
        bench.write_token(&bench.new_token(&json!({})).await);
        bench
    }

    pub async fn small(server: &Transit, mount: &str) -> Self {
        Self::on(Operator::of(server), mount).await
    }

    pub fn vault(&self) -> Arc<Vault> {
        Arc::new(Vault::new(&self.config, Arc::new(SystemEntropy)).expect("a root"))
    }

    /// A token with the least policy, as the README has it; `more` are members of the request.
    pub async fn new_token(&self, more: &serde_json::Value) -> String {
        let mount = &self.config.mount;
        let rule = |work| format!("path \"{mount}/{work}/kek\" {{ capabilities = [\"update\"] }}\n");
        let policy = json!({"policy": rule("encrypt") + &rule("decrypt")});
        self.operator.done("POST", &format!("sys/policies/acl/{mount}"), &policy).await;
        let mut wanted = json!({"policies": [mount]});
        if let (Some(wanted), Some(more)) = (wanted.as_object_mut(), more.as_object()) {
            wanted.extend(more.clone());
        }
        let made = self.operator.done("POST", "auth/token/create", &wanted).await;
        made["auth"]["client_token"].as_str().expect("a token").to_owned()
    }

    /// Replaces the token's file, as an agent would.
    pub fn write_token(&self, token: &str) {
        let beside = self.config.token_file.with_extension("new");
        write_private(&beside, &format!("{token}\n"));
        fs::rename(beside, &self.config.token_file).expect("renamed");
    }

    pub async fn rotate(&self) {
        let path = format!("{}/keys/kek/rotate", self.config.mount);
        self.operator.done("POST", &path, &json!({})).await;
    }
}

pub fn write_private(path: &Path, content: &str) {
    fs::write(path, content).expect("written");
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("set");
}

/// The operator's own access to the small server.
impl Operator {
    pub fn of(server: &Transit) -> Self {
        let ca = server.ca().map(PathBuf::from);
        Self { address: server.address(), ca, token: ROOT.to_owned(), namespace: None }
    }
}
