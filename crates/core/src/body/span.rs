//! Where the model's name stands in a body, and the body with another name there. Every other byte stays as it is.
//!
//! Only for bodies whose facts were read: those have the field once, however its name is escaped.

use std::{borrow::Cow, ops::Range};

use crate::meter::structure::next_structural;

use super::json::after_string;

/// Where the value of the top-level `model` of a JSON object stands, its quotes included.
fn json_span(body: &[u8]) -> Option<Range<usize>> {
    let mut at = 0;
    let mut depth = 0usize;
    loop {
        at += next_structural(body.get(at..)?);
        match *body.get(at)? {
            b'"' => {
                let end = end_of_string(body, at)?;
                if depth == 1
                    && is_model(body.get(at..end)?)
                    && let Some(value) = value_after(body, end)
                {
                    return Some(value..end_of_string(body, value)?);
                }
                at = end;
            }
            b'{' | b'[' => {
                depth += 1;
                at += 1;
            }
            _ => {
                depth = depth.checked_sub(1)?;
                at += 1;
            }
        }
    }
}

/// Behind the quote that ends the string which begins at `at`.
fn end_of_string(body: &[u8], at: usize) -> Option<usize> {
    Some(body.len() - after_string(body.get(at + 1..)?).len())
}

/// Where the text begins that a key has for its value. `None` behind a text that is no key.
fn value_after(body: &[u8], at: usize) -> Option<usize> {
    let blank = |rest: &[u8]| rest.len() - rest.trim_ascii_start().len();
    let colon = at + blank(body.get(at..)?);
    if body.get(colon) != Some(&b':') {
        return None;
    }
    let value = colon + 1 + blank(body.get(colon + 1..)?);
    (body.get(value) == Some(&b'"')).then_some(value)
}

fn is_model(literal: &[u8]) -> bool {
    literal == br#""model""#
        || literal.contains(&b'\\')
            && serde_json::from_slice::<Cow<'_, str>>(literal).is_ok_and(|key| key == "model")
}

/// Where the name of a model stands in a body, and how it is written there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelSpan {
    range: Range<usize>,
    form: bool,
}

impl ModelSpan {
    /// In a JSON object whose facts were read; `None` if it names no model.
    pub fn in_json(body: &[u8]) -> Option<Self> {
        Some(Self { range: json_span(body)?, form: false })
    }

    pub(super) fn in_form(range: Range<usize>) -> Self {
        Self { range, form: true }
    }

    /// The body that this was found in, with another model.
    pub fn replace(&self, body: &[u8], model: &str) -> Vec<u8> {
        let written = if self.form {
            // With a line break it could end its part.
            model.replace(char::is_control, "")
        } else {
            serde_json::Value::from(model).to_string()
        };
        let (before, after) = (body.get(..self.range.start), body.get(self.range.end..));
        [before.unwrap_or_default(), written.as_bytes(), after.unwrap_or_default()].concat()
    }
}
