//! Lists that programs read on: a page of JSON, or a row a line.

use axum::{
    Json as Body,
    http::header,
    response::{IntoResponse, Response},
};
use keyferry_core::port::store::Page;
use serde::Serialize;

use super::page::Format;

/// A page in the form that was asked for. In JSONL the next cursor is in `x-next-cursor`.
pub(super) fn answer<T: Serialize>(page: Page<T>, format: Option<Format>) -> Response {
    if format != Some(Format::Jsonl) {
        return Body(page).into_response();
    }
    let mut text = String::new();
    for row in &page.data {
        if let Ok(line) = serde_json::to_string(row) {
            text.push_str(&line);
            text.push('\n');
        }
    }
    let mut answer = ([(header::CONTENT_TYPE, "application/x-ndjson")], text).into_response();
    if let Some(Ok(cursor)) = page.next_cursor.map(|cursor| cursor.parse()) {
        answer.headers_mut().insert("x-next-cursor", cursor);
    }
    answer
}
