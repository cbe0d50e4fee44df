//! Issuers of JWTs.

mod list;
mod register;
mod remove;

pub(super) use list::list;
pub(super) use register::register;
pub(super) use remove::remove;
