//! Twenty-four hours of requests, on a clock that the test holds: each decision is the one that a plain model makes.

mod model;

use std::collections::BTreeMap;

use keyferry_core::{
    budget::{Hold, Reserve, Span, Spent},
    id::{RequestId, TenantId},
    port::counter::{Bucket, Claim, Counters, Decision, Epoch, Plan, Scope, Settled, Take},
    tenant::BudgetPeriod,
    time::Timestamp,
};

use self::model::{Ask, DAY, Model, Money, RATES};

/// Half a day before midnight.
const NOON: i64 = DAY / 2;
const HOLD: i64 = 300_000;
const BEHIND: i64 = 2000;
const CALLERS: [&str; 3] = ["tok1", "tok2", "tok3"];
const PROVIDERS: [&str; 2] = ["openai", "anthropic"];

/// A random number below a bound: the same ones each time.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    fn millis(&mut self, bound: u64) -> i64 {
        self.below(bound) as i64
    }

    fn one_of(&mut self, many: u64) -> bool {
        self.below(many) == 0
    }
}

/// A request under way.
struct Running {
    number: usize,
    id: RequestId,
    began: i64,
    ends: i64,
    held: u64,
}

impl Running {
    fn hold(&self) -> Hold<'_> {
        Hold { id: &self.id, micro_usd: self.held, ttl_ms: HOLD as u64, once: None }
    }
}

/// A tenant with its model, and what the store would know of it.
struct Customer {
    tenant: TenantId,
    quota: u64,
    /// The platform pays up to this.
    budget: Option<(BudgetPeriod, u64)>,
    model: Model,
    store: BTreeMap<i64, Spent>,
    running: Vec<Running>,
    claims: Vec<(u64, i64)>,
    epoch: Epoch,
    moved: bool,
    /// Decisions of each kind, before midnight and after.
    seen: [BTreeMap<&'static str, usize>; 2],
}

impl Customer {
    async fn new(
        counters: &dyn Counters,
        name: &str,
        quota: u64,
        budget: Option<(BudgetPeriod, u64)>,
    ) -> Self {
        let tenant = name.parse().expect("valid");
        Self {
            epoch: counters.epoch(&tenant).await.expect("answers"),
            tenant,
            quota,
            budget,
            model: Model::default(),
            store: BTreeMap::new(),
            running: Vec::new(),
            claims: Vec::new(),
            moved: false,
            seen: [BTreeMap::new(), BTreeMap::new()],
        }
    }

    fn seen(&self, half: usize, kind: &str) -> usize {
        self.seen[half].get(kind).copied().unwrap_or_default()
    }
}

/// The months, by what the calendar says of them.
struct Calendar {
    midnight: i64,
    before: i64,
    after: i64,
}

impl Calendar {
    fn span(&self, period: BudgetPeriod, at: i64) -> i64 {
        match period {
            BudgetPeriod::Total => 0,
            BudgetPeriod::Month if at < self.midnight => self.before,
            BudgetPeriod::Month => self.after,
        }
    }
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn id(number: usize) -> RequestId {
    format!("req_{number:026}").parse().expect("valid")
}

const fn kind(decision: &Decision, ask: &Ask) -> &'static str {
    match decision {
        Decision::Taken(_) if ask.money.is_some() => "paid",
        Decision::Taken(_) => "taken",
        Decision::Stale(_) => "stale",
        Decision::Replayed => "replayed",
        Decision::Repeated(_) => "repeated",
        Decision::RateLimited { scope: Scope::Caller, .. } => "caller",
        Decision::RateLimited { scope: Scope::Tenant, .. } => "tenant",
        Decision::RateLimited { scope: Scope::TenantProvider, .. } => "provider",
        Decision::QuotaExceeded => "quota",
        Decision::SpentUnknown => "unknown",
        Decision::BudgetExceeded => "budget",
    }
}

/// The day under way.
struct Day<'a> {
    counters: &'a dyn Counters,
    calendar: Calendar,
    random: Random,
    /// The newest time that was asked with.
    newest: i64,
    requests: usize,
    claims: u64,
}

