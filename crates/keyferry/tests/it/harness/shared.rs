//! What gateways share: a real PostgreSQL and a real Redis, and the secret of their root.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
};

use keyferry_storage_testing::{Postgres, redis::RedisServer};
use tempfile::TempDir;

use super::Options;

/// 32 bytes that count up.
fn a_secret() -> String {
    (1..=32_u8).map(|byte| format!("{:02x}", byte.wrapping_mul(37))).collect()
}

/// A database on a PostgreSQL, a Redis, and a master secret, all of one test alone or the database at least.
pub struct Shared {
    database: String,
    /// Where it is of this test alone.
    pub postgres: Option<Postgres>,
    pub redis: RedisServer,
    folder: TempDir,
}

impl Shared {
    /// On the PostgreSQL that all tests share; nothing where a server is missing.
    pub async fn open(test: &str) -> Option<Self> {
        let database = Postgres::shared(test).await?.new_database().await;
        Self::on(test, database, None)
    }

    /// On a PostgreSQL of this test's own, with these settings.
    pub async fn alone(test: &str, settings: &[&str]) -> Option<Self> {
        let postgres = Postgres::alone(test, settings).await?;
        let database = postgres.new_database().await;
        Self::on(test, database, Some(postgres))
    }

    fn on(test: &str, database: String, postgres: Option<Postgres>) -> Option<Self> {
        let redis = RedisServer::on_a_port(test, &[])?;
        let folder = tempfile::tempdir().expect("a folder");
        let secret = folder.path().join("master.key");
        fs::write(&secret, format!("{}\n", a_secret())).expect("a file");
        fs::set_permissions(&secret, Permissions::from_mode(0o600)).expect("mode");
        Some(Self { database, postgres, redis, folder })
    }

    /// What the configuration of each gateway says.
    pub fn options(&self, options: Options) -> Options {
        self.stores(options, "")
    }

    /// The same for gateways that keep a journal.
    pub fn options_with_journal(&self, options: Options) -> Options {
        self.stores(options, ", journal: true")
    }

    /// The URL of the database.
    pub fn database(&self) -> String {
        self.database.clone()
    }

    fn stores(&self, options: Options, more: &str) -> Options {
        options.yaml(&format!(
            "storage: {{url: \"{}\"{more}}}\ncounters: {{url: \"redis://127.0.0.1:{}/0\"}}\n\
             kms: {{kind: local, master_secret_file: {}}}",
            self.database,
            self.redis.port(),
            self.folder.path().join("master.key").display()
        ))
    }
}
