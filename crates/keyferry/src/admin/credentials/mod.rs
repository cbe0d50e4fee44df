//! Credentials: provider keys in custody. No operation returns a key.

mod get;
mod list;
mod revoke;
mod rotate;
mod store;
mod test;

use keyferry_core::port::store::StoreError;
use keyferry_envelope::{ApiKey, SecretBytes};

pub(super) use get::get;
pub(super) use list::list;
pub(super) use revoke::revoke;
pub(super) use rotate::rotate;
pub(super) use store::store;
pub(super) use test::test;

use super::problem::Failure;
use crate::{
    custody::{KekError, VaultError, provider_key},
    http::Problem,
};

/// Why a key was not sealed, for the client. `what` says what that means for it.
fn not_sealed(error: &VaultError, what: &'static str) -> Failure {
    tracing::error!(event = "sealing_failed", error = error as &(dyn std::error::Error + 'static));
    match error {
        VaultError::Kek(KekError::Root(error)) => Problem::of_root(error, what).into(),
        VaultError::Kek(KekError::Store(StoreError::NotFound(what))) => Failure::not_found(what),
        VaultError::Kek(KekError::Store(_)) | VaultError::Seal(_) => Problem::unavailable(what).into(),
    }
}

/// The key of a body: borrowed from it, checked, and from there on a secret.
fn key_of(api_key: Option<&str>, sealed_key: Option<&str>) -> Result<ApiKey, Failure> {
    match (api_key, sealed_key) {
        (Some(text), None) => provider_key(SecretBytes::new(text.as_bytes().to_vec()))
            .map_err(|error| Failure::invalid(error.to_string())),
        (None, Some(_)) => Err(Failure::new(
            keyferry_core::code::Code::Disabled,
            "Sealed keys are not accepted by this gateway. Send api_key.",
        )),
        _ => Err(Failure::invalid("Exactly one of api_key and sealed_key is needed.")),
    }
}
