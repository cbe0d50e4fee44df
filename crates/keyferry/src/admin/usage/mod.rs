//! Usage and quota.

mod budget;
mod requests;
mod summary;

pub(super) use budget::budget;
pub(super) use requests::requests;
pub(super) use summary::summary;
