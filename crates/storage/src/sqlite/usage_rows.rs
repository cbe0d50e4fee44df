//! Usage rows on their way in.
//!
//! A statement of its own for each row would cost more than the row: each is a message to the thread that owns the
//! connection, and an answer from it. So one statement takes many rows, and where the platform pays for none of them, the
//! whole transaction is one message.

use std::{
    collections::HashSet,
    sync::{Arc, LazyLock},
};

use keyferry_core::{
    port::store::{StoreError, TenantSums},
    record::UsageRecord,
};
use sqlx::{Arguments, AssertSqlSafe, Encode, Error, Row, Sqlite, Type, sqlite::SqliteArguments};

use super::{SqliteStore, budget};
use crate::{
    errors::away,
    rows::{paid::Paid, usage::last_used},
};

/// Rows that one statement takes at most.
const MOST: usize = 64;
/// Values of a row.
const COLUMNS: usize = 20;

const LAST_USED: &str = "UPDATE credentials SET last_used_at = max(coalesce(last_used_at, 0), used.value) FROM json_each(?) AS used
     WHERE credentials.id = used.key";

/// How a transaction of more rows than one statement takes begins.
static BEGIN: LazyLock<String> = LazyLock::new(|| format!("BEGIN IMMEDIATE; {LAST_USED}"));

/// What is said for so many rows.
struct Texts {
    /// The whole transaction.
    whole: Arc<str>,
    /// Only the rows.
    insert: Arc<str>,
    /// The same, answered with those that are new.
    returning: Arc<str>,
}

/// For so many rows, and no more sizes than that, so that all stay prepared. What has room for more rows than it is given
/// passes over the others, for a row without an id is none; but that takes time too.
const SIZES: [usize; 14] = [1, 2, 3, 4, 6, 8, 10, 12, 16, 20, 24, 32, 48, MOST];

static TEXTS: LazyLock<[Texts; SIZES.len()]> = LazyLock::new(|| {
    SIZES.map(|rows| {
        let row = format!("({})", ["?"; COLUMNS].join(","));
        let insert = format!(
            "INSERT OR IGNORE INTO usage (request_id, at, tenant_id, caller, provider, model, operation, credential,
             credential_id, accounting, status, outcome, error, input_tokens, cached_input_tokens, output_tokens,
             cost_micro_usd, usage_source, latency_ms, overhead_us) VALUES {}",
            vec![row; rows].join(",")
        );
        Texts {
            whole: format!("BEGIN IMMEDIATE; {LAST_USED}; {insert}; COMMIT").into(),
            returning: format!("{insert} RETURNING request_id").into(),
            insert: insert.into(),
        }
    })
});

/// What is said for up to [`MOST`] rows.
fn texts(records: &[UsageRecord]) -> &'static Texts {
    let fits = SIZES.iter().position(|&size| records.len() <= size);
    &TEXTS[fits.unwrap_or(SIZES.len() - 1)]
}

impl SqliteStore {
    pub(crate) async fn usage_record(&self, records: &[UsageRecord]) -> Result<Vec<TenantSums>, StoreError> {
        if records.iter().any(|record| record.cost_micro_usd > 0) {
            return Box::pin(self.insert_paid(records)).await;
        }
        self.insert(records).await?;
        Ok(Vec::new())
    }

    /// Rows that the platform does not pay for.
    async fn insert(&self, records: &[UsageRecord]) -> Result<(), StoreError> {
        let mut sending = self.writer.send().await?;
        let mut values = Values::default();
        values.last_used(records);
        if records.len() <= MOST {
            values.rows(records);
            return sending.end(AssertSqlSafe(Arc::clone(&texts(records).whole)), values.all()?).await;
        }
        sending.rows(AssertSqlSafe(BEGIN.as_str()), values.all()?).await?;
        for records in records.chunks(MOST) {
            let mut values = Values::default();
            values.rows(records);
            sending.rows(AssertSqlSafe(Arc::clone(&texts(records).insert)), values.all()?).await?;
        }
        sending.end("COMMIT", SqliteArguments::default()).await
    }

