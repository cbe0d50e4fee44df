use std::future::Future;

use keyferry_core::{
    id::TenantId,
    limits::Rate,
    port::counter::{Bucket, Claim, Counters, Decision, Epoch, Plan, Scope, Take},
    time::Timestamp,
};

use crate::sample::now;

fn acme() -> TenantId {
    "acme".parse().expect("valid")
}

fn take(caller: Rate, daily_quota: u64) -> Take<'static> {
    let bucket = |scope, name, rate| Bucket { scope, name, rate };
    Take {
        buckets: [
            bucket(Scope::Caller, "tok1", caller),
            bucket(Scope::Tenant, "", Rate::Unlimited),
            bucket(Scope::TenantProvider, "openai", Rate::Unlimited),
        ],
        daily_quota,
    }
}

fn plan<'a>(tenant: &'a TenantId, at: Timestamp, claim: Option<u8>, take: Option<Take<'a>>) -> Plan<'a> {
    let claim = claim.map(|byte| Claim { key: [byte; 32], until: at.plus_secs(60) });
    Plan { tenant, now: at, epoch: Epoch(0), claim, take }
}

/// How many of so many parallel decisions are `Taken`, and what one of the others is.
async fn count<F: Future<Output = Decision>>(
    times: usize,
    decide: impl Fn() -> F,
) -> (usize, Option<Decision>) {
    let mut taken = 0;
    let mut other = None;
    for decision in futures_util::future::join_all((0..times).map(|_| decide())).await {
        if decision == Decision::Taken {
            taken += 1;
        } else {
            other = Some(decision);
        }
    }
    (taken, other)
}

pub(crate) async fn a_quota_lets_through_exactly_so_many_in_parallel(counters: &dyn Counters) {
    let tenant = acme();
    let decide = || async {
        let plan = plan(&tenant, now(), None, Some(take(Rate::Unlimited, 20)));
        counters.decide(&plan).await.expect("answers")
    };
    assert_eq!(count(60, decide).await, (20, Some(Decision::QuotaExceeded)));
    assert_eq!(
        counters.quota_used(&tenant, now().day()).await.expect("answers"),
        20,
        "refusals do not count"
    );
}

pub(crate) async fn a_claim_is_good_once_also_in_parallel(counters: &dyn Counters) {
    let tenant = acme();
    let decide = || async {
        let plan = plan(&tenant, now(), Some(7), Some(take(Rate::Unlimited, 1000)));
        counters.decide(&plan).await.expect("answers")
    };
    assert_eq!(count(40, decide).await, (1, Some(Decision::Replayed)));
    assert_eq!(counters.quota_used(&tenant, now().day()).await.expect("answers"), 1);
    // Until its end and the skew are over it stays used; refused otherwise or not.
    let only_claim = plan(&tenant, now().plus_secs(59), Some(7), None);
    assert_eq!(counters.decide(&only_claim).await.expect("answers"), Decision::Replayed);
}

pub(crate) async fn a_refused_request_takes_nothing(counters: &dyn Counters) {
    let tenant = acme();
    let slow = Rate::Per { count: 1, per_millis: 1000 };
    let full = plan(&tenant, now(), None, Some(take(slow, 0)));
    for _ in 0..5 {
        assert_eq!(counters.decide(&full).await.expect("answers"), Decision::QuotaExceeded);
    }
    let open = plan(&tenant, now(), None, Some(take(slow, 10)));
    for _ in 0..2 {
        assert_eq!(
            counters.decide(&open).await.expect("answers"),
            Decision::Taken,
            "the bucket is still full"
        );
    }
    let limited = counters.decide(&open).await.expect("answers");
    assert!(
        matches!(limited, Decision::RateLimited { scope: Scope::Caller, retry_after_ms: 1..=1000 }),
        "{limited:?}"
    );
    assert_eq!(counters.quota_used(&tenant, now().day()).await.expect("answers"), 2);
}

pub(crate) async fn a_bucket_refills_with_time(counters: &dyn Counters) {
    let rate = Rate::Per { count: 30, per_millis: 60_000 };
    let draw = |at| counters.draw("key_test/127.0.0.1", rate, at);
    for _ in 0..60 {
        assert_eq!(draw(now()).await.expect("answers"), None, "a burst of twice the rate");
    }
    let wait = draw(now()).await.expect("answers").expect("empty");
    assert!((1..=2000).contains(&wait), "{wait}");
    assert_eq!(draw(now().plus_secs(2)).await.expect("answers"), None);
    assert!(draw(now().plus_secs(2)).await.expect("answers").is_some());
    assert_eq!(
        counters.draw("key_test/127.0.0.2", rate, now()).await.expect("answers"),
        None,
        "each on its own"
    );
}

pub(crate) async fn a_moved_epoch_makes_plans_stale(counters: &dyn Counters) {
    let tenant = acme();
    assert_eq!(counters.epoch(&tenant).await.expect("answers"), Epoch(0));
    counters.move_epoch(&tenant).await.expect("answers");
    let old = plan(&tenant, now(), Some(1), Some(take(Rate::Unlimited, 10)));
    assert_eq!(counters.decide(&old).await.expect("answers"), Decision::Stale(Epoch(1)));
    let new = Plan { epoch: Epoch(1), ..old };
    assert_eq!(
        counters.decide(&new).await.expect("answers"),
        Decision::Taken,
        "the stale plan claimed nothing"
    );
    let other = "other".parse().expect("valid");
    assert_eq!(counters.epoch(&other).await.expect("answers"), Epoch(0));
}

pub(crate) async fn a_quota_starts_anew_at_midnight(counters: &dyn Counters) {
    let tenant = acme();
    let last = Timestamp::from_millis(now().next_day().millis() - 1);
    for (at, wanted) in [
        (last, Decision::Taken),
        (last, Decision::QuotaExceeded),
        (now().next_day(), Decision::Taken),
        (now().next_day(), Decision::QuotaExceeded),
    ] {
        let plan = plan(&tenant, at, None, Some(take(Rate::Unlimited, 1)));
        assert_eq!(counters.decide(&plan).await.expect("answers"), wanted, "{}", at.to_rfc3339());
    }
}
