//! Counter stores.

mod memory;
mod redis;

use keyferry_core::limits::Rate;

pub use self::{
    memory::MemoryCounters,
    redis::{RedisAddress, RedisAddressError, RedisClock, RedisCounters, RedisError},
};

/// How many requests a bucket would let through that is so many microseconds ahead.
fn left_in_bucket(rate: Rate, ahead: u64) -> u32 {
    let Some(interval) = rate.interval_micros() else { return u32::MAX };
    rate.burst().saturating_sub(u32::try_from(ahead.div_ceil(interval)).unwrap_or(u32::MAX))
}