    /// Rows of which some cost something, which is added up with them.
    async fn insert_paid(&self, records: &[UsageRecord]) -> Result<Vec<TenantSums>, StoreError> {
        let mut tx = self.write().await?;
        let mut values = Values::default();
        values.last_used(records);
        sqlx::query_with(LAST_USED, values.all()?).execute(&mut *tx).await.map_err(away)?;
        let mut written = HashSet::new();
        for records in records.chunks(MOST) {
            let mut values = Values::default();
            values.rows(records);
            let text = AssertSqlSafe(Arc::clone(&texts(records).returning));
            for row in sqlx::query_with(text, values.all()?).fetch_all(&mut *tx).await.map_err(away)? {
                written.insert(row.try_get(0).map_err(away)?);
            }
        }
        let sums = budget::add(&mut tx, Paid::of(records, written)).await?;
        tx.commit().await.map_err(away)?;
        Ok(sums)
    }
}

/// Values for a statement.
#[derive(Default)]
struct Values {
    arguments: SqliteArguments,
    failed: Option<Error>,
}

impl Values {
    fn all(self) -> Result<SqliteArguments, StoreError> {
        self.failed.map_or(Ok(self.arguments), |error| Err(away(error)))
    }

    fn add<'v>(&mut self, value: impl Encode<'v, Sqlite> + Type<Sqlite>) {
        if let Err(error) = self.arguments.add(value) {
            self.failed = Some(Error::Encode(error));
        }
    }

    /// When which credential was used last.
    fn last_used(&mut self, records: &[UsageRecord]) {
        // No name has a character that would have to be escaped.
        let used: Vec<_> =
            last_used(records).iter().map(|(id, at)| format!("\"{id}\":{}", at.millis())).collect();
        self.add(format!("{{{}}}", used.join(",")));
    }

    fn rows(&mut self, records: &[UsageRecord]) {
        self.arguments.reserve(records.len() * COLUMNS, 0);
        let mut same = Same::default();
        for record in records {
            self.add(Arc::<str>::from(record.request_id.as_str()));
            self.add(record.at.millis());
            self.add(same.text(0, record.tenant.as_str()));
            self.add(same.text(1, &record.caller));
            self.add(same.text(2, record.provider.as_str()));
            self.add(record.model.as_ref().map(|model| same.text(3, model)));
            self.add(same.text(4, record.operation));
            self.add(same.text(5, record.credential.as_str()));
            self.add(record.credential_id.as_ref().map(|id| same.text(6, id.as_str())));
            self.add(same.text(7, record.accounting.as_str()));
            self.add(record.status);
            self.add(same.text(8, record.outcome.as_str()));
            self.add(record.outcome.is_error());
            self.add(record.usage.input as i64);
            self.add(record.usage.cached_input as i64);
            self.add(record.usage.output as i64);
            self.add(i64::try_from(record.cost_micro_usd).unwrap_or(i64::MAX));
            self.add(same.text(9, record.usage_source.as_str()));
            self.add(record.latency_ms as i64);
            self.add(record.overhead_us as i64);
        }
    }
}

/// Texts of the row before: most of them are those of this row as well, and are not copied again.
#[derive(Default)]
struct Same([Arc<str>; 10]);

impl Same {
    fn text(&mut self, column: usize, text: &str) -> Arc<str> {
        let last = &mut self.0[column];
        if **last != *text {
            *last = text.into();
        }
        Arc::clone(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_for_every_number_of_rows_and_little_more() {
        assert!(SIZES.is_sorted());
        for rows in 1..=MOST {
            let room = SIZES.iter().find(|&&size| size >= rows).expect("there is room");
            assert!(*room <= rows + rows.div_ceil(2), "{room} for {rows}");
        }
    }
}
