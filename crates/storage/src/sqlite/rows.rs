//! Reading columns: a value that cannot be what was written is reported with its place.

use std::str::FromStr;

use keyferry_core::{
    port::store::{Page, PageRequest, StoreError},
    time::Timestamp,
};
use sqlx::{ColumnIndex, Decode, Row, Sqlite, Type, sqlite::SqliteRow};

/// A row and the table it came from.
pub(super) struct Reader<'r> {
    pub(super) table: &'static str,
    pub(super) row: &'r SqliteRow,
}

impl Reader<'_> {
    /// A column as it is stored.
    pub(super) fn get<'r, T>(&'r self, column: &'static str) -> Result<T, StoreError>
    where
        T: Decode<'r, Sqlite> + Type<Sqlite>,
        &'static str: ColumnIndex<SqliteRow>,
    {
        self.row.try_get(column).map_err(|_| self.bad(column))
    }

    /// A text column that names something.
    pub(super) fn parse<T: FromStr>(&self, column: &'static str) -> Result<T, StoreError> {
        self.get::<&str>(column)?.parse().map_err(|_| self.bad(column))
    }

    /// A number that cannot be negative.
    pub(super) fn count(&self, column: &'static str) -> Result<u64, StoreError> {
        u64::try_from(self.get::<i64>(column)?).map_err(|_| self.bad(column))
    }

    /// A time.
    pub(super) fn time(&self, column: &'static str) -> Result<Timestamp, StoreError> {
        self.get(column).map(Timestamp::from_millis)
    }

    /// A time that may be absent.
    pub(super) fn maybe_time(&self, column: &'static str) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.get::<Option<i64>>(column)?.map(Timestamp::from_millis))
    }

    pub(super) fn bad(&self, column: &'static str) -> StoreError {
        let row = self.row.try_get::<String, _>("id").unwrap_or_default();
        StoreError::Inconsistent { table: self.table, column, row }
    }
}

/// Where a list goes on: the number of the last row of the page before, or the start.
pub(super) fn cursor(page: &PageRequest, start: i64) -> Result<i64, StoreError> {
    match page.cursor.as_deref() {
        None => Ok(start),
        Some(cursor) => cursor.parse().ok().filter(|&n| n > 0).ok_or(StoreError::Cursor),
    }
}

/// Makes a page of rows that were read one more than asked for.
pub(super) fn paged<T>(mut rows: Vec<(i64, T)>, limit: u32) -> Page<T> {
    let more = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    let next_cursor = rows.last().filter(|_| more).map(|(n, _)| n.to_string());
    Page { data: rows.into_iter().map(|(_, row)| row).collect(), next_cursor }
}
