//! Reading rows of any backend: a value that cannot be what was written is reported with its place.

pub(crate) mod audit;
pub(crate) mod credential;
pub(crate) mod issuer;
pub(crate) mod outbox;
pub(crate) mod paid;
pub(crate) mod sealing;
pub(crate) mod tenant;
pub(crate) mod token;
pub(crate) mod usage;
pub(crate) mod wrapped;

use std::str::FromStr;

use keyferry_core::{
    port::store::{Page, PageRequest, StoreError},
    time::Timestamp,
};
use sqlx::{Row, postgres::PgRow, sqlite::SqliteRow};

/// A row by the four kinds of columns that there are.
pub(crate) trait Columns {
    fn text(&self, column: &str) -> sqlx::Result<Option<String>>;
    fn number(&self, column: &str) -> sqlx::Result<Option<i64>>;
    fn bytes(&self, column: &str) -> sqlx::Result<Option<Vec<u8>>>;
    fn flag(&self, column: &str) -> sqlx::Result<Option<bool>>;
}

macro_rules! columns_of {
    ($row:ty) => {
        impl Columns for $row {
            fn text(&self, column: &str) -> sqlx::Result<Option<String>> {
                self.try_get(column)
            }
            fn number(&self, column: &str) -> sqlx::Result<Option<i64>> {
                self.try_get(column)
            }
            fn bytes(&self, column: &str) -> sqlx::Result<Option<Vec<u8>>> {
                self.try_get(column)
            }
            fn flag(&self, column: &str) -> sqlx::Result<Option<bool>> {
                self.try_get(column)
            }
        }
    };
}

columns_of!(SqliteRow);
columns_of!(PgRow);

/// What a column holds; `None` where it holds nothing or something else.
pub(crate) trait Value: Sized {
    fn read(row: &impl Columns, column: &str) -> Option<Self>;
}

impl Value for String {
    fn read(row: &impl Columns, column: &str) -> Option<Self> {
        row.text(column).ok()?
    }
}

impl Value for i64 {
    fn read(row: &impl Columns, column: &str) -> Option<Self> {
        row.number(column).ok()?
    }
}

impl Value for u64 {
    fn read(row: &impl Columns, column: &str) -> Option<Self> {
        i64::read(row, column)?.try_into().ok()
    }
}

impl Value for u32 {
    fn read(row: &impl Columns, column: &str) -> Option<Self> {
        i64::read(row, column)?.try_into().ok()
    }
}

impl Value for u16 {
    fn read(row: &impl Columns, column: &str) -> Option<Self> {
        i64::read(row, column)?.try_into().ok()
    }
}

impl Value for Vec<u8> {
    fn read(row: &impl Columns, column: &str) -> Option<Self> {
        row.bytes(column).ok()?
    }
}

impl Value for bool {
    fn read(row: &impl Columns, column: &str) -> Option<Self> {
        row.flag(column).ok()?
    }
}

impl Value for Option<String> {
    fn read(row: &impl Columns, column: &str) -> Option<Self> {
        row.text(column).ok()
    }
}

impl Value for Option<i64> {
    fn read(row: &impl Columns, column: &str) -> Option<Self> {
        row.number(column).ok()
    }
}

impl Value for Option<Vec<u8>> {
    fn read(row: &impl Columns, column: &str) -> Option<Self> {
        row.bytes(column).ok()
    }
}

/// A row and the table it came from.
pub(crate) struct Reader<'r, R> {
    pub(crate) table: &'static str,
    pub(crate) row: &'r R,
}

impl<R: Columns> Reader<'_, R> {
    /// A column as it is stored.
    pub(crate) fn get<T: Value>(&self, column: &'static str) -> Result<T, StoreError> {
        T::read(self.row, column).ok_or_else(|| self.bad(column))
    }

    /// A text column that names something.
    pub(crate) fn parse<T: FromStr>(&self, column: &'static str) -> Result<T, StoreError> {
        self.get::<String>(column)?.parse().map_err(|_| self.bad(column))
    }

    /// A time.
    pub(crate) fn time(&self, column: &'static str) -> Result<Timestamp, StoreError> {
        self.get(column).map(Timestamp::from_millis)
    }

    /// A time that may be absent.
    pub(crate) fn maybe_time(&self, column: &'static str) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.get::<Option<i64>>(column)?.map(Timestamp::from_millis))
    }

    pub(crate) fn bad(&self, column: &'static str) -> StoreError {
        let row = self.row.text("id").ok().flatten().unwrap_or_default();
        StoreError::Inconsistent { table: self.table, column, row }
    }
}

/// Where a list goes on: the number of the last row of the page before, or the start.
pub(crate) fn cursor(page: &PageRequest) -> Result<i64, StoreError> {
    match page.cursor.as_deref() {
        None => Ok(i64::MAX),
        Some(cursor) => cursor.parse().ok().filter(|&n| n > 0).ok_or(StoreError::Cursor),
    }
}

/// How many rows to read for a page: one more, to know whether there is a next.
pub(crate) fn one_more(page: &PageRequest) -> i64 {
    i64::from(page.limit) + 1
}

/// Makes a page of rows that were read one more than asked for; `position` is where a row stands.
pub(crate) fn paged<R: Columns, T>(
    rows: &[R],
    page: &PageRequest,
    position: &'static str,
    read: impl Fn(&R) -> Result<T, StoreError>,
) -> Result<Page<T>, StoreError> {
    let shown = &rows[..rows.len().min(page.limit as usize)];
    let next_cursor = match shown.last() {
        Some(row) if shown.len() < rows.len() => {
            Some(Reader { table: "a list", row }.get::<i64>(position)?.to_string())
        }
        _ => None,
    };
    Ok(Page { data: shown.iter().map(read).collect::<Result<_, _>>()?, next_cursor })
}

/// PostgreSQL keeps no NUL in a text; one that a request named must not hold up the rows beside it.
pub(crate) fn without_nul(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}
