//! Money: what tokens cost. Whole micro-USD wherever money is kept; a request's cost is rounded up once, at its end.

use std::{collections::HashMap, fmt, str::FromStr};

use crate::usage::TokenUsage;

/// Parts of a micro-USD that a price can be written in: six digits behind the point.
const PARTS: u64 = 1_000_000;
/// The highest price of a token, in micro-USD: a thousand dollars for a thousand tokens.
const MAX_WHOLE: u64 = 1_000_000;

/// What one token costs: USD per million tokens, which is micro-USD per token. Exact, in millionths of a micro-USD.
///
/// Written as decimal text, such as `0.40`, with six digits behind the point at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TokenPrice(u64);

/// Why a text is no price.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected USD per million tokens as decimal text such as \"0.40\": at most six digits behind the point, at most 1000000"
)]
pub struct InvalidPrice;

impl FromStr for TokenPrice {
    type Err = InvalidPrice;

    fn from_str(text: &str) -> Result<Self, InvalidPrice> {
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        if !digits(whole) || !digits(fraction) || whole.len() > 7 || fraction.len() > 6 {
            return Err(InvalidPrice);
        }
        let whole: u64 = whole.parse().map_err(|_| InvalidPrice)?;
        let fraction: u64 = format!("{fraction:0<6}").parse().map_err(|_| InvalidPrice)?;
        let parts = whole * PARTS + fraction;
        if parts > MAX_WHOLE * PARTS { Err(InvalidPrice) } else { Ok(Self(parts)) }
    }
}

impl fmt::Display for TokenPrice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fraction = format!("{:06}", self.0 % PARTS);
        let fraction = fraction.trim_end_matches('0');
        write!(f, "{}.{fraction:0<2}", self.0 / PARTS)
    }
}

/// What a model costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Price {
    /// A prompt token.
    pub input: TokenPrice,
    /// A prompt token that the provider had in its cache.
    pub cached_input: TokenPrice,
    /// A generated token.
    pub output: TokenPrice,
}

impl Price {
    /// What was consumed, in micro-USD, rounded up: a request is never cheaper than it was. The highest number stands
    /// for everything above it.
    pub fn cost(&self, usage: TokenUsage) -> u64 {
        let cached = usage.cached_input.min(usage.input);
        let parts =
            [(usage.input - cached, self.input), (cached, self.cached_input), (usage.output, self.output)];
        let sum: u128 = parts.iter().map(|&(tokens, price)| u128::from(tokens) * u128::from(price.0)).sum();
        u64::try_from(sum.div_ceil(u128::from(PARTS))).unwrap_or(u64::MAX)
    }
}

/// What models cost, by provider and model.
#[derive(Debug, Default)]
pub struct Prices {
    models: HashMap<(String, String), Price>,
    /// For models of a provider that are not listed.
    others: HashMap<String, Price>,
}

impl Prices {
    /// Adds a price; the model `*` stands for all of the provider that have none of their own.
    pub fn add(&mut self, provider: &str, model: &str, price: Price) {
        if model == "*" {
            self.others.insert(provider.to_owned(), price);
        } else {
            self.models.insert((provider.to_owned(), model.to_owned()), price);
        }
    }

    /// What a model costs; `None` if nobody has said so.
    pub fn of(&self, provider: &str, model: &str) -> Option<&Price> {
        // Built on each call rather than borrowed: only requests that the platform pays come here.
        self.models.get(&(provider.to_owned(), model.to_owned())).or_else(|| self.others.get(provider))
    }

    /// The models that are listed by name, as provider and model, in no order.
    pub fn models(&self) -> impl Iterator<Item = (&str, &str)> {
        self.models.keys().map(|(provider, model)| (provider.as_str(), model.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn price(input: &str, cached: &str, output: &str) -> Price {
        let read = |text: &str| text.parse().expect("a price");
        Price { input: read(input), cached_input: read(cached), output: read(output) }
    }

    #[test]
    fn prices_are_read_exactly() {
        for (text, written) in [
            ("0.40", "0.40"),
            ("1.6", "1.60"),
            ("15", "15.00"),
            ("0.000001", "0.000001"),
            ("0", "0.00"),
            ("1000000", "1000000.00"),
        ] {
            assert_eq!(text.parse::<TokenPrice>().expect("a price").to_string(), written);
        }
        for text in
            ["", ".", "1.", ".5", "-1", "+1", "1e3", "0.0000001", "1000000.000001", "10000000", "1,5", " 1"]
        {
            assert_eq!(text.parse::<TokenPrice>(), Err(InvalidPrice), "{text}");
        }
    }

    #[test]
    fn a_cost_is_rounded_up_once() {
        let price = price("0.40", "0.10", "1.60");
        let cost = |input, cached_input, output| price.cost(TokenUsage { input, cached_input, output });
        assert_eq!(cost(0, 0, 0), 0);
        assert_eq!(cost(1, 0, 0), 1);
        assert_eq!(cost(1000, 0, 0), 400);
        // 600 × 0.4 + 400 × 0.1 + 7 × 1.6 = 291.2
        assert_eq!(cost(1000, 400, 7), 292);
        // More from the cache than there was is as much as there was.
        assert_eq!(cost(10, 11, 0), 1);
        assert_eq!(cost(u64::MAX, 0, u64::MAX), u64::MAX);
    }

    proptest! {
        #[test]
        fn what_is_read_is_written_alike(parts in 0..=MAX_WHOLE * PARTS) {
            prop_assert_eq!(TokenPrice(parts).to_string().parse::<TokenPrice>(), Ok(TokenPrice(parts)));
        }

        #[test]
        fn more_tokens_never_cost_less(input in 0_u64..1 << 40, cached_input in 0_u64..1 << 40, output in 0_u64..1 << 40) {
            let price = price("3", "0.3", "15");
            let of = |more| price.cost(TokenUsage { input: input + more, cached_input, output: output + more });
            prop_assert!(of(1) >= of(0));
        }
    }
}
