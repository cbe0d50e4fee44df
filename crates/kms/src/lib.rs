//! Roots: the backends behind the root port, one module each.
//!
//! | module | the root is |
//! |---|---|
//! | [`local`] | a master secret in a file |
#![forbid(unsafe_code)]

mod config;
#[cfg_attr(not(test), expect(dead_code, reason = "no root behind HTTP yet"))]
mod http;
pub mod local;

pub use config::{AwsConfig, Pkcs11Config, VaultConfig};
pub use http::EndpointError;
