//! Admission: the program's part of the decision that `core::admission` makes.

use std::time::Duration;

use keyferry_core::{
    admission::{Admission, Asked, Caller, Conclusion, Denial, Payment, Platform, decide_on_view},
    budget::Span,
    code::Code,
    operation::RequestBody,
    port::counter::{Decision, Plan},
    record::Accounting,
    tenant::Fallback,
};

use super::{
    Gateway, Passage,
    authenticate::{Authenticated, Shown},
    body::ReadBody,
    candidates::{Candidate, Candidates},
    entitled::Entitlements,
    jwt,
    limits::{Left, Limits},
    payment::{Paid, Quote, Spare},
    views::away,
};
use crate::http::Problem;

/// How often a decision is repeated because the tenant was changed meanwhile.
const ATTEMPTS: usize = 4;
/// So long after a request began, its caller counts as just proven.
const FRESH: Duration = Duration::from_secs(1);

/// A request that was let through, and whose it is.
pub(super) struct Admitted {
    pub(super) admission: Admission,
    pub(super) caller: Caller,
    pub(super) left: Left,
    /// What it is settled at, and the money held for it, if the platform pays.
    pub(super) paid: Option<Paid>,
    /// What the platform could do if the tenant's own key fails.
    pub(super) spare: Option<Box<Spare>>,
}

/// The body is another one than the token's `req_hash` says.
pub(super) fn hash_mismatch() -> Problem {
    Problem::new(Code::HashMismatch, "The body is not the one this token was made for.")
}

/// Whether a proof from the beginning of a request counts when it is admitted. A JWT is proven again in any case: it must be
/// younger than the last loss of the counters that know of its use.
fn still_stands(proven: &Authenticated, passage: &Passage<'_>) -> bool {
    proven.caller.claim().is_none() && passage.started.elapsed() < FRESH
}

/// A denial, with the limit that it is for.
fn told(denial: &Denial, candidates: &Candidates<'_>, limits: &Limits) -> Problem {
    let mut problem = Problem::new(denial.code(), candidates.tell(denial));
    problem.retry_after = denial.retry_after(limits.at);
    problem.limit = limits.refused(denial);
    problem
}

