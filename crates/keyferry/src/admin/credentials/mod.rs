//! Credentials: provider keys in custody. No operation returns a key.

mod get;
mod list;
mod revoke;
mod rotate;
mod store;
mod test;

use keyferry_envelope::{ApiKey, SecretBytes};

pub(super) use get::get;
pub(super) use list::list;
pub(super) use revoke::revoke;
pub(super) use rotate::rotate;
pub(super) use store::store;
pub(super) use test::test;

use super::problem::Failure;
use crate::custody::provider_key;

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
