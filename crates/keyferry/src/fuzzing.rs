//! Readers of bytes from outside that are private, called by the targets of `fuzz/`. Not in a normal build.

pub use crate::{gateway::fuzzing as gateway, http::fuzzing as ingress, upstream::fuzzing as upstream};
