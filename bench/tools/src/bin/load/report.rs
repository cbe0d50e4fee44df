//! What was seen.

use std::time::{Duration, Instant};

use bench_tools::account::{self, Machine};
use serde_json::{Map, Value, json};

/// Who used how much until a moment.
pub struct Books {
    at: Instant,
    /// Of each process; none of one that is gone: PostgreSQL has some that come and go.
    used: Vec<(String, Vec<Option<Duration>>)>,
    own: Duration,
    machine: Machine,
}

impl Books {
    pub fn now(accounts: &[(String, Vec<i32>)]) -> anyhow::Result<Self> {
        let of = |pids: &[i32]| pids.iter().map(|pid| account::process(*pid).ok()).collect();
        let used = accounts.iter().map(|(name, pids)| (name.clone(), of(pids))).collect();
        Ok(Self { at: Instant::now(), used, own: account::own()?, machine: Machine::now()? })
    }
}

#[derive(Default)]
pub struct Seen {
    pub latencies: Vec<Duration>,
    /// Until the first piece of a stream's body, and from there to the last.
    pub firsts: Vec<Duration>,
    pub spreads: Vec<Duration>,
    pub pieces: u64,
    pub bytes: u64,
    /// Streams whose events were not passed on as they came.
    pub gathered: u64,
    pub errors: u64,
    pub first_error: Option<String>,
    pub reconnects: u64,
}

impl Seen {
    pub fn wrong(&mut self, what: &anyhow::Error) {
        self.errors += 1;
        self.first_error.get_or_insert_with(|| format!("{what:#}"));
    }

    pub fn report(mut self, before: &Books, after: &Books, never_answered: usize) -> Value {
        let seconds = after.at.duration_since(before.at).as_secs_f64();
        let mut cpu = Map::new();
        let mut known = after.own.saturating_sub(before.own).as_secs_f64();
        for ((name, now), (_, then)) in after.used.iter().zip(&before.used) {
            let both = now
                .iter()
                .zip(then)
                .filter_map(|(now, then)| Some(now.as_ref()?.saturating_sub(*then.as_ref()?)));
            let used = both.sum::<Duration>().as_secs_f64();
            known += used;
            cpu.insert(name.clone(), json!(used));
        }
        let machine = after.machine.since(before.machine);
        let requests = self.latencies.len();
        json!({
            "seconds": seconds,
            "requests": requests,
            "per_second": requests as f64 / seconds,
            "errors": self.errors,
            "first_error": self.first_error,
            "reconnects": self.reconnects,
            "under_way_at_the_end": never_answered,
            "gathered": self.gathered,
            "bytes": self.bytes,
            "latency_us": spread_of(&mut self.latencies),
            "first_piece_us": spread_of(&mut self.firsts),
            "first_to_last_us": spread_of(&mut self.spreads),
            "pieces_per_answer": if requests > 0 { self.pieces as f64 / requests as f64 } else { 0.0 },
            "cpu_seconds": cpu,
            "load_cpu_seconds": after.own.saturating_sub(before.own).as_secs_f64(),
            "machine": {
                "busy": machine.busy,
                "stolen": machine.stolen,
                "interrupts": machine.interrupts,
                "others": (machine.busy - known).max(0.0),
            },
        })
    }
}

fn spread_of(times: &mut [Duration]) -> Value {
    if times.is_empty() {
        return Value::Null;
    }
    times.sort_unstable();
    let micros = |time: Duration| (time.as_secs_f64() * 1e7).round() / 10.0;
    let at =
        |part: f64| micros(times[((times.len() as f64 * part).ceil() as usize).clamp(1, times.len()) - 1]);
    json!({
        "p50": at(0.5), "p90": at(0.9), "p99": at(0.99), "p999": at(0.999), "max": at(1.0),
        "mean": micros(times.iter().sum::<Duration>() / times.len() as u32),
    })
}
