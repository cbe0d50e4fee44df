//! The tables and their columns, and how rows go from one database to the other.

use keyferry_core::port::store::StoreError;
use sqlx::{AssertSqlSafe, PgConnection, sqlite::SqliteRow};

use crate::{
    errors::away,
    rows::{Columns, without_nul},
};

/// What a column holds.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Number,
    Text,
    /// Text that a caller named, who may have named a NUL.
    Told,
    Bytes,
    Flag,
}

pub(super) struct Table {
    pub(super) name: &'static str,
    order: &'static str,
    columns: &'static [(&'static str, Kind)],
}

pub(super) const TABLES: [Table; 15] = [
    Table { name: "settings", order: "name", columns: &[("name", Kind::Text), ("value", Kind::Bytes)] },
    Table {
        name: "wrapped_keys",
        order: "n",
        columns: &[
            ("n", Kind::Number),
            ("purpose", Kind::Text),
            ("owner", Kind::Text),
            ("id", Kind::Text),
            ("root", Kind::Text),
            ("wrapped", Kind::Bytes),
            ("created_at", Kind::Number),
            ("retired_at", Kind::Number),
        ],
    },
    Table {
        name: "sealing_keys",
        order: "kid",
        columns: &[
            ("kid", Kind::Text),
            ("kem", Kind::Number),
            ("public_key", Kind::Bytes),
            ("not_before", Kind::Number),
            ("not_after", Kind::Number),
        ],
    },
    Table {
        name: "seal_claims",
        order: "key",
        columns: &[
            ("key", Kind::Bytes),
            ("owner", Kind::Bytes),
            ("uses", Kind::Number),
            ("until", Kind::Number),
        ],
    },
    Table { name: "seal_floor", order: "one", columns: &[("one", Kind::Number), ("until", Kind::Number)] },
    Table {
        name: "tenants",
        order: "id",
        columns: &[
            ("id", Kind::Text),
            ("name", Kind::Text),
            ("tier", Kind::Text),
            ("byok_enabled", Kind::Flag),
            ("daily_quota", Kind::Number),
            ("fallback", Kind::Text),
            ("budget_micro_usd", Kind::Number),
            ("budget_period", Kind::Text),
            ("created_at", Kind::Number),
        ],
    },
    Table {
        name: "credentials",
        order: "n",
        columns: &[
            ("n", Kind::Number),
            ("id", Kind::Text),
            ("tenant_id", Kind::Text),
            ("provider", Kind::Text),
            ("label", Kind::Text),
            ("version", Kind::Number),
            ("state", Kind::Text),
            ("last4", Kind::Text),
            ("fingerprint", Kind::Text),
            ("kek_id", Kind::Text),
            ("created_at", Kind::Number),
            ("created_by", Kind::Text),
            ("last_used_at", Kind::Number),
            ("test_status", Kind::Text),
            ("test_at", Kind::Number),
        ],
    },
    Table {
        name: "credential_versions",
        order: "credential_id, version",
        columns: &[
            ("credential_id", Kind::Text),
            ("version", Kind::Number),
            ("origin", Kind::Text),
            ("kek_id", Kind::Text),
            ("wrapped_dek", Kind::Bytes),
            ("envelope", Kind::Bytes),
            ("destroy_at", Kind::Number),
        ],
    },
    Table {
        name: "tokens",
        order: "n",
        columns: &[
            ("n", Kind::Number),
            ("id", Kind::Text),
            ("tenant_id", Kind::Text),
            ("hash", Kind::Bytes),
            ("role", Kind::Text),
            ("name", Kind::Text),
            ("models", Kind::Text),
            ("rate", Kind::Text),
            ("expires_at", Kind::Number),
            ("created_at", Kind::Number),
            ("created_by", Kind::Text),
            ("revoked_at", Kind::Number),
        ],
    },
    Table {
        name: "issuers",
        order: "id",
        columns: &[
            ("id", Kind::Text),
            ("tenant_id", Kind::Text),
            ("issuer", Kind::Text),
            ("audience", Kind::Text),
            ("algorithm", Kind::Text),
            ("jwks", Kind::Text),
            ("jwks_url", Kind::Text),
            ("created_at", Kind::Number),
            ("created_by", Kind::Text),
        ],
    },
    Table {
        name: "usage",
        order: "n",
        columns: &[
            ("n", Kind::Number),
            ("request_id", Kind::Text),
            ("at", Kind::Number),
            ("tenant_id", Kind::Text),
            ("caller", Kind::Told),
            ("provider", Kind::Text),
            ("model", Kind::Told),
            ("operation", Kind::Text),
            ("credential", Kind::Text),
            ("credential_id", Kind::Text),
            ("accounting", Kind::Text),
            ("status", Kind::Number),
            ("outcome", Kind::Text),
            ("error", Kind::Flag),
            ("input_tokens", Kind::Number),
            ("cached_input_tokens", Kind::Number),
            ("output_tokens", Kind::Number),
            ("cost_micro_usd", Kind::Number),
            ("usage_source", Kind::Text),
            ("latency_ms", Kind::Number),
            ("overhead_us", Kind::Number),
        ],
    },
    Table {
        name: "audit",
        order: "seq",
        columns: &[
            ("seq", Kind::Number),
            ("at", Kind::Number),
            ("actor", Kind::Text),
            ("action", Kind::Text),
            ("tenant_id", Kind::Text),
            ("target", Kind::Text),
            ("source", Kind::Text),
            ("detail", Kind::Text),
            ("prev_hash", Kind::Text),
            ("hash", Kind::Text),
            ("mac", Kind::Text),
        ],
    },
    Table {
        name: "audit_head",
        order: "one",
        columns: &[("one", Kind::Number), ("seq", Kind::Number), ("hash", Kind::Text), ("mac", Kind::Text)],
    },
    Table {
        name: "budgets",
        order: "tenant_id, span",
        columns: &[
            ("tenant_id", Kind::Text),
            ("span", Kind::Number),
            ("spent_micro_usd", Kind::Number),
            ("version", Kind::Number),
        ],
    },
    Table { name: "outbox", order: "n", columns: &[("n", Kind::Number), ("tenant_id", Kind::Text)] },
];