impl Day<'_> {
    /// The request that comes next. Its gateway's clock may be behind: often, where that brings back the day before.
    fn ask(&mut self, customer: &Customer) -> Ask {
        let random = &mut self.random;
        let is_new = (0..BEHIND).contains(&(self.newest - self.calendar.midnight));
        let behind =
            if random.one_of(if is_new { 2 } else { 20 }) { random.millis(BEHIND as u64) } else { 0 };
        let at = self.newest - behind;
        self.requests += 1;
        let claim = match random.below(8) {
            // What was used and has not ended yet.
            0 if !customer.claims.is_empty() => {
                Some(customer.claims[random.below(customer.claims.len() as u64) as usize])
            }
            0..=3 => {
                self.claims += 1;
                Some((self.claims, self.newest + random.millis(120_000)))
            }
            _ => None,
        };
        let money = customer.budget.filter(|_| !random.one_of(4)).map(|(period, limit)| Money {
            id: self.requests,
            micro_usd: 10 + random.below(30),
            ttl_ms: HOLD,
            span: self.calendar.span(period, at),
            limit,
            told: None,
        });
        let names = [random.below(3) as usize, 0, random.below(2) as usize];
        Ask { at, stale: customer.moved, claim, names, quota: customer.quota, money }
    }

    /// Asks the counters and the model.
    async fn decide(&self, customer: &mut Customer, ask: &Ask) -> Decision {
        let [caller, _, provider] = ask.names;
        let bucket = |scope, name, rate| Bucket { scope, name, rate };
        let hold_id = id(self.requests);
        let reserve = |money: &Money| Reserve {
            hold: Hold { id: &hold_id, micro_usd: money.micro_usd, ttl_ms: money.ttl_ms as u64, once: None },
            span: Span::of(customer.budget.expect("a budget").0, at(ask.at)),
            limit: money.limit,
            spent: money.told,
        };
        let take = Take {
            buckets: [
                bucket(Scope::Caller, CALLERS[caller], RATES[0]),
                bucket(Scope::Tenant, "", RATES[1]),
                bucket(Scope::TenantProvider, PROVIDERS[provider], RATES[2]),
            ],
            daily_quota: ask.quota,
            reserve: ask.money.as_ref().map(reserve),
        };
        let claim = ask.claim.map(|(number, until)| {
            let mut key = [7; 32];
            key[..8].copy_from_slice(&number.to_be_bytes());
            Claim { key, until: at(until) }
        });
        let (tenant, epoch) = (&customer.tenant, customer.epoch);
        let plan = Plan { tenant, now: at(ask.at), epoch, claim, take: Some(take) };
        let got = self.counters.decide(&plan).await.expect("answers");
        let expected = match customer.model.decide(ask) {
            Some(decision) => decision,
            None => Decision::Stale(self.counters.epoch(tenant).await.expect("answers")),
        };
        assert_eq!(got, expected, "at {}: {ask:?} of {tenant}", at(ask.at).to_rfc3339());
        *customer.seen[usize::from(self.newest >= self.calendar.midnight)]
            .entry(kind(&got, ask))
            .or_default() += 1;
        got
    }

    /// Asks as a gateway does: again with what was missing.
    async fn request(&mut self, customer: &mut Customer) {
        let mut ask = self.ask(customer);
        let decision = loop {
            match self.decide(customer, &ask).await {
                Decision::Stale(epoch) => {
                    (customer.epoch, customer.moved, ask.stale) = (epoch, false, false);
                }
                Decision::SpentUnknown => {
                    let money = ask.money.as_mut().expect("money was asked for");
                    money.told = Some(customer.store.get(&money.span).copied().unwrap_or_default());
                }
                decision => break decision,
            }
        };
        if let Some(claim) = ask.claim
            && decision != Decision::Replayed
        {
            customer.claims.push(claim);
        }
        if let (Decision::Taken(_), Some(money)) = (decision, ask.money) {
            // Few outlive their holds.
            let longest = if self.random.one_of(20) { 2 * HOLD } else { HOLD / 2 };
            let ends = ask.at + self.random.millis(longest as u64);
            let id = id(money.id);
            customer.running.push(Running {
                number: money.id,
                id,
                began: ask.at,
                ends,
                held: money.micro_usd,
            });
        }
    }

    /// Ends what has come to its end. The store knows all of it; the news may be lost on the way to the counters.
    async fn settle(&mut self, customer: &mut Customer) {
        let now = self.newest;
        let over = customer.running.extract_if(.., |running| running.ends <= now);
        for Running { number, id, began, .. } in over {
            let cost = self.random.below(31);
            let mut news = Vec::new();
            for period in [BudgetPeriod::Month, BudgetPeriod::Total].into_iter().filter(|_| cost > 0) {
                let span = self.calendar.span(period, began);
                let sum = customer.store.entry(span).or_default();
                (sum.micro_usd, sum.version) = (sum.micro_usd + cost, sum.version + 1);
                news.push((span, *sum));
            }
            if self.random.one_of(12) {
                continue;
            }
            customer.model.settle(number, &news);
            let news: Vec<_> = news.iter().map(|&(span, sum)| (Span::from_number(span), sum)).collect();
            let settled = Settled { tenant: &customer.tenant, id: &id, spent: &news, once: None };
            self.counters.settle(&[settled], at(now)).await.expect("answers");
        }
        customer.claims.retain(|&(_, until)| until >= now);
    }

    /// Now and then: holds are renewed, something of the tenant's is changed, somebody looks.
    async fn else_happens(&mut self, customer: &mut Customer) {
        let now = self.newest;
        match self.random.below(100) {
            0 => {
                self.counters.move_epoch(&customer.tenant).await.expect("answers");
                customer.moved = true;
            }
            1 => {
                let holds: Vec<_> =
                    customer.running.iter().map(|one| (&customer.tenant, one.hold())).collect();
                self.counters.renew(&holds, at(now)).await.expect("answers");
                for one in &customer.running {
                    customer.model.hold(one.number, one.held, now + HOLD);
                }
            }
            2..=5 => {
                let period = customer.budget.map_or(BudgetPeriod::Total, |(period, _)| period);
                let span = self.calendar.span(period, now);
                let standing =
                    self.counters.standing(&customer.tenant, Span::from_number(span), at(now)).await;
                assert_eq!(standing.expect("answers"), customer.model.standing(span, now));
                let day = now.div_euclid(DAY);
                let used = self.counters.quota_used(&customer.tenant, day).await.expect("answers");
                assert_eq!(used, customer.model.quota_used(day), "at {}", at(now).to_rfc3339());
            }
            _ => {}
        }
    }

    /// Mostly at once, sometimes after a while; and always in the last millisecond of a day and the first of the next.
    fn step(&mut self) {
        let step = if self.random.one_of(4) { self.random.millis(12_000) } else { self.random.millis(2000) };
        let next = self.newest + step;
        let last = self.calendar.midnight - 1;
        self.newest = match self.newest {
            before if before < last && next >= last => last,
            before if before == last => self.calendar.midnight,
            _ => next,
        };
    }
}

