//! The ports: what the program asks of a backend, and nothing about how it is done.
//!
//! To add a backend, implement [`store::Store`] or [`counter::Counters`] in `keyferry-storage`,
//! choose it there by the scheme of its URL, and add it to the list at the top of that crate's
//! conformance suite. The suite is the specification: a backend that passes it may be shipped.

pub mod counter;
pub mod root;
pub mod store;