impl Table {
    /// Whether the database numbers its rows.
    pub(super) fn is_numbered(&self) -> bool {
        self.columns.iter().any(|(name, _)| *name == "n")
    }

    /// Each column with its table.
    #[cfg(test)]
    pub(super) fn places(&self) -> impl Iterator<Item = (String, String)> {
        self.columns.iter().map(|(column, _)| (self.name.to_owned(), (*column).to_owned()))
    }

    fn names(&self) -> String {
        let names: Vec<_> = self.columns.iter().map(|(name, _)| *name).collect();
        names.join(", ")
    }

    pub(super) fn select(&self) -> AssertSqlSafe<String> {
        AssertSqlSafe(format!("SELECT {} FROM {} ORDER BY {}", self.names(), self.name, self.order))
    }

    fn insert(&self) -> AssertSqlSafe<String> {
        let arrays = self.columns.iter().enumerate().map(|(index, (_, kind))| {
            let of = match kind {
                Kind::Number => "bigint",
                Kind::Text | Kind::Told => "text",
                Kind::Bytes => "bytea",
                Kind::Flag => "boolean",
            };
            format!("${}::{of}[]", index + 1)
        });
        let arrays: Vec<_> = arrays.collect();
        AssertSqlSafe(format!(
            "INSERT INTO {} ({}) SELECT * FROM unnest({})",
            self.name,
            self.names(),
            arrays.join(", ")
        ))
    }
}

/// One column of some rows.
enum Column {
    Numbers(Vec<Option<i64>>),
    Texts(Vec<Option<String>>),
    Bytes(Vec<Option<Vec<u8>>>),
    Flags(Vec<Option<bool>>),
}

/// Some rows of a table, by columns.
pub(super) struct Batch<'t> {
    table: &'t Table,
    columns: Vec<Column>,
    rows: usize,
}

impl<'t> Batch<'t> {
    pub(super) fn of(table: &'t Table) -> Self {
        let column = |(_, kind): &(&str, Kind)| match kind {
            Kind::Number => Column::Numbers(Vec::new()),
            Kind::Text | Kind::Told => Column::Texts(Vec::new()),
            Kind::Bytes => Column::Bytes(Vec::new()),
            Kind::Flag => Column::Flags(Vec::new()),
        };
        Self { table, columns: table.columns.iter().map(column).collect(), rows: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.rows
    }

    pub(super) fn push(&mut self, row: &SqliteRow) -> Result<(), StoreError> {
        for ((name, kind), column) in self.table.columns.iter().zip(&mut self.columns) {
            let read = match column {
                Column::Numbers(values) => row.number(name).map(|value| values.push(value)),
                Column::Texts(values) => row.text(name).map(|value| {
                    let told = matches!(kind, Kind::Told);
                    values.push(if told { value.as_deref().map(without_nul) } else { value });
                }),
                Column::Bytes(values) => row.bytes(name).map(|value| values.push(value)),
                Column::Flags(values) => row.flag(name).map(|value| values.push(value)),
            };
            read.map_err(|_| StoreError::Inconsistent {
                table: self.table.name,
                column: name,
                row: String::new(),
            })?;
        }
        self.rows += 1;
        Ok(())
    }

    pub(super) async fn insert(self, target: &mut PgConnection) -> Result<(), StoreError> {
        let mut statement = sqlx::query(self.table.insert());
        for column in self.columns {
            statement = match column {
                Column::Numbers(values) => statement.bind(values),
                Column::Texts(values) => statement.bind(values),
                Column::Bytes(values) => statement.bind(values),
                Column::Flags(values) => statement.bind(values),
            };
        }
        statement.execute(target).await.map(drop).map_err(away)
    }
}
