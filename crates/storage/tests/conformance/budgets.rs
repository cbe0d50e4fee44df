use std::collections::BTreeMap;

use keyferry_core::{
    budget::{Hold, Reserve, Span, Spent, Standing},
    id::{RequestId, TenantId},
    limits::Rate,
    port::counter::{Bucket, Counters, Decision, Plan, Reserved, Scope, Settled, Take},
    time::Timestamp,
};

use crate::sample::now;

const MINUTE: u64 = 60_000;

fn acme() -> TenantId {
    "acme".parse().expect("valid")
}

fn id(number: usize) -> RequestId {
    format!("req_{number:026}").parse().expect("valid")
}

fn reserve(id: &RequestId, micro_usd: u64, limit: u64, spent: Option<Spent>) -> Reserve<'_> {
    Reserve {
        hold: Hold { id, micro_usd, ttl_ms: MINUTE, once: None },
        span: Span::month(now()),
        limit,
        spent,
    }
}

#[expect(clippy::unnecessary_wraps, reason = "what it is compared with is one")]
const fn spent(micro_usd: u64, version: u64) -> Option<Spent> {
    Some(Spent { micro_usd, version })
}

/// A request that the platform pays, decided with everything else.
async fn request(counters: &dyn Counters, at: Timestamp, quota: u64, reserve: Reserve<'_>) -> Decision {
    let tenant = acme();
    let bucket = |scope| Bucket { scope, name: "", rate: Rate::Unlimited };
    let take = Take {
        buckets: [Scope::Caller, Scope::Tenant, Scope::TenantProvider].map(bucket),
        daily_quota: quota,
        reserve: Some(reserve),
    };
    let epoch = counters.epoch(&tenant).await.expect("answers");
    let plan = Plan { tenant: &tenant, now: at, epoch, claim: None, take: Some(take) };
    counters.decide(&plan).await.expect("answers")
}

async fn settle(counters: &dyn Counters, id: &RequestId, sum: Option<Spent>, at: Timestamp) {
    let sums = sum.map(|sum| (Span::month(now()), sum));
    let settled = Settled { tenant: &acme(), id, spent: sums.as_slice(), once: None };
    counters.settle(&[settled], at).await.expect("answers");
}

async fn standing(counters: &dyn Counters, at: Timestamp) -> Standing {
    counters.standing(&acme(), Span::month(now()), at).await.expect("answers")
}

pub(crate) async fn what_is_spent_is_asked_for_before_anything_is_taken(counters: &dyn Counters) {
    let one = id(1);
    assert_eq!(request(counters, now(), 9, reserve(&one, 10, 100, None)).await, Decision::SpentUnknown);
    let tenant = acme();
    assert_eq!(counters.quota_used(&tenant, now().day()).await.expect("answers"), 0);
    let decision = request(counters, now(), 9, reserve(&one, 10, 100, spent(40, 7))).await;
    assert!(matches!(decision, Decision::Taken(room) if room.quota == 8), "{decision:?}");
    assert_eq!(standing(counters, now()).await, Standing { spent: spent(40, 7), held: 10 });
    // From now on it is known.
    let two = id(2);
    let reserved = counters.reserve(&tenant, &reserve(&two, 50, 100, None), now()).await.expect("answers");
    assert_eq!(reserved, Reserved::Held);
    let three = id(3);
    let reserved = counters.reserve(&tenant, &reserve(&three, 1, 100, None), now()).await.expect("answers");
    assert_eq!(reserved, Reserved::BudgetExceeded);
    // Another span is another sum.
    let total = Reserve { span: Span::TOTAL, ..reserve(&three, 1, 1000, None) };
    assert_eq!(counters.reserve(&tenant, &total, now()).await.expect("answers"), Reserved::SpentUnknown);
}

pub(crate) async fn requests_at_once_hold_no_more_than_there_is(counters: &dyn Counters) {
    let ids: Vec<RequestId> = (0..60).map(id).collect();
    let all = ids.iter().map(|id| request(counters, now(), 1000, reserve(id, 5, 100, spent(1, 1))));
    let decisions = futures_util::future::join_all(all).await;
    let taken = decisions.iter().filter(|decision| matches!(decision, Decision::Taken(_))).count();
    assert_eq!(taken, 19);
    assert_eq!(decisions.iter().filter(|&decision| *decision == Decision::BudgetExceeded).count(), 41);
    assert_eq!(counters.quota_used(&acme(), now().day()).await.expect("answers"), 19);
}

pub(crate) async fn a_refused_reservation_takes_nothing(counters: &dyn Counters) {
    let (one, two) = (id(1), id(2));
    let refused = request(counters, now(), 5, reserve(&one, 101, 100, spent(0, 1))).await;
    assert_eq!(refused, Decision::BudgetExceeded);
    assert_eq!(counters.quota_used(&acme(), now().day()).await.expect("answers"), 0);
    // And one that the quota refuses holds nothing.
    let refused = request(counters, now(), 0, reserve(&two, 10, 100, None)).await;
    assert_eq!(refused, Decision::QuotaExceeded);
    assert_eq!(standing(counters, now()).await, Standing { spent: spent(0, 1), held: 0 });
}

