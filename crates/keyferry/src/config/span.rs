//! Lengths of time as people write them: `500ms`, `5s`, `2m`, `1h`.

use std::{borrow::Cow, time::Duration};

use serde::{Deserialize, Deserializer, de};

/// A length of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub Duration);

impl Span {
    /// So many seconds.
    pub const fn secs(secs: u64) -> Self {
        Self(Duration::from_secs(secs))
    }

    fn parse(text: &str) -> Option<Self> {
        let digits = text.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = text[..digits].parse().ok()?;
        let millis = match &text[digits..] {
            "ms" => 1,
            "s" => 1_000,
            "m" | "min" => 60_000,
            "h" => 3_600_000,
            _ => return None,
        };
        number.checked_mul(millis).filter(|&ms| ms > 0).map(|ms| Self(Duration::from_millis(ms)))
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <Cow<'_, str>>::deserialize(deserializer)?;
        Self::parse(&text)
            .ok_or_else(|| de::Error::custom("expected a length of time such as `500ms`, `5s`, `2m` or `1h`"))
    }
}

impl schemars::JsonSchema for Span {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "pattern": "^[0-9]+(ms|s|m|min|h)$",
            "description": "A length of time, such as `500ms`, `5s`, `2m` or `1h`."
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_as_written() {
        assert_eq!(Span::parse("300s"), Some(Span::secs(300)));
        assert_eq!(Span::parse("1h"), Some(Span::secs(3600)));
        for bad in ["", "5", "s", "0s", "-1s", "5 s", "99999999999999999999h", "1d"] {
            assert_eq!(Span::parse(bad), None, "{bad}");
        }
    }
}
