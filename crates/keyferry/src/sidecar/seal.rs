//! The one step that makes a sealed key of a key: from here on only the gateway's custody can open it.
//! The sidecar does it, and `keyferry seal`.

use keyferry_core::{
    id::{ProviderId, TenantId},
    sealing::{ListRefused, SealingKeyList},
    time::Timestamp,
};
use keyferry_envelope::{ApiKey, Entropy, SealPurpose, VerifyingKey, seal_key};
use serde_json::Value;

/// What a sealed key is bound to.
#[derive(Clone, Copy, Debug)]
pub struct SealFor<'a> {
    /// What it is sealed for.
    pub purpose: SealPurpose,
    /// Whose it is.
    pub tenant: &'a TenantId,
    /// Which provider it opens.
    pub provider: &'a ProviderId,
    /// Now.
    pub now: Timestamp,
}

/// Why a key was not sealed. It is not sent in another way then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotSealed {
    /// There is nothing to seal to.
    #[error("This gateway publishes no key to seal to.")]
    NoKey,
    /// The list is none, or not the operator's.
    #[error(transparent)]
    List(#[from] ListRefused),
    /// It cannot be written as a sealed key.
    #[error("The key cannot be sealed for this provider.")]
    Unsealable,
}

/// Seals a key to the newest key of a list.
pub fn seal(
    list: &SealingKeyList,
    sealed_for: SealFor<'_>,
    key: &ApiKey,
    entropy: &dyn Entropy,
) -> Result<String, NotSealed> {
    let (kid, public) = list.choose(sealed_for.now).ok_or(NotSealed::NoKey)?;
    let bound_to = keyferry_envelope::SealFor {
        purpose: sealed_for.purpose,
        tenant: sealed_for.tenant.as_str(),
        provider: sealed_for.provider.as_str(),
        ts: u64::try_from(sealed_for.now.secs()).map_err(|_| NotSealed::Unsealable)?,
    };
    seal_key(&public, &kid, &bound_to, key, entropy).map_err(|_| NotSealed::Unsealable)
}

/// Reads what `GET /api/v1/sealing-keys` answered. With the operator's public key, only a list that
/// the operator signed is taken.
pub fn published(answer: &Value, operator: Option<&VerifyingKey>) -> Result<SealingKeyList, NotSealed> {
    match operator {
        Some(operator) => {
            Ok(SealingKeyList::verify(answer["jws"].as_str().ok_or(ListRefused::Signature)?, operator)?)
        }
        None => Ok(SealingKeyList::parse(answer.to_string().as_bytes())?),
    }
}
