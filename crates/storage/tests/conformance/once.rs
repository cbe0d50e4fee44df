//! Requests that are paid once, under the keys of their clients.

use keyferry_core::{
    budget::{Hold, KNOWN_FOR_MS, Once, Repeat, Reserve, Span, Spent},
    id::{RequestId, TenantId},
    limits::Rate,
    port::counter::{Bucket, Counters, Decision, Plan, Reserved, Scope, Settled, Take},
    time::Timestamp,
};

use crate::sample::now;

const MINUTE: u64 = 60_000;

fn tenant(name: &str) -> TenantId {
    name.parse().expect("valid")
}

fn id(number: usize) -> RequestId {
    format!("req_{number:026}").parse().expect("valid")
}

fn once(key: u8, asks: u8) -> Once {
    Once { key: [key; 32], asks: [asks; 32] }
}

fn reserve<'a>(id: &'a RequestId, once: &'a Once) -> Reserve<'a> {
    Reserve {
        hold: Hold { id, micro_usd: 1, ttl_ms: MINUTE, once: Some(once) },
        span: Span::TOTAL,
        limit: 1000,
        spent: Some(Spent { micro_usd: 0, version: 1 }),
    }
}

/// A request of a tenant that the platform pays, decided with everything else.
async fn of(
    counters: &dyn Counters,
    tenant: &TenantId,
    id: &RequestId,
    once: &Once,
    at: Timestamp,
) -> Decision {
    let bucket = |scope| Bucket { scope, name: "", rate: Rate::Unlimited };
    let take = Take {
        buckets: [Scope::Caller, Scope::Tenant, Scope::TenantProvider].map(bucket),
        daily_quota: 9,
        reserve: Some(reserve(id, once)),
    };
    let epoch = counters.epoch(tenant).await.expect("answers");
    let plan = Plan { tenant, now: at, epoch, claim: None, take: Some(take) };
    counters.decide(&plan).await.expect("answers")
}

async fn request(counters: &dyn Counters, id: &RequestId, once: &Once, at: Timestamp) -> Decision {
    of(counters, &tenant("acme"), id, once, at).await
}

/// The other way to the platform's money: after the tenant's own key has failed.
async fn fall_back(counters: &dyn Counters, id: &RequestId, once: &Once) -> Reserved {
    counters.reserve(&tenant("acme"), &reserve(id, once), now()).await.expect("answers")
}

async fn ends(counters: &dyn Counters, id: &RequestId, once: &Once, cost: bool, at: Timestamp) {
    let settled = Settled { tenant: &tenant("acme"), id, spent: &[], once: Some((once, cost)) };
    counters.settle(&[settled], at).await.expect("answers");
}

fn is_taken(decision: &Decision) -> bool {
    matches!(decision, Decision::Taken(_))
}

pub(crate) async fn a_repetition_is_told_while_the_first_runs_and_after_it_was_paid(counters: &dyn Counters) {
    let (first, again, same) = (id(1), id(2), once(1, 1));
    assert!(is_taken(&request(counters, &first, &same, now()).await));
    let running = Repeat::Running(first.clone());
    assert_eq!(request(counters, &again, &same, now()).await, Decision::Repeated(running.clone()));
    assert_eq!(fall_back(counters, &again, &same).await, Reserved::Repeated(running));
    ends(counters, &first, &same, true, now()).await;
    let answered = Repeat::Answered(first.clone());
    assert_eq!(request(counters, &again, &same, now()).await, Decision::Repeated(answered.clone()));
    assert_eq!(fall_back(counters, &again, &same).await, Reserved::Repeated(answered.clone()));
    let last = Timestamp::from_millis(now().millis() + KNOWN_FOR_MS as i64 - 1);
    assert_eq!(request(counters, &again, &same, last).await, Decision::Repeated(answered));
    let after = Timestamp::from_millis(last.millis() + 1);
    assert!(is_taken(&request(counters, &again, &same, after).await));
}

pub(crate) async fn what_cost_nothing_may_come_again(counters: &dyn Counters) {
    let same = once(1, 1);
    for number in 1..4 {
        assert!(is_taken(&request(counters, &id(number), &same, now()).await));
        ends(counters, &id(number), &same, false, now()).await;
    }
}

pub(crate) async fn another_request_under_the_same_key_is_told(counters: &dyn Counters) {
    let (first, other) = (once(1, 1), once(1, 2));
    assert!(is_taken(&request(counters, &id(1), &first, now()).await));
    let of_another = Decision::Repeated(Repeat::OfAnother);
    assert_eq!(request(counters, &id(2), &other, now()).await, of_another);
    ends(counters, &id(1), &first, true, now()).await;
    assert_eq!(request(counters, &id(2), &other, now()).await, of_another);
}

pub(crate) async fn each_key_is_by_itself(counters: &dyn Counters) {
    assert!(is_taken(&request(counters, &id(1), &once(1, 1), now()).await));
    assert!(is_taken(&request(counters, &id(2), &once(2, 1), now()).await));
    let (other, third) = (tenant("other"), id(3));
    assert!(is_taken(&of(counters, &other, &third, &once(1, 1), now()).await));
}

/// Each request that is refused gives back what it may have got.
pub(crate) async fn a_repetition_that_ends_leaves_the_first_known(counters: &dyn Counters) {
    let (first, again, same) = (id(1), id(2), once(1, 1));
    request(counters, &first, &same, now()).await;
    ends(counters, &again, &same, false, now()).await;
    let running = Decision::Repeated(Repeat::Running(first));
    assert_eq!(request(counters, &again, &same, now()).await, running);
}

pub(crate) async fn what_is_known_ends_with_a_hold_that_nobody_settles(counters: &dyn Counters) {
    let (first, again, same) = (id(1), id(2), once(1, 1));
    request(counters, &first, &same, now()).await;
    let last = Timestamp::from_millis(now().millis() + MINUTE as i64 - 1);
    assert!(!is_taken(&request(counters, &again, &same, last).await));
    let after = Timestamp::from_millis(last.millis() + 1);
    assert!(is_taken(&request(counters, &again, &same, after).await));
    // What the first says now is too late, and about itself.
    ends(counters, &first, &same, false, after).await;
    let running = Decision::Repeated(Repeat::Running(again));
    assert_eq!(request(counters, &first, &same, after).await, running);
}

pub(crate) async fn a_renewed_hold_is_known_for_longer(counters: &dyn Counters) {
    let (first, again, same) = (id(1), id(2), once(1, 1));
    request(counters, &first, &same, now()).await;
    let renewed = reserve(&first, &same).hold;
    counters.renew(&[(&tenant("acme"), renewed)], now().plus_secs(50)).await.expect("answers");
    let running = Decision::Repeated(Repeat::Running(first));
    assert_eq!(request(counters, &again, &same, now().plus_secs(100)).await, running);
    assert!(is_taken(&request(counters, &again, &same, now().plus_secs(110)).await));
}

pub(crate) async fn a_repetition_takes_nothing(counters: &dyn Counters) {
    let (first, again, same) = (id(1), id(2), once(1, 1));
    request(counters, &first, &same, now()).await;
    request(counters, &again, &same, now()).await;
    let acme = tenant("acme");
    assert_eq!(counters.quota_used(&acme, now().day()).await.expect("answers"), 1);
    assert_eq!(counters.standing(&acme, Span::TOTAL, now()).await.expect("answers").held, 1);
}
