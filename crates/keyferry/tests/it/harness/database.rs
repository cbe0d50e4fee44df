//! The gateway's database, as somebody who can write it sees it.

use std::path::Path;

use sqlx::{ConnectOptions, Connection, Row, SqliteConnection, sqlite::SqliteConnectOptions};

/// A connection to the file.
pub struct Database(SqliteConnection);

/// A stored version of a key, sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blobs {
    pub wrapped_dek: Vec<u8>,
    pub envelope: Vec<u8>,
}

impl Database {
    pub async fn open(path: &Path) -> Self {
        let options = SqliteConnectOptions::new().filename(path).create_if_missing(false);
        Self(options.connect().await.expect("the database opens"))
    }

    /// Runs a statement with texts in it; answers how many rows it changed.
    pub async fn run(&mut self, statement: &'static str, texts: &[&str]) -> u64 {
        let mut query = sqlx::query(statement);
        for text in texts {
            query = query.bind(*text);
        }
        query.execute(&mut self.0).await.expect("the statement runs").rows_affected()
    }

    /// The number a statement answers.
    pub async fn number(&mut self, statement: &'static str, text: &str) -> i64 {
        let row = sqlx::query(statement).bind(text).fetch_one(&mut self.0).await.expect("a row");
        row.get(0)
    }

    /// What is stored for a version of a credential.
    pub async fn blobs(&mut self, credential: &str, version: u32) -> Blobs {
        let row = sqlx::query(
            "SELECT wrapped_dek, envelope FROM credential_versions WHERE credential_id = ? AND version = ?",
        )
        .bind(credential)
        .bind(version)
        .fetch_one(&mut self.0)
        .await
        .expect("the version is stored");
        Blobs { wrapped_dek: row.get(0), envelope: row.get(1) }
    }

    /// Stores these in the place of what is stored for a version of a credential.
    pub async fn put_blobs(&mut self, credential: &str, version: u32, blobs: &Blobs) {
        let done = sqlx::query(
            "UPDATE credential_versions SET wrapped_dek = ?, envelope = ?
             WHERE credential_id = ? AND version = ?",
        )
        .bind(&blobs.wrapped_dek)
        .bind(&blobs.envelope)
        .bind(credential)
        .bind(version)
        .execute(&mut self.0)
        .await
        .expect("the statement runs");
        assert_eq!(done.rows_affected(), 1);
    }

    pub async fn close(self) {
        self.0.close().await.expect("it closes");
    }
}
