//! Roots: the backends behind the root port, one module each.
//!
//! | module | the root is |
//! |---|---|
//! | [`local`] | a master secret in a file |
//! | [`pkcs11`] | a key in a hardware module |
#![forbid(unsafe_code)]

mod config;
#[cfg_attr(not(test), expect(dead_code, reason = "no root behind HTTP yet"))]
mod http;
pub mod local;
pub mod pkcs11;

pub use config::{AwsConfig, Pkcs11Config, VaultConfig};
pub use http::EndpointError;
