//! Falling back: in which cases the platform's key may serve where a tenant's own did not (U6). Never on a guess: what
//! is not recognised as one of these stays the provider's answer.

use crate::{
    dialect::Dialect,
    tenant::Fallback,
    verdict::{KeyStatus, classify},
};

/// Why a tenant's own key did not serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// There is none for the provider.
    Missing,
    /// The provider refused it.
    Unauthorized,
    /// It was used too often.
    RateLimited,
    /// Its account has no credit.
    NoCredit,
    /// The provider failed, or could not be reached.
    ServerError,
}

impl Failure {
    /// Every one.
    pub const ALL: [Self; 5] =
        [Self::Missing, Self::Unauthorized, Self::RateLimited, Self::NoCredit, Self::ServerError];

    /// The name on the wire: that of its switch.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Unauthorized => "unauthorized",
            Self::RateLimited => "rate_limited",
            Self::NoCredit => "no_credit",
            Self::ServerError => "server_error",
        }
    }

    /// What a provider's error says about the key that was used.
    pub fn of_answer(dialect: Dialect, status: u16, body: &[u8]) -> Option<Self> {
        match classify(dialect, status, body) {
            KeyStatus::Invalid | KeyStatus::Forbidden => Some(Self::Unauthorized),
            KeyStatus::NoCredit => Some(Self::NoCredit),
            KeyStatus::RateLimited => Some(Self::RateLimited),
            KeyStatus::ProviderDown | KeyStatus::Unreachable => Some(Self::ServerError),
            // The gateway's region is the same with any key, and a key that may not do this was not refused.
            KeyStatus::Ok | KeyStatus::OkRestricted | KeyStatus::RegionBlocked => None,
            // Nothing in the body says what it is, but the status alone says that the key was refused.
            KeyStatus::Untested => (status == 401).then_some(Self::Unauthorized),
        }
    }
}

impl Fallback {
    /// Whether the tenant's operator allows it in this case.
    pub const fn allows(&self, failure: Failure) -> bool {
        match failure {
            Failure::Missing => self.missing,
            Failure::Unauthorized => self.unauthorized,
            Failure::RateLimited => self.rate_limited,
            Failure::NoCredit => self.no_credit,
            Failure::ServerError => self.server_error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_says_why_the_key_did_not_serve() {
        let of = |status, body: &str| Failure::of_answer(Dialect::OpenAi, status, body.as_bytes());
        assert_eq!(of(401, r#"{"error":{"code":"invalid_api_key"}}"#), Some(Failure::Unauthorized));
        assert_eq!(of(401, "<html>"), Some(Failure::Unauthorized));
        assert_eq!(of(429, r#"{"error":{"code":"insufficient_quota"}}"#), Some(Failure::NoCredit));
        assert_eq!(of(429, r#"{"error":{"message":"slow down"}}"#), Some(Failure::RateLimited));
        assert_eq!(of(402, "{}"), Some(Failure::NoCredit));
        assert_eq!(of(503, ""), Some(Failure::ServerError));
        // The request is wrong, not the key.
        assert_eq!(of(400, r#"{"error":{"message":"no such parameter"}}"#), None);
        assert_eq!(of(404, r#"{"error":{"code":"model_not_found"}}"#), None);
        assert_eq!(of(403, r#"{"error":{"code":"unsupported_country_region_territory"}}"#), None);
    }

    #[test]
    fn each_case_has_its_switch_and_all_are_off() {
        for failure in Failure::ALL {
            assert!(!Fallback::default().allows(failure));
            let named = serde_json::json!({failure.as_str(): true});
            let one: Fallback = serde_json::from_value(named).expect("the switch of this name");
            let allowed: Vec<_> = Failure::ALL.into_iter().filter(|&other| one.allows(other)).collect();
            assert_eq!(allowed, [failure]);
        }
    }
}
