//! Memory on bad days: what a gateway takes does not grow with what it is asked while a part of it is away, or while a
//! provider drips.
//!
//! Each request brings a prompt of [`PROMPT`] bytes. A gateway that kept as much of each one as that would pass [`BOUND`]
//! more than twice over: so often it is asked. What it may keep is the rows that wait for their store, and what requests
//! under way need, of which there are as many before as meanwhile.

use std::{
    fs,
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

use super::{Scene, timed};
use crate::harness::{Gateway, Shared};

/// At each gateway, and how long one waits between two requests: other tests run beside this one.
const CLIENTS: usize = 100;
const PAUSE: Duration = Duration::from_millis(400);
const PROMPT: u64 = 32 << 10;
/// So much more may a gateway take meanwhile and afterwards. Seen was less than 5 MiB: the heap of many threads does not
/// stand still.
const BOUND: u64 = 8 << 20;
/// Until what requests under way need is there, and the heap has its form.
const WARM: Duration = Duration::from_secs(5);
const AWAY: Duration = Duration::from_secs(10);
/// Until as many were asked as it takes to tell: a busy machine may need longer.
const PATIENCE: Duration = Duration::from_secs(60);
const AFTER: Duration = Duration::from_secs(4);

/// What a process takes, in bytes: now, and at most so far.
#[derive(Clone, Copy)]
struct Taken {
    now: u64,
    most: u64,
}

impl Taken {
    fn by(gateway: &Gateway) -> Self {
        let status = fs::read_to_string(format!("/proc/{}/status", gateway.pid())).expect("it runs");
        let kib = |name: &str| -> u64 {
            let line =
                status.lines().find_map(|line| line.strip_prefix(name)).expect("a line of the kernel's");
            line.trim().trim_end_matches(" kB").parse().expect("a number")
        };
        Self { now: kib("VmRSS:") << 10, most: kib("VmHWM:") << 10 }
    }
}

/// With one digit behind the point.
fn mib(bytes: u64) -> String {
    let tenths = (bytes * 10) >> 20;
    format!("{}.{}", tenths / 10, tenths % 10)
}

/// Clients that ask again and again, of a tenant with a key of its own.
struct Crowd {
    stop: Arc<AtomicBool>,
    asked: [Arc<AtomicUsize>; 2],
    clients: JoinSet<()>,
}

impl Crowd {
    fn begin(scene: &Scene, body: &Value) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let asked: [Arc<AtomicUsize>; 2] = Default::default();
        let mut clients = JoinSet::new();
        for (gateway, asked) in scene.gateways.iter().zip(&asked) {
            for number in 0..CLIENTS {
                let (stop, asked) = (Arc::clone(&stop), Arc::clone(asked));
                let (url, token, mut body) = (gateway.url(), scene.own.caller_token.clone(), body.clone());
                body["stream"] = json!(number.is_multiple_of(2));
                clients.spawn(async move {
                    while !stop.load(Ordering::Relaxed) {
                        let (reply, _) = timed(&url, &token, &body).await;
                        let status = reply.status();
                        assert!(reply.whole && matches!(status, 200 | 503), "{status} {}", reply.text());
                        asked.fetch_add(1, Ordering::Relaxed);
                        sleep(PAUSE).await;
                    }
                });
            }
        }
        Self { stop, asked, clients }
    }

    fn asked(&self) -> [u64; 2] {
        self.asked.each_ref().map(|asked| asked.load(Ordering::Relaxed) as u64)
    }

    /// Waits until each gateway was asked so often.
    async fn has_asked(&self, wanted: [u64; 2]) {
        let begun = Instant::now();
        while self.asked().iter().zip(wanted).any(|(&asked, wanted)| asked < wanted) {
            assert!(begun.elapsed() < PATIENCE, "too few to tell: {:?} of {wanted:?}", self.asked());
            sleep(PAUSE).await;
        }
    }

    async fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.clients.join_all().await;
    }
}

fn long_chat() -> Value {
    let prompt = "x".repeat(usize::try_from(PROMPT).expect("short"));
    json!({"model": "gpt-4.1-mini", "max_tokens": 100, "messages": [{"role": "user", "content": prompt}]})
}

async fn takes_no_more(
    what: &str,
    scene: &mut Scene,
    body: Value,
    go: impl AsyncFnOnce(&mut Scene),
    come: impl AsyncFnOnce(&mut Scene),
) {
    let crowd = Crowd::begin(scene, &body);
    sleep(WARM).await;
    let (before, asked_before) = (scene.gateways.each_ref().map(Taken::by), crowd.asked());
    go(scene).await;
    sleep(AWAY).await;
    crowd.has_asked(asked_before.map(|asked| asked + 2 * BOUND / PROMPT + 1)).await;
    let (during, asked) = (scene.gateways.each_ref().map(Taken::by), crowd.asked());
    come(scene).await;
    sleep(AFTER).await;
    crowd.end().await;
    let after = scene.gateways.each_ref().map(Taken::by);
    for gateway in 0..2 {
        let asked = asked[gateway] - asked_before[gateway];
        let (before, during, after) = (before[gateway], during[gateway], after[gateway]);
        let shown = format!(
            "{what}: {} MiB before (at most {}), {} ({}) after {asked} requests, {} ({}) at the end",
            mib(before.now),
            mib(before.most),
            mib(during.now),
            mib(during.most),
            mib(after.now),
            mib(after.most)
        );
        let _ = writeln!(std::io::stderr(), "{shown}");
        assert!(during.now < before.now + BOUND && after.now < before.now + BOUND, "{shown}");
        assert!(after.most < before.most + BOUND, "{shown}");
    }
    scene.nobody_panicked();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_does_not_grow_while_redis_stands_still() {
    let Some(shared) = Shared::open("memory_does_not_grow_while_redis_stands_still").await else { return };
    let mut scene = Scene::on(shared).await;
    let (go, come) = (
        async |scene: &mut Scene| scene.shared.redis.pause(),
        async |scene: &mut Scene| scene.shared.redis.resume(),
    );
    takes_no_more("Redis stands still", &mut scene, long_chat(), go, come).await;
    scene.has_all_rows().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_does_not_grow_while_postgres_is_stopped() {
    let Some(shared) = Shared::alone("memory_does_not_grow_while_postgres_is_stopped", &[]).await else {
        return;
    };
    let mut scene = Scene::on(shared).await;
    let stop = async |scene: &mut Scene| scene.shared.postgres.as_mut().expect("one of its own").stop();
    let start =
        async |scene: &mut Scene| scene.shared.postgres.as_mut().expect("one of its own").start().await;
    takes_no_more("PostgreSQL is stopped", &mut scene, long_chat(), stop, start).await;
    scene.has_all_rows().await;
}

/// It drips from the beginning, so that as many requests are under way before as meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_does_not_grow_while_a_provider_drips() {
    let Some(shared) = Shared::open("memory_does_not_grow_while_a_provider_drips").await else { return };
    let mut scene = Scene::on(shared).await;
    let mut body = long_chat();
    body["user"] = json!("drips");
    takes_no_more("a provider drips", &mut scene, body, async |_| {}, async |_| {}).await;
    scene.has_all_rows().await;
}
