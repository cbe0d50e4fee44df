//! Servers that tests of the stores stand on: real ones, private to a test, gone when it ends.

pub mod redis;
