//! Asks for the usage of a stream. OpenAI tells it only to those who set `stream_options.include_usage`, in one event more;
//! a request that the platform pays must know it. Everything else of the body stays as it is.

use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value, value::RawValue};

#[derive(Deserialize)]
struct Options<'b> {
    #[serde(borrow, default, deserialize_with = "as_written")]
    stream_options: Option<&'b RawValue>,
}

/// What stands there, `null` too: only what is absent is none.
fn as_written<'b, D: Deserializer<'b>>(deserializer: D) -> Result<Option<&'b RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// The body with the option set; `None` if the client has set it already, or the body is not understood.
pub fn with_usage(body: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(body).ok()?;
    let options: Options<'_> = serde_json::from_str(text).ok()?;
    let (start, end, value) = match options.stream_options {
        // In front of all others: an object begins with a brace, and has more fields, as it says that it streams.
        None => {
            let brace = text.find('{')? + 1;
            (brace, brace, r#""stream_options":{"include_usage":true},"#.to_owned())
        }
        Some(written) => {
            let mut fields: Map<String, Value> = match serde_json::from_str(written.get()).ok()? {
                Value::Object(fields) => fields,
                Value::Null => Map::new(),
                _ => return None,
            };
            if fields.insert("include_usage".to_owned(), Value::Bool(true)) == Some(Value::Bool(true)) {
                return None;
            }
            let start = written.get().as_ptr().addr() - text.as_ptr().addr();
            (start, start + written.get().len(), Value::Object(fields).to_string())
        }
    };
    let mut asked = Vec::with_capacity(body.len() + value.len());
    asked.extend_from_slice(&body[..start]);
    asked.extend_from_slice(value.as_bytes());
    asked.extend_from_slice(&body[end..]);
    Some(asked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_the_option_changes() {
        for (body, expected) in [
            (
                r#" {"model": "m", "stream":true}"#,
                r#" {"stream_options":{"include_usage":true},"model": "m", "stream":true}"#,
            ),
            (
                r#"{"a": 1.50, "stream_options": {"include_usage": false, "x": [1]}, "stream": true}"#,
                r#"{"a": 1.50, "stream_options": {"include_usage":true,"x":[1]}, "stream": true}"#,
            ),
            (
                r#"{"stream_options": null, "stream": true}"#,
                r#"{"stream_options": {"include_usage":true}, "stream": true}"#,
            ),
            (
                r#"{"x": {"stream_options": 1}, "stream": true}"#,
                r#"{"stream_options":{"include_usage":true},"x": {"stream_options": 1}, "stream": true}"#,
            ),
        ] {
            let asked = with_usage(body.as_bytes()).expect("it changes");
            assert_eq!(String::from_utf8_lossy(&asked), expected);
        }
        for body in [
            r#"{"stream_options": {"include_usage": true}}"#,
            r#"{"stream_options": 5}"#,
            r#"{"stream_options": {}, "stream_options": {}}"#,
            "no JSON",
        ] {
            assert_eq!(with_usage(body.as_bytes()), None, "{body}");
        }
    }
}
