//! Lists that programs read on: a page of JSON, or a row a line as JSON or CSV.

use axum::{
    Json as Body,
    http::header,
    response::{IntoResponse, Response},
};
use keyferry_core::port::store::Page;
use serde::Serialize;
use serde_json::Value;

use super::page::Format;

/// A page in the form that was asked for, CSV with these columns. Where the form has no place for
/// the next cursor, it is in `x-next-cursor`.
pub(super) fn answer<T: Serialize>(page: Page<T>, format: Option<Format>, columns: &[&str]) -> Response {
    let rows = page.data.iter().map(|row| serde_json::to_value(row).unwrap_or_default());
    let (kind, text): (_, String) = match format {
        None | Some(Format::Json) => return Body(page).into_response(),
        Some(Format::Jsonl) => ("application/x-ndjson", rows.map(|row| format!("{row}\n")).collect()),
        Some(Format::Csv) => {
            let head = format!("{}\r\n", columns.join(","));
            (
                "text/csv; charset=utf-8",
                std::iter::once(head).chain(rows.map(|row| csv(&row, columns))).collect(),
            )
        }
    };
    let mut answer = ([(header::CONTENT_TYPE, kind)], text).into_response();
    if let Some(Ok(cursor)) = page.next_cursor.map(|cursor| cursor.parse()) {
        answer.headers_mut().insert("x-next-cursor", cursor);
    }
    answer
}

/// One line of CSV (RFC 4180). A text that a spreadsheet would take for a formula is led by an
/// apostrophe: models and subjects are chosen by callers.
fn csv(row: &Value, columns: &[&str]) -> String {
    let cells: Vec<String> = columns.iter().map(|column| cell(&row[*column])).collect();
    format!("{}\r\n", cells.join(","))
}

fn cell(value: &Value) -> String {
    let text = match value {
        Value::Null => return String::new(),
        Value::String(text) if text.starts_with(['=', '+', '-', '@', '\t']) => format!("'{text}"),
        Value::String(text) => text.clone(),
        other => return other.to_string(),
    };
    if text.contains([',', '"', '\r', '\n']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

#[cfg(test)]
mod tests {
    use super::csv;

    #[test]
    fn cells_are_quoted_where_they_must_be() {
        let row = serde_json::json!({"a": "x,\"y\"", "b": null, "c": 7, "d": "=1+1"});
        assert_eq!(csv(&row, &["a", "b", "c", "d"]), "\"x,\"\"y\"\"\",,7,'=1+1\r\n");
    }
}
