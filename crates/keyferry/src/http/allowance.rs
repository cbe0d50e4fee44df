//! How much a client may still ask for, as it is told: `RateLimit-Policy` and `RateLimit`
//! (draft-ietf-httpapi-ratelimit-headers-10), each a list with an item for each limit.

use http::{HeaderMap, HeaderName};
use keyferry_core::limits::Rate;

use super::short::Short;

/// Room for four limits with the longest numbers.
const LENGTH: usize = 256;

/// A limit's name as it stands in both lists, with what comes between it and its number.
#[derive(Clone, Copy)]
pub struct LimitName {
    pub(crate) policy: &'static str,
    pub(crate) left: &'static str,
}

/// A limit's name.
macro_rules! limit_name {
    ($name:literal) => {
        $crate::http::LimitName { policy: concat!('"', $name, "\";q="), left: concat!('"', $name, "\";r=") }
    };
}
pub(crate) use limit_name;

/// Both lists.
#[derive(Debug, Default)]
pub struct Allowance {
    policy: Short<LENGTH>,
    left: Short<LENGTH>,
}

impl Allowance {
    /// A limit of so many requests in a window of so many seconds, of which so many are left for so many seconds.
    pub fn add(&mut self, name: LimitName, [quota, window]: [u64; 2], [left, seconds]: [u64; 2]) {
        if !self.policy.is_empty() {
            self.policy.text(", ");
            self.left.text(", ");
        }
        self.policy.text(name.policy).number(quota).text(";w=").number(window);
        self.left.text(name.left).number(left).text(";t=").number(seconds);
    }

    /// The rate that refused, alone: nothing is left of it for so many seconds. What is left of the others nobody looked
    /// up.
    pub fn used_up(name: LimitName, rate: Rate, seconds: u64) -> Option<Box<Self>> {
        let policy = policy_of(rate)?;
        let mut alone = Self::default();
        alone.add(name, policy, [0, seconds]);
        Some(Box::new(alone))
    }

    /// Adds both headers.
    pub fn put(&self, headers: &mut HeaderMap) {
        let policy = (const { HeaderName::from_static("ratelimit-policy") }, &self.policy);
        let left = (const { HeaderName::from_static("ratelimit") }, &self.left);
        for (name, value) in [policy, left] {
            if let Some(value) = value.header() {
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
