//! What the mock provider and the load generator have in common: the script they both know, so that one can check every
//! answer of the other; and the little HTTP/1.1 they need.

pub mod account;
pub mod flags;
pub mod script;
pub mod wire;
