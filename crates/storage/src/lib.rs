//! The ports of `keyferry-core` on real backends, chosen by the scheme of a URL.
//!
//! Beside a store that is a file, usage rows go into a journal first.
//!
//! A backend is added as described at [`keyferry_core::port`]; the suite in `tests/conformance` is
//! run against each.
#![forbid(unsafe_code)]

mod copy;
pub mod counter;
mod errors;
mod forward;
mod journal;
mod migrations;
pub mod postgres;
mod rows;
pub mod sqlite;
mod store;

pub use copy::{CopyError, copy};
pub use journal::{JournalError, Kept, Mark, UsageJournal};
pub use migrations::Step;
pub use store::{Backend, NotAStore, migrate, open, status};
