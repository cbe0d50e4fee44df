//! Counters in Redis or Valkey: right for any number of gateways that share one.
//!
//! Every operation is one script and one round trip. A script looks first and writes afterwards, on the server's clock,
//! and every key but the generation's expires by itself. Redis is not asked to remember for ever: each life of its
//! memory is a generation, which begins when the memory was lost. Restarting, failing over to a replica, which may lack
//! the last writes, and `FLUSHALL` all begin another one, and the next question of each gateway finds out: epochs of the
//! generation before stand no more, so every view is read again, and every caller is proven again under the new
//! [`lost_at`](keyferry_core::port::counter::Counters::lost_at).

mod address;
mod dial;
mod error;
mod greeting;
mod line;
mod link;
mod plan;
mod script;
mod shortcut;
mod waited;

use std::path::Path;

use async_trait::async_trait;
use keyferry_core::{
    budget::{Hold, KNOWN_FOR_MS, Reserve, Span, Spent, Standing},
    id::TenantId,
    limits::Rate,
    port::counter::{Counters, CountersAway, Decision, Epoch, Plan, Reserved, Settled},
    time::Timestamp,
};

pub use self::{
    address::{RedisAddress, RedisAddressError},
    error::RedisError,
};
use self::{
    dial::Dialler,
    link::{Link, garbage},
    script::{Answer, Call, SCRIPTS},
};

/// Calls in one round trip at most.
const BATCH: usize = 128;

/// Whose clock the counters go by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RedisClock {
    /// The server's: the same for all gateways. What the program uses.
    Server,
    /// The one that comes with each question, so that tests can move the time. Epochs and the generation go by the
    /// server's all the same, and so do expiries of keys.
    Caller,
}

/// A counter store in Redis.
pub struct RedisCounters {
    link: Link,
    clock: RedisClock,
}

impl RedisCounters {
    /// Connects, and looks whether the server is fit to keep counters.
    ///
    /// `ca` is the only authority to trust for `rediss://`; without it the public ones are. `known` is what
    /// [`generation`](Counters::generation) said when somebody last remembered it; without it this is a first start, and
    /// an empty server is no loss.
    ///
    /// A server that is not there is waited for, five seconds and a little. One that is not fit is refused at once.
    pub async fn open(
        address: RedisAddress,
        ca: Option<&Path>,
        known: Option<&str>,
        clock: RedisClock,
    ) -> Result<Self, RedisError> {
        let dialler = Dialler::new(address, ca)?;
        Ok(Self { link: Link::open(dialler, known.unwrap_or_default()).await?, clock })
    }

    /// The caller's time in microseconds, or nothing where the server's counts.
    fn time(&self, now: Timestamp) -> String {
        match self.clock {
            RedisClock::Server => String::new(),
            RedisClock::Caller => now.millis().saturating_mul(1000).to_string(),
        }
    }

    async fn one(&self, call: Call) -> Result<Answer, CountersAway> {
        self.link.ask(vec![call]).await?.pop().ok_or_else(garbage)
    }

