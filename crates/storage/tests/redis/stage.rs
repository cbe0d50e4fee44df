//! Gateways' counters, and requests to decide.

use std::{future::Future, time::Duration};

use keyferry_core::{
    budget::{Hold, Reserve, Span, Spent},
    id::{RequestId, TenantId},
    limits::Rate,
    port::counter::{Bucket, Claim, Counters, CountersAway, Decision, Epoch, Plan, Scope, Take},
    time::Timestamp,
};
use keyferry_storage::counter::{RedisAddress, RedisClock, RedisCounters, RedisError};
use keyferry_storage_testing::redis::RedisServer;
use tokio::time::{Instant, sleep};

/// What a caller is promised when the counters are away.
pub(crate) const PROMISED: Duration = Duration::from_secs(1);

pub(crate) async fn try_open(url: &str, known: Option<&str>) -> Result<RedisCounters, RedisError> {
    let address = RedisAddress::read(url).expect("a URL");
    RedisCounters::open(address, None, known, RedisClock::Server).await
}

pub(crate) async fn open(url: &str, known: Option<&str>) -> RedisCounters {
    try_open(url, known).await.expect("the server is fit")
}

pub(crate) fn tenant(number: usize) -> TenantId {
    format!("tenant{number}").parse().expect("valid")
}

pub(crate) fn request_id(number: usize) -> RequestId {
    format!("req_{number:026}").parse().expect("valid")
}

/// The server's time.
pub(crate) fn time_of(server: &RedisServer) -> Timestamp {
    let (secs, micros): (i64, i64) = server.client(0).ask("TIME");
    Timestamp::from_millis(secs * 1000 + micros / 1000)
}

/// A request of a tenant's one caller; none of its rates is reached.
pub(crate) struct Request<'a> {
    pub(crate) tenant: &'a TenantId,
    pub(crate) now: Timestamp,
    pub(crate) claim: Option<Claim>,
    pub(crate) quota: u64,
    pub(crate) reserve: Option<Reserve<'a>>,
}

impl<'a> Request<'a> {
    pub(crate) fn of(tenant: &'a TenantId, now: Timestamp) -> Self {
        Self { tenant, now, claim: None, quota: 1000, reserve: None }
    }

    /// With a token id that can be used for a minute.
    pub(crate) fn with_claim(self, number: u8) -> Self {
        let claim = Claim { key: [number; 32], until: self.now.plus_secs(60) };
        Self { claim: Some(claim), ..self }
    }

    pub(crate) fn plan(&self, epoch: Epoch) -> Plan<'a> {
        let rate = Rate::Per { count: 1000, per_millis: 3_600_000 };
        let bucket = |scope, name| Bucket { scope, name, rate };
        let take = Take {
            buckets: [
                bucket(Scope::Caller, "tok1"),
                bucket(Scope::Tenant, ""),
                bucket(Scope::TenantProvider, "openai"),
            ],
            daily_quota: self.quota,
            reserve: self.reserve.clone(),
        };
        Plan { tenant: self.tenant, now: self.now, epoch, claim: self.claim, take: Some(take) }
    }

    /// Decided on the view as it is now.
    pub(crate) async fn try_decide(&self, counters: &RedisCounters) -> Result<Decision, CountersAway> {
        let epoch = counters.epoch(self.tenant).await?;
        counters.decide(&self.plan(epoch)).await
    }

    pub(crate) async fn decide(&self, counters: &RedisCounters) -> Decision {
        self.try_decide(counters).await.expect("answers")
    }
}

pub(crate) fn reserve(id: &RequestId) -> Reserve<'_> {
    Reserve {
        hold: Hold { id, micro_usd: 10, ttl_ms: 60_000, once: None },
        span: Span::TOTAL,
        limit: 100,
        spent: Some(Spent { micro_usd: 0, version: 1 }),
    }
}

pub(crate) fn is_taken(decision: &Decision) -> bool {
    matches!(decision, Decision::Taken(_))
}

/// Asks until there is an answer, for so long as a recovery may take.
pub(crate) async fn soon<T, F: Future<Output = Result<T, CountersAway>>>(ask: impl Fn() -> F) -> T {
    let begun = Instant::now();
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(error) => assert!(begun.elapsed() < Duration::from_secs(5), "{error}"),
        }
        sleep(Duration::from_millis(20)).await;
    }
}

/// The error of something that must not be answered, and must say so in time.
pub(crate) async fn away<T>(asking: impl Future<Output = Result<T, CountersAway>>) -> String {
    let begun = Instant::now();
    let Err(CountersAway(why)) = asking.await else { panic!("it was answered") };
    assert!(begun.elapsed() < PROMISED, "{why} after {:?}", begun.elapsed());
    why
}
