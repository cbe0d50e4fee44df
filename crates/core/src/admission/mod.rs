//! Admission: the ordered decision to let a request through, without I/O.
//!
//! Order (requirements A2–A8): replay → gate → eligibility → repetition → rates → quota → budget. The gate and
//! eligibility are decided on a cached view of the tenant; everything that counts is decided by
//! the counter store in one round trip, which also says whether that view still holds. So the
//! program does three things: [`decide_on_view`], one call to
//! [`Counters::decide`](crate::port::counter::Counters::decide) with the [`Plan`] made from it,
//! and [`Pending::conclude`], which alone can make an [`Admission`].

mod caller;
mod denial;
mod platform;
mod view;

use std::sync::Arc;

pub use caller::{Caller, Grant};
pub use denial::Denial;
pub use platform::{Payment, Platform};
pub use view::TenantView;

use crate::{
    credential::SealedCredential,
    id::ProviderId,
    limits::RateLimits,
    model::Named,
    port::counter::{Bucket, Claim, Decision, Epoch, Plan, Room, Scope, Take},
    record::{Accounting, KeyMode},
    tier::Tier,
    time::Timestamp,
};

/// The operator's switches that hold for every tenant.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// The kill switch: off beats everything.
    pub enabled: bool,
    /// Whether stored keys may serve.
    pub held: bool,
    /// Whether keys may come with a request.
    pub carried: bool,
    /// Requests a day for a tenant whose operator set none.
    pub daily_quota: u64,
    /// The rates.
    pub rates: RateLimits,
    /// Whether keys may come encrypted under a key beside them.
    pub session: bool,
    /// Whether keys may come sealed to the gateway.
    pub sealed: bool,
}

impl Policy {
    fn accepts(&self, brought: Brought) -> bool {
        match brought {
            Brought::Carried => self.carried,
            Brought::Session => self.session,
            Brought::Sealed => self.sealed,
        }
    }
}

/// In which way a key came with its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Brought {
    /// In plain text.
    Carried,
    /// Encrypted under a key beside it.
    Session,
    /// Sealed to the gateway.
    Sealed,
}

impl Brought {
    /// The mode, for receipts and rows.
    pub const fn mode(self) -> KeyMode {
        match self {
            Self::Carried => KeyMode::Carried,
            Self::Session => KeyMode::Session,
            Self::Sealed => KeyMode::Sealed,
        }
    }
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Which provider.
    pub provider: &'a ProviderId,
    /// Which model, where the request names one, as it names it.
    pub model: Option<&'a str>,
    /// The same, as entitlements see it.
    pub named: Named<'a>,
    /// The tenant's entitlements.
    pub tier: &'a Tier,
    /// Whether it makes the provider work: then a provider picks a model where none is named.
    pub consumes: bool,
    /// The way in which it brings a key of its own, if it does.
    pub brings: Option<Brought>,
    /// What the platform could do, where the tenant's operator allows it.
    pub platform: Platform,
}

/// Which key will serve.
#[derive(Clone)]
pub enum KeyChoice {
    /// The one that came with the request.
    Brought(Brought),
    /// A stored one.
    Held(Arc<SealedCredential>),
    /// The platform's own.
    Platform,
}

impl KeyChoice {
    /// The mode, for receipts and rows.
    pub fn mode(&self) -> KeyMode {
        match self {
            Self::Brought(brought) => brought.mode(),
            Self::Held(_) => KeyMode::Held,
            Self::Platform => KeyMode::Platform,
        }
    }
}

/// What a request may spend of the platform's money.
///
/// A request on the tenant's own key reserves nothing, whatever the state of any budget, and so
/// settles nothing.
#[derive(Debug, PartialEq, Eq)]
pub struct Reservation {
    /// Who pays.
    pub accounting: Accounting,
    /// Held back, in micro-USD.
    pub micro_usd: u64,
}

/// The proof that a request was let through. Only [`Pending::conclude`] makes one.
#[expect(clippy::manual_non_exhaustive, reason = "not about later fields: nobody else may make one")]
pub struct Admission {
    /// Which key serves it.
    pub key: KeyChoice,
    /// What it may spend.
    pub reservation: Reservation,
    /// What is left of its limits.
    pub room: Room,
    _witness: (),
}

/// A decision on a view, which waits for the counter store's.
pub struct Pending {
    local: Result<(KeyChoice, Reservation), Denial>,
    resets_at: Timestamp,
    epoch: Epoch,
}

/// What comes of a decision.
pub enum Conclusion {
    /// Let through.
    Admitted(Admission),
    /// Refused.
    Denied(Denial),
    /// The view was old: read it again and decide again.
    Stale,
    /// The counters do not know what is spent: read it from the store and decide again.
    SpentUnknown,
}

