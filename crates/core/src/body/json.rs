//! The facts of a JSON body. Never builds a tree: all but the two fields is checked for being JSON and skipped.

use std::{borrow::Cow, fmt};

use memchr::memchr2;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::meter::structure::next_structural;

use super::{BodyRefused, MAX_DEPTH, RequestFacts, checked_model, put_once};

/// Reads the facts of a JSON body: one object, at most 128 levels deep, nothing behind it.
///
/// The rest of the body is checked for being JSON and otherwise skipped.
pub fn read_json(body: &[u8]) -> Result<RequestFacts, BodyRefused> {
    let text = std::str::from_utf8(body).map_err(|_| BodyRefused::NotJson { line: 0, column: 0 })?;
    let mut refused = None;
    let mut reader = serde_json::Deserializer::from_str(text);
    let facts = Facts { refused: &mut refused }
        .deserialize(&mut reader)
        .and_then(|facts| reader.end().map(|()| facts));
    let facts = facts.map_err(|error| {
        refused.unwrap_or_else(|| match error.classify() {
            serde_json::error::Category::Data => BodyRefused::NotAnObject,
            _ => BodyRefused::NotJson { line: error.line(), column: error.column() },
        })
    })?;
    if is_deeper_than(MAX_DEPTH, body) { Err(BodyRefused::TooDeep) } else { Ok(facts) }
}

/// Reads the top-level object. The reason for a refusal goes beside the error, which can carry text only.
struct Facts<'r> {
    refused: &'r mut Option<BodyRefused>,
}

impl<'de> DeserializeSeed<'de> for Facts<'_> {
    type Value = RequestFacts;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<RequestFacts, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Facts<'_> {
    type Value = RequestFacts;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RequestFacts, A::Error> {
        let mut model: Option<Option<String>> = None;
        let mut stream: Option<bool> = None;
        while let Some(key) = map.next_key_seed(Borrowed)? {
            let outcome = match key.as_ref() {
                "model" => match map.next_value_seed(Scalar)? {
                    Value::Text(text) => checked_model(&text)
                        .and_then(|text| put_once("model", &mut model, Some(text.to_owned()))),
                    Value::Null => put_once("model", &mut model, None),
                    _ => Err(BodyRefused::ModelNotText),
                },
                "stream" => match map.next_value_seed(Scalar)? {
                    Value::Boolean(value) => put_once("stream", &mut stream, value),
                    Value::Null => put_once("stream", &mut stream, false),
                    _ => Err(BodyRefused::StreamNotBoolean),
                },
                _ => {
                    map.next_value::<IgnoredAny>()?;
                    Ok(())
                }
            };
            if let Err(reason) = outcome {
                *self.refused = Some(reason);
                return Err(A::Error::custom("refused"));
            }
        }
        Ok(RequestFacts { model: model.flatten(), stream: stream.unwrap_or(false) })
    }
}

/// A key, copied only if it is written with escapes.
struct Borrowed;

impl<'de> DeserializeSeed<'de> for Borrowed {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Borrowed {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text.to_owned()))
    }
}

/// The value of one of the two fields.
enum Value<'de> {
    Text(Cow<'de, str>),
    Boolean(bool),
    Null,
    Other,
}

struct Scalar;

impl<'de> DeserializeSeed<'de> for Scalar {
    type Value = Value<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Scalar {
    type Value = Value<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Value::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Value::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Value::Boolean(value))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Value::Null)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(Value::Other)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(Value::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Value::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Value::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Value::Other)
    }
}

/// Only for a text that is known to be JSON. The parser skips values without recursion and so without a limit of its
/// own, but the provider's reader may have one, or a stack.
fn is_deeper_than(limit: usize, json: &[u8]) -> bool {
    // Most bodies have fewer brackets than that altogether, and to count bytes is next to nothing.
    if opening_brackets(json) <= limit {
        return false;
    }
    let mut rest = json;
    let mut depth = 0usize;
    loop {
        let at = next_structural(rest);
        let Some(&byte) = rest.get(at) else { return false };
        rest = rest.get(at + 1..).unwrap_or_default();
        match byte {
            b'"' => rest = after_string(rest),
            b'{' | b'[' => depth += 1,
            _ => depth = depth.saturating_sub(1),
        }
        if depth > limit {
            return true;
        }
    }
}

/// How many there are, in strings as well.
fn opening_brackets(json: &[u8]) -> usize {
    // So many at a time as a byte can count: then the compiler counts a whole vector register of them at once.
    let parts = json.chunks(usize::from(u8::MAX));
    let counted = parts.map(|part| part.iter().map(|byte| u8::from(matches!(byte, b'{' | b'['))).sum::<u8>());
    counted.map(usize::from).sum()
}

/// What follows the string that `rest` is inside of.
pub(super) fn after_string(mut rest: &[u8]) -> &[u8] {
    while let Some(at) = memchr2(b'"', b'\\', rest) {
        let is_end = rest.get(at) == Some(&b'"');
        rest = rest.get(at + if is_end { 1 } else { 2 }..).unwrap_or_default();
        if is_end {
            break;
        }
    }
    rest
}
