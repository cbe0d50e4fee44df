//! Gateway tokens.

mod issue;
mod list;
mod revoke;

pub(super) use issue::issue;
pub(super) use list::list;
pub(super) use revoke::revoke;
