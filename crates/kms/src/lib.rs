//! Roots: the backends behind the root port, one module each.
//!
//! | module | the root is |
//! |---|---|
//! | [`local`] | a master secret in a file |
#![forbid(unsafe_code)]

mod config;
pub mod local;

pub use config::{AwsConfig, Pkcs11Config, VaultConfig};
