//! Roots: the backends behind the root port, one module each.
//!
//! | module | the root is |
//! |---|---|
//! | [`aws`] | a key in AWS KMS |
//! | [`local`] | a master secret in a file |
//! | [`pkcs11`] | a key in a hardware module |
//! | [`vault`] | a key of Transit, in HashiCorp Vault or OpenBao |
#![forbid(unsafe_code)]

pub mod aws;
mod config;
mod file;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod http;
pub mod local;
pub mod pkcs11;
pub mod vault;

pub use config::{AwsConfig, Pkcs11Config, VaultConfig};
pub use http::{EndpointError, port_of};