pub(crate) async fn sums_are_right_in_whatever_order_they_come(counters: &dyn Counters) {
    let ids = [id(1), id(2), id(3)];
    for one in &ids {
        request(counters, now(), 9, reserve(one, 10, 100, spent(0, 1))).await;
    }
    settle(counters, &ids[2], spent(9, 4), now()).await;
    settle(counters, &ids[0], spent(3, 2), now()).await;
    assert_eq!(standing(counters, now()).await, Standing { spent: spent(9, 4), held: 10 });
    settle(counters, &ids[1], spent(6, 3), now()).await;
    settle(counters, &ids[1], spent(6, 3), now()).await;
    assert_eq!(standing(counters, now()).await, Standing { spent: spent(9, 4), held: 0 });
    // A request that cost nothing ends its hold and says nothing about what is spent.
    request(counters, now(), 9, reserve(&ids[0], 10, 100, None)).await;
    settle(counters, &ids[0], None, now()).await;
    assert_eq!(standing(counters, now()).await, Standing { spent: spent(9, 4), held: 0 });
}

pub(crate) async fn a_hold_that_was_not_settled_makes_what_is_spent_unknown(counters: &dyn Counters) {
    let (one, two) = (id(1), id(2));
    request(counters, now(), 9, reserve(&one, 90, 100, spent(0, 1))).await;
    let later = now().plus_secs(59);
    assert_eq!(request(counters, later, 9, reserve(&two, 20, 100, None)).await, Decision::BudgetExceeded);
    let later = now().plus_secs(60);
    assert_eq!(standing(counters, later).await, Standing { spent: None, held: 0 });
    assert_eq!(request(counters, later, 9, reserve(&two, 20, 100, None)).await, Decision::SpentUnknown);
    let decision = request(counters, later, 9, reserve(&two, 20, 100, spent(80, 2))).await;
    assert!(matches!(decision, Decision::Taken(_)), "{decision:?}");
}

pub(crate) async fn a_renewed_hold_lives_on_and_a_lost_one_comes_back(counters: &dyn Counters) {
    let (one, two) = (id(1), id(2));
    request(counters, now(), 9, reserve(&one, 30, 100, spent(5, 1))).await;
    let tenant = acme();
    let hold = |id| Hold { id, micro_usd: 30, ttl_ms: MINUTE, once: None };
    let renewed = [(&tenant, hold(&one)), (&tenant, hold(&two))];
    counters.renew(&renewed, now().plus_secs(50)).await.expect("answers");
    let later = now().plus_secs(100);
    assert_eq!(standing(counters, later).await, Standing { spent: spent(5, 1), held: 60 });
    settle(counters, &one, spent(6, 2), later).await;
    assert_eq!(standing(counters, later).await, Standing { spent: spent(6, 2), held: 30 });
}

/// What the counters must be, in the plainest words.
#[derive(Default)]
struct Model {
    spent: Option<Spent>,
    holds: BTreeMap<usize, (u64, i64)>,
}

impl Model {
    fn expire(&mut self, now: i64) {
        let before = self.holds.len();
        self.holds.retain(|_, &mut (_, until)| until > now);
        if self.holds.len() < before {
            self.spent = None;
        }
    }

    fn learn(&mut self, spent: Spent) {
        if self.spent.is_none_or(|known| known.version < spent.version) {
            self.spent = Some(spent);
        }
    }

    fn held(&self) -> u64 {
        self.holds.values().map(|&(micro_usd, _)| micro_usd).sum()
    }

    fn reserve(&mut self, number: usize, reserve: &Reserve<'_>, now: i64) -> Reserved {
        self.expire(now);
        if let Some(spent) = reserve.spent {
            self.learn(spent);
        }
        let Some(spent) = self.spent else { return Reserved::SpentUnknown };
        if spent.micro_usd + self.held() + reserve.hold.micro_usd > reserve.limit {
            return Reserved::BudgetExceeded;
        }
        self.holds.insert(number, (reserve.hold.micro_usd, now + reserve.hold.ttl_ms as i64));
        Reserved::Held
    }
}

/// A random number below a bound: the same ones each time.
fn below(state: &mut u64, bound: u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state % bound
}

/// Two thousand random steps; the store's sum grows with what is settled, and is told late or not at all.
pub(crate) async fn all_of_it_follows_the_model(counters: &dyn Counters) {
    let mut random = 0x9e37_79b9_7f4a_7c15;
    let (mut model, mut store, mut at, mut running) = (Model::default(), Spent::default(), now(), Vec::new());
    let mut seen = [0; 3];
    for step in 0..2000 {
        at = Timestamp::from_millis(at.millis() + below(&mut random, 4000) as i64);
        // A request that is over does not begin again.
        let fresh = (0..250).find(|number| !running.contains(number)).expect("there is one");
        match below(&mut random, 10) {
            0..=5 => {
                let one = id(fresh);
                let known = (below(&mut random, 3) == 0).then_some(store);
                let reserve = reserve(&one, below(&mut random, 20), 300 + store.micro_usd / 2, known);
                let expected = model.reserve(fresh, &reserve, at.millis());
                let got = counters.reserve(&acme(), &reserve, at).await.expect("answers");
                assert_eq!(got, expected, "step {step}");
                seen[match expected {
                    Reserved::Held => 0,
                    Reserved::SpentUnknown => 1,
                    _ => 2,
                }] += 1;
                if got == Reserved::Held {
                    running.push(fresh);
                }
            }
            6..=8 if !running.is_empty() => {
                let number = running.swap_remove(below(&mut random, running.len() as u64) as usize);
                store.micro_usd += below(&mut random, 10);
                store.version += 1;
                // Sometimes the news is lost.
                if below(&mut random, 8) > 0 {
                    model.holds.remove(&number);
                    model.learn(store);
                    settle(counters, &id(number), Some(store), at).await;
                }
            }
            _ => {
                model.expire(at.millis());
                let expected = Standing { spent: model.spent, held: model.held() };
                assert_eq!(standing(counters, at).await, expected, "step {step}");
            }
        }
    }
    assert!(seen.iter().all(|&times| times > 50), "each answer came up: {seen:?}");
}
