//! Instants as the product writes them: milliseconds since the Unix epoch, RFC 3339 in text.

use ::time::{OffsetDateTime, UtcOffset, format_description::well_known::Rfc3339};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A point in time, in milliseconds since the Unix epoch (UTC).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From milliseconds since the epoch.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// From whole seconds since the epoch.
    pub const fn from_secs(secs: i64) -> Self {
        Self(secs.saturating_mul(1000))
    }

    /// Milliseconds since the epoch.
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// Whole seconds since the epoch, rounded down.
    pub const fn secs(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// This instant moved by some seconds.
    pub const fn plus_secs(self, secs: i64) -> Self {
        Self(self.0.saturating_add(secs.saturating_mul(1000)))
    }

    /// The UTC day this instant falls in, counted from the epoch.
    pub const fn day(self) -> i64 {
        self.0.div_euclid(86_400_000)
    }

    /// The first instant of the next UTC day.
    pub const fn next_day(self) -> Self {
        Self((self.day() + 1) * 86_400_000)
    }

    /// Reads RFC 3339 text, with any offset. The year has four digits in UTC as well.
    pub fn parse(text: &str) -> Option<Self> {
        let at = OffsetDateTime::parse(text, &Rfc3339).ok()?.checked_to_offset(UtcOffset::UTC)?;
        if !(0..=9999).contains(&at.year()) {
            return None;
        }
        i64::try_from(at.unix_timestamp_nanos() / 1_000_000).ok().map(Self)
    }

    /// RFC 3339 text in UTC with milliseconds, `2026-01-31T09:00:00.000Z`.
    pub fn to_rfc3339(self) -> String {
        let Ok(at) = OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1_000_000) else {
            return self.0.to_string();
        };
        format!(
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
            at.year(),
            u8::from(at.month()),
            at.day(),
            at.hour(),
            at.minute(),
            at.second(),
            at.millisecond()
        )
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_rfc3339())
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'_, str>>::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| de::Error::custom("expected an RFC 3339 date and time"))
    }
}

#[cfg(test)]
mod tests {
    use super::Timestamp;

    #[test]
    fn text_and_number_agree() {
        let at = Timestamp::from_millis(1_767_225_599_123);
        assert_eq!(at.to_rfc3339(), "2025-12-31T23:59:59.123Z");
        assert_eq!(Timestamp::parse("2025-12-31T23:59:59.123Z"), Some(at));
        assert_eq!(Timestamp::parse("2026-01-01T01:59:59.123+02:00"), Some(at));
    }

    /// The first and the last year have no text on the other side of midnight: four digits are all there are.
    #[test]
    fn what_is_read_can_be_written() {
        for (text, read) in [
            ("0000-01-01T00:00:00Z", true),
            ("0000-01-01T00:00:00+00:01", false),
            ("9999-12-31T23:59:59.999Z", true),
            ("9999-12-31T23:59:00-00:01", false),
        ] {
            let at = Timestamp::parse(text);
            assert_eq!(at.is_some(), read, "{text}");
            assert!(at.is_none_or(|at| Timestamp::parse(&at.to_rfc3339()) == Some(at)), "{text}");
        }
    }

    #[test]
    fn the_day_turns_at_midnight_utc() {
        let last = Timestamp::parse("2025-12-31T23:59:59.999Z").expect("valid");
        assert_eq!(last.next_day().to_rfc3339(), "2026-01-01T00:00:00.000Z");
        assert_eq!(last.day() + 1, last.next_day().day());
    }
}
