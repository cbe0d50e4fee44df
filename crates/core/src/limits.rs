//! Rates and quotas as values: what may happen how often.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// So many requests a unit of time, with a burst of twice the rate; or no limit.
///
/// Written `100/s`, `30/min`, `1000/h` or `unlimited`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rate {
    /// Never refuses.
    Unlimited,
    /// `count` in `per_millis`, at least one.
    Per {
        /// Requests in the period.
        count: u32,
        /// Length of the period in milliseconds.
        per_millis: u64,
    },
}

impl Rate {
    /// Microseconds between two requests at a steady rate; `None` when unlimited.
    pub fn interval_micros(self) -> Option<u64> {
        match self {
            Self::Unlimited => None,
            Self::Per { count, per_millis } => Some((per_millis * 1000 / u64::from(count.max(1))).max(1)),
        }
    }

    /// Whether this lets more pass than a limit does, in the long run or at once.
    pub fn exceeds(self, limit: Self) -> bool {
        match (self, limit) {
            (_, Self::Unlimited) => false,
            (Self::Unlimited, _) => true,
            (Self::Per { count, per_millis }, Self::Per { count: most, per_millis: in_millis }) => {
                let faster =
                    u128::from(count) * u128::from(in_millis) > u128::from(most) * u128::from(per_millis);
                faster || self.burst() > limit.burst()
            }
        }
    }

    /// How many requests may come at once.
    pub fn burst(self) -> u32 {
        match self {
            Self::Unlimited => u32::MAX,
            Self::Per { count, .. } => count.saturating_mul(2),
        }
    }
}

/// Why a text is no rate.
#[derive(Debug, thiserror::Error)]
#[error("expected a rate such as `100/s`, `30/min`, `1000/h`, or `unlimited`")]
pub struct InvalidRate;

impl FromStr for Rate {
    type Err = InvalidRate;

    fn from_str(text: &str) -> Result<Self, InvalidRate> {
        if text == "unlimited" {
            return Ok(Self::Unlimited);
        }
        let (count, unit) = text.split_once('/').ok_or(InvalidRate)?;
        if !count.bytes().all(|b| b.is_ascii_digit()) {
            return Err(InvalidRate);
        }
        let count: u32 = count.parse().map_err(|_| InvalidRate)?;
        let per_millis = match unit {
            "s" => 1_000,
            "min" | "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(InvalidRate),
        };
        if count == 0 || count > 10_000_000 {
            return Err(InvalidRate);
        }
        Ok(Self::Per { count, per_millis })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unlimited => f.write_str("unlimited"),
            Self::Per { count, per_millis } => match per_millis {
                1_000 => write!(f, "{count}/s"),
                60_000 => write!(f, "{count}/min"),
                3_600_000 => write!(f, "{count}/h"),
                _ => write!(f, "{count}/d"),
            },
        }
    }
}

impl Serialize for Rate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'_, str>>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl schemars::JsonSchema for Rate {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Rate".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "pattern": "^([0-9]+/(s|min|h|d)|unlimited)$",
            "description": "Requests a unit of time, such as `100/s` or `30/min`; burst is twice the rate. `unlimited` turns it off."
        })
    }
}

/// The limits of a running gateway, from configuration.
#[derive(Clone, Copy, Debug)]
pub struct RateLimits {
    /// Each token or JWT subject.
    pub caller: Rate,
    /// All callers of a tenant together.
    pub tenant: Rate,
    /// All calls of a tenant to one provider.
    pub tenant_provider: Rate,
    /// Key tests from one address.
    pub key_test: Rate,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_exceeds_another_in_the_long_run_or_at_once() {
        let rate = |text: &str| text.parse::<Rate>().expect("valid");
        for (one, other, expected) in [
            ("10/s", "10/s", false),
            ("11/s", "10/s", true),
            ("1/s", "10/s", false),
            ("10/min", "10/s", false),
            ("11/min", "10/s", true),
            ("10/s", "600/min", false),
            ("11/s", "600/min", true),
            ("unlimited", "10/s", true),
            ("10000000/s", "unlimited", false),
            ("unlimited", "unlimited", false),
        ] {
            assert_eq!(rate(one).exceeds(rate(other)), expected, "{one} and {other}");
        }
    }

    #[test]
    fn rates_read_and_print_alike() {
        for text in ["100/s", "30/min", "7/h", "unlimited"] {
            assert_eq!(text.parse::<Rate>().expect("valid").to_string(), text);
        }
        for bad in ["", "100", "0/s", "-1/s", "1/fortnight", "+5/s", "99999999999/s"] {
            assert!(bad.parse::<Rate>().is_err(), "{bad}");
        }
    }
}