impl Gateway {
    /// Lets the request through, or says why not.
    ///
    /// The caller is proven on the same view that is decided on: when that turns out to be old,
    /// both are done again, so a revoked token is refused from the next request on. So they are when the
    /// body took its time: the token may be over.
    pub(super) async fn admit<'a>(
        &self,
        passage: &Passage<'_>,
        candidates: &Candidates<'a>,
        token: &Shown,
        proven: Authenticated,
        body: &ReadBody,
    ) -> Result<(Admitted, Candidate<'a>), Problem> {
        let quote =
            |one: &Candidate<'_>| self.payments.quote(&one.provider.id, passage.operation, one.model, body);
        let mut spent = None;
        // One for all attempts: giving back what an earlier one did not get would take away what a later one did.
        let mut held = None;
        let mut proven = Some(proven).filter(|proven| still_stands(proven, passage));
        for _ in 0..ATTEMPTS {
            let now = self.clock.now();
            let Authenticated { caller, view } = self.proven(proven.take(), token).await?;
            if let Some(wanted) = caller.req_hash()
                && !body.whole().is_some_and(|bytes| jwt::body_matches(wanted, bytes))
            {
                return Err(hash_mismatch());
            }
            let consumes = passage.operation.body != RequestBody::None;
            let payable = |one: &Candidate<'_>| matches!(quote(one).platform, Platform::Priced(_));
            let candidate = candidates.choose(&view.tenant, payable);
            let provider = &candidate.provider.id;
            let tier = self.entitlements.tier(&view.tenant.tenant);
            let policy = Entitlements::policy(&self.policy, tier);
            // Where the platform may pay in no case, nobody looks what it would.
            let may_pay = view.tenant.tenant.fallback != Fallback::default();
            let Quote { platform, price } = if may_pay { quote(&candidate) } else { Quote::ABSENT };
            let once = may_pay.then(|| passage.once(&caller, candidates.asked, body)).flatten();
            let asked = Asked {
                provider,
                model: candidates.asked,
                named: candidates.named(&candidate, passage.operation),
                tier,
                consumes,
                brings: candidate.brings,
                platform,
            };
            let limits = Limits::of(&policy, &caller, &view.tenant.tenant, now);
            let pending = decide_on_view(&policy, &view.tenant, &caller, asked, now);
            let payment = Payment {
                request: passage.id,
                ttl_ms: self.payments.ttl_ms(),
                ceiling: tier.budget_micro_usd,
                spent,
                once: once.as_ref(),
            };
            let plan = pending.plan(&policy, &view.tenant, &caller, provider, payment, now);
            let reserve = plan.take.as_ref().and_then(|take| take.reserve.as_ref());
            let span = reserve.map(|reserve| reserve.span);
            if let (Some(reserve), None) = (reserve, &held) {
                held = Some(self.holds.keep(caller.tenant(), &reserve.hold));
            }
            let decision = self.counters.decide(&plan).await.map_err(|error| away(&error))?;
            match pending.conclude(decision) {
                Conclusion::Admitted(admission) => {
                    // An earlier attempt may have asked for money that this one does not need.
                    let is_paid = admission.reservation.accounting == Accounting::PlatformBudget;
                    let paid = held.filter(|_| is_paid).map(|held| Paid { price, held });
                    let ceiling = payment.ceiling;
                    let spare = Spare::of(&view.tenant.tenant, ceiling, platform, price, once, now);
                    let spare = spare.filter(|_| !is_paid).map(Box::new);
                    let left = Left { limits, room: admission.room };
                    return Ok((Admitted { admission, caller, left, paid, spare }, candidate));
                }
                Conclusion::SpentUnknown => {
                    let span = span.unwrap_or(Span::TOTAL);
                    spent = Some(self.views.spent(caller.tenant(), span).await?);
                }
                Conclusion::Stale => self.views.forget(&view),
                Conclusion::Denied(denial) => return Err(told(&denial, candidates, &limits)),
            }
        }
        Err(Problem::unavailable("The tenant is being changed."))
    }

    /// Whoever is proven, or is now.
    async fn proven(&self, proven: Option<Authenticated>, token: &Shown) -> Result<Authenticated, Problem> {
        match proven {
            Some(proven) => Ok(proven),
            None => self.authenticator.authenticate(&self.views, token).await,
        }
    }

    /// Where bringing keys is off, nothing is opened, and nothing is said about what would open.
    pub(super) async fn refuse_where_it_is_off(&self, proven: &Authenticated) -> Result<(), Problem> {
        let Authenticated { caller, view } = proven;
        let Err(denial) = view.tenant.gate(self.policy.enabled) else { return Ok(()) };
        // It may have been turned on meanwhile.
        let current = Box::pin(self.views.current(caller.tenant())).await?;
        if current.is_some_and(|view| view.tenant.gate(self.policy.enabled).is_ok()) {
            return Ok(());
        }
        Err(Problem::new(denial.code(), denial.to_string()))
    }

    /// Proves a caller for something that is no request to a provider: no gate, no rate, no quota,
    /// but a token with one use is used up.
    pub(super) async fn identify(&self, token: &Shown) -> Result<Caller, Problem> {
        self.identify_on_view(token).await.map(|proven| proven.caller)
    }

    /// The same, with the view of the tenant that it was proven on, which is current.
    pub(super) async fn identify_on_view(&self, token: &Shown) -> Result<Authenticated, Problem> {
        for _ in 0..ATTEMPTS {
            let Authenticated { caller, view } = self.authenticator.authenticate(&self.views, token).await?;
            let plan = Plan {
                tenant: caller.tenant(),
                now: self.clock.now(),
                epoch: view.tenant.epoch,
                claim: caller.claim(),
                take: None,
            };
            match self.counters.decide(&plan).await.map_err(|error| away(&error))? {
                Decision::Stale(_) => self.views.forget(&view),
                Decision::Replayed => {
                    let denial = Denial::Replayed;
                    return Err(Problem::new(denial.code(), denial.to_string()));
                }
                _ => return Ok(Authenticated { caller, view }),
            }
        }
        Err(Problem::unavailable("The tenant is being changed."))
    }
}
