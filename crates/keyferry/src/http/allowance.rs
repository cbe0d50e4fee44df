//! How much a client may still ask for, as it is told: `RateLimit-Policy` and `RateLimit`
//! (draft-ietf-httpapi-ratelimit-headers-10), each a list with an item for each limit.

use std::fmt::Write as _;

use http::{HeaderMap, HeaderValue};
use keyferry_core::limits::Rate;

/// Both lists.
#[derive(Debug)]
pub struct Allowance {
    policy: String,
    left: String,
}

impl Default for Allowance {
    fn default() -> Self {
        Self { policy: String::with_capacity(128), left: String::with_capacity(128) }
    }
}

impl Allowance {
    /// A limit of so many requests in a window of so many seconds, of which so many are left for so many seconds.
    pub fn add(&mut self, name: &str, [quota, window]: [u64; 2], [left, seconds]: [u64; 2]) {
        let comma = if self.policy.is_empty() { "" } else { ", " };
        // Writing to a text does not fail.
        let _ = write!(self.policy, "{comma}\"{name}\";q={quota};w={window}");
        let _ = write!(self.left, "{comma}\"{name}\";r={left};t={seconds}");
    }

    /// The rate that refused, alone: nothing is left of it for so many seconds. What is left of the others nobody looked
    /// up.
    pub fn used_up(name: &str, rate: Rate, seconds: u64) -> Option<Box<Self>> {
        let policy = policy_of(rate)?;
        let mut alone = Self::default();
        alone.add(name, policy, [0, seconds]);
        Some(Box::new(alone))
    }

    /// Adds both headers.
    pub fn put(&self, headers: &mut HeaderMap) {
        for (name, value) in [("ratelimit-policy", &self.policy), ("ratelimit", &self.left)] {
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.insert(name, value);
            }
        }
    }
}

/// A bucket's quota is its burst, and its window the time in which an empty one fills. `None` for one without a limit.
pub fn policy_of(rate: Rate) -> Option<[u64; 2]> {
    let interval = rate.interval_micros()?;
    let burst = u64::from(rate.burst());
    Some([burst, (burst * interval).div_ceil(1_000_000)])
}