/// From noon to noon over a midnight; answers the three tenants as they are then.
async fn noon_to_noon(counters: &dyn Counters, midnight: &str, months: [i64; 2]) -> [Customer; 3] {
    let midnight = Timestamp::parse(midnight).expect("valid").millis();
    let mut customers = [
        Customer::new(counters, "monthly", 5000, Some((BudgetPeriod::Month, 6000))).await,
        Customer::new(counters, "total", 700, Some((BudgetPeriod::Total, 12_000))).await,
        Customer::new(counters, "own", 900, None).await,
    ];
    let calendar = Calendar { midnight, before: months[0], after: months[1] };
    let random = Random(0x9e37_79b9_7f4a_7c15);
    let newest = midnight - NOON;
    let mut day = Day { counters, calendar, random, newest, requests: 0, claims: 0 };
    while day.newest < midnight + NOON {
        day.step();
        // At these two moments all of them ask, often enough to see.
        let times = if (midnight - 1..=midnight).contains(&day.newest) { 60 } else { 1 };
        for _ in 0..times {
            let customer = &mut customers[day.random.below(3) as usize];
            day.settle(customer).await;
            day.request(customer).await;
            day.else_happens(customer).await;
        }
    }
    assert!(day.requests > 30_000, "{}", day.requests);
    for kind in
        ["taken", "paid", "stale", "replayed", "caller", "tenant", "provider", "quota", "unknown", "budget"]
    {
        let times: usize = customers.iter().map(|one| one.seen(0, kind) + one.seen(1, kind)).sum();
        assert!(times > 50, "{kind}: {times}");
    }
    let [_, total, own] = &customers;
    // The whole quota of one day, and of the next.
    assert_eq!([own.seen(0, "taken"), own.seen(1, "taken")], [900, 900]);
    assert_eq!(total.seen(0, "taken") + total.seen(0, "paid"), 700);
    assert!(total.seen(0, "budget") == 0 && total.seen(1, "budget") > 50);
    customers
}

pub(crate) async fn each_decision_of_a_day_is_right(counters: &dyn Counters) {
    let march = 2026 * 12 + 3;
    let [monthly, ..] = noon_to_noon(counters, "2026-03-15T00:00:00Z", [march, march]).await;
    assert!(monthly.seen(0, "paid") > 300 && monthly.seen(0, "budget") > 1000);
    // What is used up stays so, and own keys do not need it.
    assert_eq!(monthly.seen(1, "paid"), 0);
    assert!(monthly.seen(1, "taken") > 1000);
}

pub(crate) async fn each_decision_of_a_months_last_day_is_right(counters: &dyn Counters) {
    let november = 2026 * 12 + 11;
    let [monthly, ..] = noon_to_noon(counters, "2026-12-01T00:00:00Z", [november, november + 1]).await;
    // There is as much again.
    assert!(monthly.seen(0, "budget") > 1000 && monthly.seen(1, "paid") > 300);
}