    /// Many of a kind, each of which answers one word.
    async fn all(&self, mut calls: Vec<Call>, word: &str) -> Result<(), CountersAway> {
        while !calls.is_empty() {
            let later = calls.split_off(calls.len().min(BATCH));
            let answers = self.link.ask(std::mem::replace(&mut calls, later)).await?;
            if answers.iter().any(|answer| answer.word() != word) {
                return Err(garbage());
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Counters for RedisCounters {
    async fn decide(&self, plan: &Plan<'_>) -> Result<Decision, CountersAway> {
        let answer = self.one(plan::call(plan, &self.time(plan.now))).await?;
        plan::decision(plan, &answer)
    }

    async fn epoch(&self, tenant: &TenantId) -> Result<Epoch, CountersAway> {
        let call = Call::of(&SCRIPTS.read_epoch, [plan::key(tenant, "epoch")]).text("");
        let answer = self.one(call).await?;
        answer.number(1).filter(|_| answer.word() == "epoch").map(Epoch).ok_or_else(garbage)
    }

    async fn move_epoch(&self, tenant: &TenantId) -> Result<(), CountersAway> {
        let call = Call::of(&SCRIPTS.move_epoch, [plan::key(tenant, "epoch")]).text("");
        self.all(vec![call], "epoch").await
    }

    async fn reserve(
        &self,
        tenant: &TenantId,
        reserve: &Reserve<'_>,
        now: Timestamp,
    ) -> Result<Reserved, CountersAway> {
        let once = plan::once_key(tenant, reserve.hold.once);
        let keys = plan::account(tenant).into_iter().chain([plan::key(tenant, "room"), once]);
        let call = Call::of(&SCRIPTS.reserve, keys).text(self.time(now));
        let answer = self.one(plan::reserve_args(call, reserve)).await?;
        match answer.word() {
            "held" => Ok(Reserved::Held),
            "unknown" => Ok(Reserved::SpentUnknown),
            "budget" => Ok(Reserved::BudgetExceeded),
            _ => plan::repeat(&answer).map(Reserved::Repeated).ok_or_else(garbage),
        }
    }

    async fn settle(&self, settled: &[Settled<'_>], now: Timestamp) -> Result<(), CountersAway> {
        let time = self.time(now);
        let settling = |one: &Settled<'_>| {
            let once = one.once.map(|(once, _)| once);
            let known_for = if one.once.is_some_and(|(_, cost)| cost) { KNOWN_FOR_MS } else { 0 };
            let keys = plan::account(one.tenant).into_iter().chain([plan::once_key(one.tenant, once)]);
            let call = Call::of(&SCRIPTS.settle, keys).text(time.as_str());
            let call = call.text(one.id.as_str()).text(plan::asks(once)).number(known_for);
            one.spent.iter().fold(call, |call, (span, spent)| {
                call.integer(span.number()).number(spent.micro_usd).number(spent.version)
            })
        };
        self.all(settled.iter().map(settling).collect(), "settled").await
    }

    async fn renew(&self, holds: &[(&TenantId, Hold<'_>)], now: Timestamp) -> Result<(), CountersAway> {
        let time = self.time(now);
        let renewal = |(tenant, hold): &(&TenantId, Hold<'_>)| {
            let keys = plan::account(tenant).into_iter().chain([plan::once_key(tenant, hold.once)]);
            let call = Call::of(&SCRIPTS.renew, keys).text(time.as_str()).text(hold.id.as_str());
            call.number(hold.micro_usd).number(hold.ttl_ms).text(plan::asks(hold.once))
        };
        self.all(holds.iter().map(renewal).collect(), "renewed").await
    }

    async fn standing(
        &self,
        tenant: &TenantId,
        span: Span,
        now: Timestamp,
    ) -> Result<Standing, CountersAway> {
        let call = Call::of(&SCRIPTS.standing, plan::account(tenant));
        let answer = self.one(call.text(self.time(now)).integer(span.number())).await?;
        let held = answer.number(1).filter(|_| answer.word() == "standing").ok_or_else(garbage)?;
        let spent = match (answer.text(2), answer.number(2), answer.number(3)) {
            (Some(""), ..) => None,
            (_, Some(micro_usd), Some(version)) => Some(Spent { micro_usd, version }),
            _ => return Err(garbage()),
        };
        Ok(Standing { spent, held })
    }

    async fn quota_used(&self, tenant: &TenantId, day: i64) -> Result<u64, CountersAway> {
        let answer = self.one(Call::of(&SCRIPTS.quota, [plan::key(tenant, "quota")]).text("")).await?;
        match (answer.word(), answer.text(1), answer.number(1), answer.number(2)) {
            ("quota", Some(""), ..) => Ok(0),
            ("quota", _, Some(of), Some(used)) => Ok(if i64::try_from(of) == Ok(day) { used } else { 0 }),
            _ => Err(garbage()),
        }
    }

    async fn draw(&self, name: &str, rate: Rate, now: Timestamp) -> Result<Option<u64>, CountersAway> {
        if rate == Rate::Unlimited {
            return Ok(None);
        }
        let call = Call::of(&SCRIPTS.draw, [format!("kf:draw:{{{name}}}")]).text(self.time(now));
        let answer = self.one(plan::rate_args(call, rate)).await?;
        match (answer.word(), answer.number(1)) {
            ("drawn", _) => Ok(None),
            ("wait", Some(micros)) => Ok(Some(micros.div_ceil(1000))),
            _ => Err(garbage()),
        }
    }

    async fn ping(&self) -> Result<(), CountersAway> {
        let call = Call::of(&SCRIPTS.ping, ["kf:ping"]).text("");
        self.all(vec![call], "pong").await
    }

    fn lost_at(&self) -> Option<Timestamp> {
        self.link.generation().lost_at
    }

    fn generation(&self) -> String {
        self.link.generation().id
    }
}
