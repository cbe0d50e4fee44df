//! Query parameters of lists.

use keyferry_core::{port::store::PageRequest, time::Timestamp};
use serde::Deserialize;

use super::problem::Failure;

/// Rows of a page unless asked otherwise, and at most.
const DEFAULT: u32 = 50;
const MAX: u32 = 1000;

/// The parameters that lists share. Unknown ones are refused: a mistyped filter must not widen a list.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Query {
    cursor: Option<String>,
    limit: Option<u32>,
    from: Option<String>,
    to: Option<String>,
    pub(super) group_by: Option<String>,
    pub(super) action: Option<String>,
    pub(super) actor: Option<String>,
    pub(super) format: Option<Format>,
}

/// How rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Format {
    Json,
    Jsonl,
    Csv,
}

impl Query {
    pub(super) fn page(&self) -> Result<PageRequest, Failure> {
        let limit = self.limit.unwrap_or(DEFAULT);
        if !(1..=MAX).contains(&limit) {
            return Err(Failure::invalid(format!("'limit' must be 1 to {MAX}.")));
        }
        Ok(PageRequest { cursor: self.cursor.clone(), limit })
    }

    pub(super) fn range(&self) -> Result<(Option<Timestamp>, Option<Timestamp>), Failure> {
        Ok((time("from", self.from.as_deref())?, time("to", self.to.as_deref())?))
    }
}

fn time(name: &str, text: Option<&str>) -> Result<Option<Timestamp>, Failure> {
    let wrong =
        || Failure::invalid(format!("'{name}' must be an RFC 3339 time such as 2026-01-31T00:00:00Z."));
    text.map(|text| Timestamp::parse(&text.replace(' ', "+")).ok_or_else(wrong)).transpose()
}

/// The query of a request, or why it is none.
pub(super) fn read(uri: &http::Uri) -> Result<Query, Failure> {
    axum::extract::Query::try_from_uri(uri).map(|axum::extract::Query(query)| query).map_err(|_| {
        Failure::invalid("A query parameter is not known here, or its value is not of the right kind.")
    })
}
