//! Denials: every way in which admission says no.

use crate::{
    budget::Repeat,
    code::Code,
    id::{ProviderId, TierName},
    port::counter::Scope,
    time::Timestamp,
};

/// Why a request is not let through. Its text is for the caller.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    /// The feature gate is shut.
    #[error("Bring-your-own-key is not enabled for this tenant. Its operator can turn it on (byok_enabled).")]
    Disabled,
    /// The kill switch is thrown.
    #[error("Bring-your-own-key is turned off on this gateway.")]
    SwitchedOff,
    /// This way of bringing a key is off.
    #[error("Keys in the mode '{0}' are not accepted by this gateway.")]
    ModeOff(&'static str),
    /// The token is bound to other models.
    #[error("This token may not use the model '{0}'.")]
    ModelNotAllowed(String),
    /// The token is bound to models, and the request leaves the choice to the provider.
    #[error("This token is bound to models, and the request names none.")]
    ModelNotNamed,
    /// The tenant's tier has other models.
    #[error(
        "The tier '{tier}' of this tenant does not have the model '{model}'. Its operator can change that."
    )]
    NotInTier {
        /// Which tier.
        tier: TierName,
        /// Which model, without what may be a key in its place.
        model: String,
    },
    /// The alias is one of a higher tier.
    #[error(
        "The model '{alias}' needs a higher tier than '{tier}', which this tenant has. Its operator can change that."
    )]
    AliasOfHigherTier {
        /// Which alias.
        alias: String,
        /// Which tier it is not for.
        tier: TierName,
    },
    /// The tier is bound to models, and the request leaves the choice to the provider.
    #[error("The tier '{tier}' of this tenant is bound to models, and the request names none.")]
    TierNeedsModel {
        /// Which tier.
        tier: TierName,
    },
    /// The token claims what the store does not have.
    #[error("The token claims a key of its own, but the tenant has none stored for provider '{0}'.")]
    NotEligible(ProviderId),
    /// There is no key.
    #[error(
        "This tenant has no key for provider '{0}'. Store one, or send one in the header X-BYOK-Key. No other key is used in its place."
    )]
    KeyNotFound(ProviderId),
    /// The platform would serve it, but does not know what it may cost.
    #[error(
        "The platform's key serves only what has a price, and none is configured for this model and operation."
    )]
    Unpriced,
    /// The token id was used before.
    #[error("This token was used before. Each token is good for one request: make a new one.")]
    Replayed,
    /// The platform would pay for the same request again.
    #[error("{}", told(.0))]
    Repeated(Repeat),
    /// Too fast.
    #[error("Too many requests {}. Wait, then try again.", match scope { Scope::Caller => "from this caller", Scope::Tenant => "from this tenant", Scope::TenantProvider => "from this tenant to this provider" })]
    RateLimited {
        /// Where.
        scope: Scope,
        /// For how long.
        retry_after_ms: u64,
    },
    /// The platform would have to pay more than it allows for this tenant.
    #[error("The tenant's budget for requests that the platform pays is used up.")]
    BudgetExceeded,
    /// Too many today.
    #[error("The tenant's daily quota is used up. It starts anew at {}.", resets_at.to_rfc3339())]
    QuotaExceeded {
        /// When the next day begins.
        resets_at: Timestamp,
    },
}

impl Denial {
    /// The code on the wire.
    pub fn code(&self) -> Code {
        match self {
            Self::Disabled | Self::SwitchedOff | Self::ModeOff(_) => Code::Disabled,
            Self::ModelNotAllowed(_)
            | Self::ModelNotNamed
            | Self::NotInTier { .. }
            | Self::AliasOfHigherTier { .. }
            | Self::TierNeedsModel { .. }
            | Self::Unpriced => Code::ModelNotAllowed,
            Self::NotEligible(_) => Code::NotEligible,
            Self::KeyNotFound(_) => Code::KeyNotFound,
            Self::Replayed | Self::Repeated(Repeat::Answered(_)) => Code::ReplayDetected,
            Self::Repeated(_) => Code::Conflict,
            Self::RateLimited { .. } => Code::RateLimited,
            Self::QuotaExceeded { .. } => Code::QuotaExceeded,
            Self::BudgetExceeded => Code::BudgetExceeded,
        }
    }

    /// Whole seconds after which to try again, rounded up.
    pub fn retry_after(&self, now: Timestamp) -> Option<u64> {
        match self {
            Self::RateLimited { retry_after_ms, .. } => Some(retry_after_ms.div_ceil(1000).max(1)),
            Self::QuotaExceeded { resets_at } => {
                let wait = u64::try_from(resets_at.millis() - now.millis()).unwrap_or(0);
                Some(wait.div_ceil(1000).max(1))
            }
            Self::Repeated(Repeat::Running(_)) => Some(1),
            _ => None,
        }
    }
}

fn told(repeat: &Repeat) -> String {
    match repeat {
        Repeat::OfAnother => {
            "This Idempotency-Key came with another request before. Use a new one for each request."
                .to_owned()
        }
        Repeat::Running(first) => {
            format!("The request {first} with this Idempotency-Key is under way. Wait for its answer.")
        }
        Repeat::Answered(first) => format!(
            "The request {first} with this Idempotency-Key was answered, and is not paid twice. Its answer is not kept \
             here. To ask anew, use a new Idempotency-Key."
        ),
    }
}