/// Decides what a view of the tenant can decide: the gate (A3) and eligibility (A4, U6).
pub fn decide_on_view(
    policy: &Policy,
    view: &TenantView,
    caller: &Caller,
    asked: Asked<'_>,
    now: Timestamp,
) -> Pending {
    Pending { local: eligible(policy, view, caller, asked), resets_at: now.next_day(), epoch: view.epoch }
}

fn eligible(
    policy: &Policy,
    view: &TenantView,
    caller: &Caller,
    asked: Asked<'_>,
) -> Result<(KeyChoice, Reservation), Denial> {
    let own = |key| Ok((key, Reservation { accounting: Accounting::ByokNoBudget, micro_usd: 0 }));
    view.gate(policy.enabled)?;
    asked.tier.allows(asked.named)?;
    if let Some(allowed) = caller.models() {
        match asked.model {
            Some(model) if !allowed.iter().any(|name| name == model) => {
                return Err(Denial::ModelNotAllowed(model.to_owned()));
            }
            None if asked.consumes => return Err(Denial::ModelNotNamed),
            _ => {}
        }
    }
    if let Some(brought) = asked.brings {
        return if policy.accepts(brought) {
            own(KeyChoice::Brought(brought))
        } else {
            Err(Denial::ModeOff(brought.mode().as_str()))
        };
    }
    match view.credential_for(asked.provider) {
        Some(_) if !policy.held => Err(Denial::ModeOff("held")),
        Some(credential) => own(KeyChoice::Held(Arc::clone(credential))),
        // What the token says about itself decides nothing; that it says so is worth a code.
        None if caller.claims_byok() => Err(Denial::NotEligible(asked.provider.clone())),
        None if view.tenant.fallback.missing => match asked.platform {
            Platform::Absent => Err(Denial::KeyNotFound(asked.provider.clone())),
            Platform::Unpriced => Err(Denial::Unpriced),
            Platform::Priced(micro_usd) => {
                let accounting = Accounting::PlatformBudget;
                Ok((KeyChoice::Platform, Reservation { accounting, micro_usd }))
            }
        },
        None => Err(Denial::KeyNotFound(asked.provider.clone())),
    }
}

impl Pending {
    /// What to ask the counter store.
    pub fn plan<'a>(
        &self,
        policy: &Policy,
        view: &'a TenantView,
        caller: &'a Caller,
        provider: &'a ProviderId,
        payment: Payment<'a>,
        now: Timestamp,
    ) -> Plan<'a> {
        let reserve = match &self.local {
            Ok((KeyChoice::Platform, reservation)) => {
                Some(payment.reserve(&view.tenant, reservation.micro_usd, now))
            }
            _ => None,
        };
        let bucket = |scope, name, rate| Bucket { scope, name, rate };
        Plan {
            tenant: caller.tenant(),
            now,
            epoch: self.epoch,
            claim: caller.claim(),
            take: self.local.is_ok().then(|| Take {
                buckets: [
                    bucket(Scope::Caller, caller.name(), caller.rate().unwrap_or(policy.rates.caller)),
                    bucket(Scope::Tenant, "", policy.rates.tenant),
                    bucket(Scope::TenantProvider, provider.as_str(), policy.rates.tenant_provider),
                ],
                daily_quota: view.tenant.daily_quota,
                reserve,
            }),
        }
    }

    /// Puts both decisions together, in the order of the requirements.
    pub fn conclude(self, decision: Decision) -> Conclusion {
        let denial = match decision {
            Decision::Stale(_) => return Conclusion::Stale,
            Decision::SpentUnknown => return Conclusion::SpentUnknown,
            Decision::Replayed => Denial::Replayed,
            Decision::Repeated(repeat) => Denial::Repeated(repeat),
            Decision::RateLimited { scope, retry_after_ms } => Denial::RateLimited { scope, retry_after_ms },
            Decision::QuotaExceeded => Denial::QuotaExceeded { resets_at: self.resets_at },
            Decision::BudgetExceeded => Denial::BudgetExceeded,
            Decision::Taken(room) => match self.local {
                Err(denial) => denial,
                Ok((key, reservation)) => {
                    return Conclusion::Admitted(Admission { key, reservation, room, _witness: () });
                }
            },
        };
        Conclusion::Denied(denial)
    }
}

impl Caller {
    /// The one use of this caller's token, if it has only one.
    pub fn claim(&self) -> Option<Claim> {
        match &self.grant {
            Grant::Token { .. } => None,
            Grant::Jwt { claim, .. } => Some(*claim),
        }
    }
}
