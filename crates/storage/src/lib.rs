//! The ports of `keyferry-core` on real backends, chosen by the scheme of a URL.
//!
//! A backend is added as described at [`keyferry_core::port`]; the suite in `tests/conformance` is
//! run against each.
#![forbid(unsafe_code)]

pub mod counter;
mod errors;
mod forward;
mod migrations;
mod rows;
pub mod sqlite;

pub use migrations::Step;
