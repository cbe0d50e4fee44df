//! Credentials: provider keys in custody. No operation returns a key.

mod get;
mod list;
mod revoke;
mod rotate;
mod store;
mod test;

use keyferry_core::{code::Code, id::TenantId, port::store::StoreError, provider::Provider};
use keyferry_envelope::{ApiKey, SealPurpose, SecretBytes};

pub(super) use get::get;
pub(super) use list::list;
pub(super) use revoke::revoke;
pub(super) use rotate::rotate;
pub(super) use store::store;
pub(super) use test::test;

use super::{context::Context, problem::Failure};
use crate::{
    custody::{KekError, Opened, VaultError, provider_key},
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

/// The key of a body: borrowed from it, checked, and from there on a secret. A sealed one is opened,
/// and its one use counted.
async fn key_of(
    context: &Context,
    tenant: &TenantId,
    provider: &Provider,
    api_key: Option<&str>,
    sealed_key: Option<&str>,
) -> Result<ApiKey, Failure> {
    let text = match (api_key, sealed_key) {
        (Some(text), None) => {
            return provider_key(SecretBytes::copy_of(text.as_bytes()))
                .map_err(|error| Failure::invalid(error.to_string()));
        }
        (None, Some(text)) => text,
        _ => return Err(Failure::invalid("Exactly one of api_key and sealed_key is needed.")),
    };
    let Some(unsealing) = &context.state.unsealing else {
        return Err(Failure::new(
            Code::Disabled,
            "Sealed keys are not accepted by this gateway. Send api_key.",
        ));
    };
    let actor = context.actor_name();
    let opened = unsealing.open(text.as_bytes(), SealPurpose::Store, tenant, &provider.id, &actor).await;
    let Opened { key, claim } = opened.map_err(Problem::from)?;
    unsealing.claim(&claim).await.map_err(Problem::from)?;
    Ok(key)
}
