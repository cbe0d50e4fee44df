//! Numbers and switches that may come from the environment: `${NAME}` always gives text.

use std::{fmt::Display, str::FromStr};

use serde::{Deserialize, Deserializer, de};
use serde_json::Value;

/// A value of its own kind, or a text that reads as one.
pub(super) fn from_text<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: de::DeserializeOwned + FromStr<Err: Display>,
{
    match Value::deserialize(deserializer)? {
        Value::String(text) => text.parse().map_err(de::Error::custom),
        value => serde_json::from_value(value).map_err(de::Error::custom),
    }
}

/// The same where the value may be left out.
pub(super) fn some_from_text<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: de::DeserializeOwned + FromStr<Err: Display>,
{
    from_text(deserializer).map(Some)
}
