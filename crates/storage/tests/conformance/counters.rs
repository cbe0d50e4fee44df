use std::future::Future;

use keyferry_core::{
    id::TenantId,
    limits::Rate,
    port::counter::{Bucket, Claim, Counters, Decision, Epoch, Plan, Room, Scope, Take},
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
        reserve: None,
    }
}

/// What a plan decides that is made on the tenant's view as it is now.
async fn decide(counters: &dyn Counters, plan: &Plan<'_>) -> Decision {
    let epoch = counters.epoch(plan.tenant).await.expect("answers");
    counters.decide(&Plan { epoch, ..plan.clone() }).await.expect("answers")
}

fn is_taken(decision: &Decision) -> bool {
    matches!(decision, Decision::Taken(_))
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
        if is_taken(&decision) {
            taken += 1;
        } else {
            other = Some(decision);
        }
    }
    (taken, other)
}

pub(crate) async fn a_quota_lets_through_exactly_so_many_in_parallel(counters: &dyn Counters) {
    let tenant = acme();
    let request =
        || async { decide(counters, &plan(&tenant, now(), None, Some(take(Rate::Unlimited, 20)))).await };
    assert_eq!(count(60, request).await, (20, Some(Decision::QuotaExceeded)));
    assert_eq!(
        counters.quota_used(&tenant, now().day()).await.expect("answers"),
        20,
        "refusals do not count"
    );
}

pub(crate) async fn a_claim_is_good_once_also_in_parallel(counters: &dyn Counters) {
    let tenant = acme();
    let request = || async {
        decide(counters, &plan(&tenant, now(), Some(7), Some(take(Rate::Unlimited, 1000)))).await
    };
    assert_eq!(count(40, request).await, (1, Some(Decision::Replayed)));
    assert_eq!(counters.quota_used(&tenant, now().day()).await.expect("answers"), 1);
    // Until its end and the skew are over it stays used; refused otherwise or not.
    let only_claim = plan(&tenant, now().plus_secs(59), Some(7), None);
    assert_eq!(decide(counters, &only_claim).await, Decision::Replayed);
}

pub(crate) async fn a_refused_request_takes_nothing(counters: &dyn Counters) {
    let tenant = acme();
    let slow = Rate::Per { count: 1, per_millis: 1000 };
    let full = plan(&tenant, now(), None, Some(take(slow, 0)));
    for _ in 0..5 {
        assert_eq!(decide(counters, &full).await, Decision::QuotaExceeded);
    }
    let open = plan(&tenant, now(), None, Some(take(slow, 10)));
    for left in [1, 0] {
        let room = Room { buckets: [Some(left), None, None], quota: 8 + u64::from(left) };
        assert_eq!(decide(counters, &open).await, Decision::Taken(room), "the bucket was still full");
    }
    let limited = decide(counters, &open).await;
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
    let before = counters.epoch(&tenant).await.expect("answers");
    let other = "other".parse().expect("valid");
    let of_other = counters.epoch(&other).await.expect("answers");
    counters.move_epoch(&tenant).await.expect("answers");
    let after = counters.epoch(&tenant).await.expect("answers");
    assert_ne!(before, after);
    let old = Plan { epoch: before, ..plan(&tenant, now(), Some(1), Some(take(Rate::Unlimited, 10))) };
    assert_eq!(counters.decide(&old).await.expect("answers"), Decision::Stale(after));
    assert!(is_taken(&decide(counters, &old).await), "the stale plan claimed nothing");
    assert_eq!(counters.epoch(&other).await.expect("answers"), of_other);
}

pub(crate) async fn a_quota_starts_anew_at_midnight(counters: &dyn Counters) {
    let tenant = acme();
    let last = Timestamp::from_millis(now().next_day().millis() - 1);
    for (at, wanted) in [(last, true), (last, false), (now().next_day(), true), (now().next_day(), false)] {
        let plan = plan(&tenant, at, None, Some(take(Rate::Unlimited, 1)));
        let decision = decide(counters, &plan).await;
        assert_eq!(is_taken(&decision), wanted, "{}", at.to_rfc3339());
        assert!(wanted || decision == Decision::QuotaExceeded, "{decision:?}");
    }
}
