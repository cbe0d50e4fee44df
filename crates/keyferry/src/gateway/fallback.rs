//! Falling back to the platform's key, where a tenant's operator allows it (U6): after a failure of the tenant's own
//! key, before the first byte of an answer, within the tenant's budget. The receipt, a log event and a metric say so.

use std::time::Duration;

use http::{HeaderMap, header};
use keyferry_core::{
    budget::{Hold, Reserve, Spent},
    fallback::Failure,
    port::counter::Reserved,
};
use tokio::time::{Instant, sleep_until};

use super::{
    Gateway, Passage,
    circuits::UnderWay,
    payment::{Paid, Spare},
    settle::Settlement,
    slots::PlacedKey,
};
use crate::telemetry::metrics;

/// How long a request waits for a limit of the tenant's own key to be over; if it takes longer, it does not wait.
const MOST_WAIT: Duration = Duration::from_secs(2);
/// How long it waits where the provider does not say.
const USUAL_WAIT: Duration = Duration::from_millis(500);

/// What may still be tried.
pub(super) struct Tries {
    spare: Option<Box<Spare>>,
    waited: bool,
    deadline: Instant,
}

/// What to try next.
pub(super) enum Next {
    /// The same key again.
    Again,
    /// The platform's, after this failure.
    Platform(PlacedKey, Failure),
}

impl Tries {
    pub(super) fn new(spare: Option<Box<Spare>>, deadline: Instant) -> Self {
        Self { spare, waited: false, deadline }
    }

    /// Whether there may be another try.
    pub(super) fn may_go_on(&self) -> bool {
        self.spare.is_some()
    }

    /// Waits until a limit is over, once.
    async fn wait(&mut self, headers: &HeaderMap) -> bool {
        let until = Instant::now() + retry_after(headers).unwrap_or(USUAL_WAIT);
        let too_long = until > self.deadline.min(Instant::now() + MOST_WAIT);
        if std::mem::replace(&mut self.waited, true) || too_long {
            return false;
        }
        sleep_until(until).await;
        true
    }
}

/// What the provider says, in whole seconds. A date is as good as nothing: it is longer than anybody waits here.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(header::RETRY_AFTER)?.to_str().ok()?.parse().ok().map(Duration::from_secs)
}

impl Gateway {
    /// What to try after a failure, and the leave to call the provider for it; `None` if the provider's answer is the
    /// answer.
    pub(super) async fn next_try<'a>(
        &'a self,
        passage: &Passage<'a>,
        settlement: &mut Settlement,
        tries: &mut Tries,
        failure: Option<Failure>,
        headers: &HeaderMap,
    ) -> Option<(Next, UnderWay<'a>)> {
        let failure = failure?;
        tries.spare.as_ref().filter(|spare| spare.failures.allows(failure))?;
        if failure == Failure::RateLimited && tries.wait(headers).await {
            return Some((Next::Again, self.circuits.ask(passage.provider).ok()?));
        }
        let spare = tries.spare.take()?;
        let key = self.payments.key(&passage.provider.id)?;
        // Before the money: what is kept back here costs none, and is no fallback.
        let under_way = self.circuits.ask(passage.provider).ok()?;
        let paid = self.set_aside(passage, settlement, &spare).await?;
        settlement.paid_by_platform(paid);
        let key = PlacedKey { slot: passage.provider.auth_slot(), key: key.clone() };
        Some((Next::Platform(key, failure), under_way))
    }

    /// Sets the money aside. Where there is none, or nobody knows, or the same request was paid already, the provider's
    /// answer stands.
    async fn set_aside(&self, passage: &Passage<'_>, settlement: &Settlement, spare: &Spare) -> Option<Paid> {
        let tenant = settlement.record().tenant.clone();
        let hold = Hold {
            id: passage.id,
            micro_usd: spare.micro_usd,
            ttl_ms: self.payments.ttl_ms(),
            once: spare.once.as_ref(),
        };
        let held = self.holds.keep(&tenant, &hold);
        let mut spent: Option<Spent> = None;
        for _ in 0..2 {
            let hold = hold.clone();
            let reserve = Reserve { hold, span: spare.span, limit: spare.limit, spent };
            match self.counters.reserve(&tenant, &reserve, self.clock.now()).await {
                Ok(Reserved::Held) => return Some(Paid { price: spare.price, held }),
                Ok(Reserved::BudgetExceeded | Reserved::Repeated(_)) => return None,
                Ok(Reserved::SpentUnknown) => {
                    spent = Some(self.views.spent(&tenant, spare.span).await.ok()?);
                }
                Err(error) => {
                    tracing::warn!(event = "fallback_not_possible", request_id = %passage.id, %error);
                    return None;
                }
            }
        }
        None
    }
}

/// Says that the platform's key serves, and why: when the provider is called with it.
pub(super) fn tell(passage: &Passage<'_>, settlement: &Settlement, failure: Failure) {
    let record = settlement.record();
    metrics::fallback(passage.provider.id.as_str(), failure.as_str());
    tracing::info!(event = "byok_fallback_server_key", request_id = %passage.id, tenant = %record.tenant,
        user = %record.caller, provider = %passage.provider.id, reason = failure.as_str());
}
