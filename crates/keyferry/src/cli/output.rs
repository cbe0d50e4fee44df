//! What commands print: JSON for programs, aligned text for people.

use std::io::Write;

use serde_json::Value;

/// Writes a line to standard output. A reader that went away is no error worth a message.
pub(super) fn line(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Writes a line to standard error, whether or not anybody reads it.
pub(super) fn error_line(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Prints JSON, indented.
pub(super) fn json(value: &Value) {
    line(&serde_json::to_string_pretty(value).unwrap_or_default());
}

/// JSON on one line in ASCII only: some readers take U+2028 and its like for the end of a line.
pub(super) fn json_line(value: &Value) {
    let mut text = String::new();
    for c in value.to_string().chars() {
        if c.is_ascii() {
            text.push(c);
        } else {
            let mut units = [0; 2];
            text.extend(c.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")));
        }
    }
    line(&text);
}

/// Prints an object as JSON, or as `name  value` lines.
pub(super) fn object(value: &Value, as_json: bool) {
    if as_json {
        return json(value);
    }
    let Some(fields) = value.as_object() else { return };
    let width = fields.keys().map(String::len).max().unwrap_or(0);
    for (name, field) in fields {
        line(&format!("{name:width$}  {}", text(field)));
    }
}

/// Prints the rows of a list as JSON, or as a table of these columns.
pub(super) fn table(value: &Value, columns: &[&str], as_json: bool) {
    if as_json {
        return json(value);
    }
    let rows = value["data"].as_array().cloned().unwrap_or_default();
    let cells: Vec<Vec<String>> =
        rows.iter().map(|row| columns.iter().map(|column| text(&row[*column])).collect()).collect();
    let width = |i: usize| cells.iter().map(|row| row[i].len()).chain([columns[i].len()]).max().unwrap_or(0);
    let print = |row: Vec<&str>| {
        let padded: Vec<_> =
            row.iter().enumerate().map(|(i, cell)| format!("{cell:w$}", w = width(i))).collect();
        line(padded.join("  ").trim_end());
    };
    print(columns.to_vec());
    for row in &cells {
        print(row.iter().map(String::as_str).collect());
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        // Names are other people's text: a terminal must not obey it.
        Value::String(text) => text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect(),
        Value::Object(fields) if fields.contains_key("status") => text(&fields["status"]),
        other => other.to_string(),
    }
}
