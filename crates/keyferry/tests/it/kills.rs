//! `kill -9` at any moment, under load: what was answered is settled once, and nothing is lost or held for ever.

mod traffic;

use std::{
    collections::{HashMap, HashSet},
    env,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::{task::JoinHandle, time::sleep};

use self::traffic::{Asked, Asker, Payer, Traffic, Way, number_of, usage};
use crate::harness::{Answer, Gateway, Options, Provider, Seen, Shared, a_key, until};

const CLIENTS: u64 = 8;
/// Kills in a usual run; `KEYFERRY_KILLS` asks for others.
const KILLS: u64 = 40;
const SEED: u64 = 0x2545_f491_4f6c_dd1d;

/// Random numbers, the same ones for the same seed.
#[derive(Clone)]
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// Each request has its own number of tokens, so a row tells which one it is of.
fn input_tokens(number: u64) -> u64 {
    1000 + number
}

fn output_tokens(number: u64) -> u64 {
    1 + number % 97
}

/// At 2 and 10 micro-USD a token.
fn cost(number: u64) -> u64 {
    2 * input_tokens(number) + 10 * output_tokens(number)
}

/// A provider that takes a moment, and reports what belongs to the number of the request.
fn answer(seen: &Seen) -> Answer {
    let number = number_of(seen);
    let pause = Duration::from_millis(number % 13);
    let body = seen.json();
    if body["stream"] != true {
        let body = json!({"id": "c", "object": "chat.completion", "model": "m", "choices": [], "usage": usage(number)});
        return Answer::raw("").pause(pause).then_answer(Answer::json(200, &body));
    }
    let piece = json!({"id": "c", "object": "chat.completion.chunk", "model": "m",
        "choices": [{"index": 0, "delta": {"content": "a few words "}}]});
    let event = |value: &Value| format!("data: {value}\n\n");
    let mut answer = Answer::events();
    for _ in 0..3 {
        answer = answer.chunk(event(&piece)).pause(pause);
    }
    if body["stream_options"]["include_usage"] == true {
        let last = json!({"id": "c", "object": "chat.completion.chunk", "model": "m", "choices": [], "usage": usage(number)});
        answer = answer.chunk(event(&last));
    }
    answer.chunk("data: [DONE]\n\n").end()
}

/// Gateways, and what they are asked.
struct Stage {
    gateways: Vec<Gateway>,
    provider: Provider,
    traffic: Arc<Traffic>,
    clients: Vec<JoinHandle<()>>,
    /// The names that the operator gave to the first tenant, each of which was acknowledged.
    changes: u64,
}

const TENANTS: [(&str, bool); 4] = [("acme", true), ("bolt", true), ("coil", false), ("dune", false)];

fn options(provider: &Provider) -> Options {
    let key = a_key("sk-proj-");
    Options::to(provider).quiet().yaml(&format!(
        "providers: {{openai: {{platform_key: {key}}}}}\n\
         prices: {{openai/m: {{input: \"2\", output: \"10\"}}}}\n\
         budgets: {{hold_ttl: 10s}}\n\
         byok: {{daily_quota: 10000000}}\n\
         rate_limits: {{caller: unlimited, tenant: unlimited, tenant_provider: unlimited}}"
    ))
}

impl Stage {
    /// Tenants with and without a key of their own, and clients that begin to ask.
    async fn set(gateways: Vec<Gateway>, provider: Provider, random: &mut Random) -> Self {
        let mut tenants = Vec::new();
        for (id, paid) in TENANTS {
            let tenant = json!({"id": id, "byok_enabled": true, "fallback": {"missing": true},
                "budget_micro_usd": 1_000_000_000_000_u64});
            gateways[0].operator("POST", "/tenants", &tenant).await.expect(201);
            if !paid {
                gateways[0].store(id, "openai", &a_key("sk-proj-")).await;
            }
            let token = gateways[0].token(id, &json!({"role": "caller"})).await;
            tenants.push(Asker { token, paid });
        }
        let ports = gateways.iter().map(Gateway::port).collect();
        let traffic = Traffic::new(ports, tenants, a_key("sk-proj-"));
        let client = |_| {
            let random = Random(random.below(u64::MAX) | 1);
            tokio::spawn(Arc::clone(&traffic).client(random))
        };
        let clients = (0..CLIENTS).map(client).collect();
        Self { gateways, provider, traffic, clients, changes: 0 }
    }

    /// Kills and restarts at random moments: one of the gateways, or now and then all at once.
    async fn kill(&mut self, kills: u64, random: &mut Random) {
        let mut killed = 0;
        while killed < kills {
            self.change(random).await;
            sleep(Duration::from_micros(random.below(150_000))).await;
            let all = random.below(8) == 0;
            let one = random.below(self.gateways.len() as u64) as usize;
            let chosen = |at: &usize| all || *at == one;
            for at in (0..self.gateways.len()).filter(chosen) {
                self.gateways[at].kill();
                killed += 1;
            }
            for at in (0..self.gateways.len()).filter(chosen) {
                self.gateways[at].restart().await;
                self.traffic.ports[at].store(self.gateways[at].port(), Ordering::SeqCst);
            }
        }
    }

    /// Something for the audit log.
    async fn change(&mut self, random: &mut Random) {
        let name = json!({"name": format!("name {}", self.changes)});
        let at = random.below(self.gateways.len() as u64) as usize;
        self.gateways[at].operator("PATCH", "/tenants/acme", &name).await.expect(200);
        self.changes += 1;
    }

    /// Lets clients finish what they have begun.
    async fn end(&mut self) -> Vec<Asked> {
        self.traffic.end();
        for client in join_all(self.clients.drain(..)).await {
            client.expect("a client goes on whatever happens");
        }
        std::mem::take(&mut *self.traffic.asked())
    }

    async fn get(&self, path: &str) -> Value {
        self.gateways[0].operator("GET", path, &Value::Null).await.expect(200).json()
    }

    /// All pages of a list.
    async fn list(&self, path: &str) -> Vec<Value> {
        let (mut rows, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = self.get(&format!("{path}?limit=1000{cursor}")).await;
            rows.extend(page["data"].as_array().cloned().expect("rows"));
            let Some(next) = page["next_cursor"].as_str() else { return rows };
            cursor = format!("&cursor={next}");
        }
    }
}

/// Rows of all tenants by their request; each has one.
async fn rows(stage: &Stage) -> HashMap<String, Value> {
    let mut rows = HashMap::new();
    for (tenant, _) in TENANTS {
        for mut row in stage.list(&format!("/tenants/{tenant}/usage/requests")).await {
            row["tenant"] = json!(tenant);
            let id = row["request_id"].as_str().expect("an id").to_owned();
            assert!(rows.insert(id.clone(), row).is_none(), "{id} has two rows");
        }
    }
    rows
}

/// What came whole to a client has its row, with what the provider reported.
fn answered_is_settled(asked: &[Asked], rows: &HashMap<String, Value>) -> usize {
    let whole = asked.iter().filter(|asked| asked.whole && asked.way != Way::Left);
    whole
        .map(|asked| {
            assert_eq!(asked.status, 200, "{asked:?}");
            assert!(asked.way == Way::Whole || asked.body.ends_with("data: [DONE]\n\n"), "{asked:?}");
            let row = rows.get(&asked.request_id).unwrap_or_else(|| panic!("no row for {asked:?}"));
            let (accounting, credential, cost) = match asked.payer {
                Payer::Platform => ("PLATFORM_BUDGET", "platform", cost(asked.number)),
                Payer::Held => ("BYOK_NO_BUDGET", "held", 0),
                Payer::Carried => ("BYOK_NO_BUDGET", "carried", 0),
            };
            for (field, value) in [
                ("tenant", json!(TENANTS[asked.tenant].0)),
                ("input_tokens", json!(input_tokens(asked.number))),
                ("output_tokens", json!(output_tokens(asked.number))),
                ("cost_micro_usd", json!(cost)),
                ("accounting", json!(accounting)),
                ("credential", json!(credential)),
                ("usage_source", json!("reported")),
                ("outcome", json!("ok")),
            ] {
                assert_eq!(row[field], value, "{field} of {asked:?}: {row}");
            }
        })
        .count()
}

/// What a client left has its row too, unless the gateway was killed meanwhile. Rows of all are there soon: what one gateway has in its journal
/// another one does not wait for.
async fn what_was_left_has_a_row(stage: &Stage, asked: &[Asked]) -> usize {
    let alive: HashSet<u16> = stage.gateways.iter().map(Gateway::port).collect();
    let left: Vec<&Asked> = asked
        .iter()
        .filter(|asked| asked.way == Way::Left && asked.status == 200 && alive.contains(&asked.port))
        .collect();
    until("the rows of what was left", || async {
        let rows = rows(stage).await;
        let whole = asked.iter().filter(|asked| asked.whole && asked.way != Way::Left);
        left.iter().copied().chain(whole).all(|asked| rows.contains_key(&asked.request_id)).then_some(())
    })
    .await;
    left.len()
}

/// No report of the provider's is counted twice, and none is that it did not give.
fn reports_are_the_providers(begun: u64, rows: &HashMap<String, Value>) {
    let mut numbers = HashSet::new();
    for row in rows.values().filter(|row| row["usage_source"] == "reported") {
        let number = row["input_tokens"].as_u64().expect("a number") - input_tokens(0);
        assert!(number < begun && numbers.insert(number), "{row}");
        assert_eq!(row["output_tokens"], output_tokens(number), "{row}");
        let paid = row["accounting"] == "PLATFORM_BUDGET";
        assert_eq!(row["cost_micro_usd"], if paid { cost(number) } else { 0 }, "{row}");
    }
}

/// Sums are those of the rows, and what was held by the dead is free again after its time.
async fn sums_are_right(stage: &Stage, rows: &HashMap<String, Value>) {
    for (tenant, paid) in TENANTS {
        let of_tenant = rows.values().filter(|row| row["tenant"] == tenant);
        let sum: u64 = of_tenant.map(|row| row["cost_micro_usd"].as_u64().expect("a number")).sum();
        assert_eq!(sum > 0, paid, "{tenant}");
        let total = stage.get(&format!("/tenants/{tenant}/usage")).await;
        assert_eq!(total["total"]["cost_micro_usd"], sum, "{tenant}");
        let path = format!("/tenants/{tenant}/budget");
        let budget = until("nothing is held", || async {
            let budget = stage.get(&path).await;
            (budget["held_micro_usd"] == 0).then_some(budget)
        })
        .await;
        assert_eq!(budget["spent_micro_usd"], sum, "{tenant}");
    }
}

/// Every change that was acknowledged is in the log, and the log is whole.
async fn the_log_is_whole(stage: &Stage) {
    let rows = stage.list("/tenants/acme/audit").await;
    let changes = rows.iter().filter(|row| row["action"] == "tenant.updated").count();
    assert_eq!(changes as u64, stage.changes);
    let mut verify = stage.gateways[0].command();
    verify.args(["audit", "verify", "--config"]).arg(stage.gateways[0].config());
    let output = verify.output().expect("the program runs");
    assert!(output.status.success(), "{output:?}");
}

async fn survives(gateways: Vec<Gateway>, provider: Provider, kills: u64) {
    eprintln!("seed {SEED:#x}, {kills} kills");
    let mut random = Random(SEED);
    let mut stage = Stage::set(gateways, provider, &mut random).await;
    let begun = Instant::now();
    stage.kill(kills, &mut random).await;
    // The last lives end by themselves.
    sleep(Duration::from_secs(1)).await;
    let asked = stage.end().await;
    let killed = begun.elapsed();
    let left = what_was_left_has_a_row(&stage, &asked).await;
    let rows = rows(&stage).await;
    let whole = answered_is_settled(&asked, &rows);
    reports_are_the_providers(stage.traffic.begun(), &rows);
    sums_are_right(&stage, &rows).await;
    the_log_is_whole(&stage).await;
    let (begun, heads, at_provider) = (stage.traffic.begun(), asked.len(), stage.provider.count());
    eprintln!(
        "{killed:?}: {begun} requests begun, {at_provider} at the provider, {heads} answered, {whole} whole, \
         {left} left at the last lives, {} rows, {} changes",
        rows.len(),
        stage.changes
    );
    assert!(whole as u64 > 10 * kills && left > 0, "there was a load");
    assert!(heads > whole && begun > heads as u64, "and some were hit by a kill");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_gateways_that_are_killed_lose_nothing() {
    let Some(shared) = Shared::open("two_gateways_that_are_killed_lose_nothing").await else { return };
    let provider = Provider::start(answer).await;
    let kills = env::var("KEYFERRY_KILLS").map_or(KILLS, |kills| kills.parse().expect("a number"));
    let options = shared.options(options(&provider));
    let gateways = vec![Gateway::start(options.clone()).await, Gateway::start(options).await];
    survives(gateways, provider, kills).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_gateways_with_journals_that_are_killed_lose_nothing() {
    let test = "two_gateways_with_journals_that_are_killed_lose_nothing";
    let Some(shared) = Shared::open(test).await else { return };
    let provider = Provider::start(answer).await;
    let options = shared.options_with_journal(options(&provider));
    let gateways = vec![Gateway::start(options.clone()).await, Gateway::start(options).await];
    survives(gateways, provider, KILLS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_gateway_with_counters_in_memory_that_is_killed_loses_nothing() {
    let provider = Provider::start(answer).await;
    let gateway = Gateway::start(options(&provider)).await;
    survives(vec![gateway], provider, KILLS).await;
}
