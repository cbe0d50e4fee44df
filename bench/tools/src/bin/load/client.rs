//! The loop: connections that are ready are read, looked at, and asked again.

use std::{
    io,
    time::{Duration, Instant},
};

use anyhow::{Context, anyhow};
use bench_tools::script::FIRST_SEED;
use mio::{Events, Poll, Token};
use serde_json::Value;

use crate::{
    pace::Pace,
    plan::Plan,
    report::{Books, Seen},
    slot::{Read, Slot},
};

const TIMER: Token = Token(usize::MAX);
/// How much is read at once.
const ROOM: usize = 256 * 1024;
/// After so many wrong answers there is nothing left to measure.
const PATIENCE: u64 = 1000;

pub struct Client {
    plan: Plan,
    poll: Poll,
    slots: Vec<Slot>,
    /// Connections without a request, where requests come when they are due.
    idle: Vec<usize>,
    pace: Option<Pace>,
    room: Vec<u8>,
    own: Vec<u8>,
    seed: u32,
    asked: u64,
    seen: Seen,
    measuring: bool,
    begun: Instant,
}

impl Client {
    pub fn new(plan: Plan) -> anyhow::Result<Self> {
        let poll = Poll::new()?;
        let pace = plan.rate.map(|rate| Pace::new(rate, poll.registry(), TIMER)).transpose()?;
        Ok(Self {
            poll,
            slots: Vec::with_capacity(plan.connections),
            idle: Vec::new(),
            pace,
            room: vec![0; ROOM],
            own: Vec::with_capacity(plan.expected.length()),
            seed: FIRST_SEED,
            asked: 0,
            seen: Seen::default(),
            measuring: false,
            begun: Instant::now(),
            plan,
        })
    }

    pub fn run(mut self) -> anyhow::Result<Value> {
        self.begun = Instant::now();
        self.open()?;
        let mut events = Events::with_capacity(1024);
        let warm = self.begun + self.plan.warm;
        while self.plan.count.is_none() && Instant::now() < warm {
            self.turn(&mut events, warm)?;
        }
        let wrong_while_warm = (self.seen.errors, self.seen.first_error.take());
        self.seen = Seen { errors: wrong_while_warm.0, first_error: wrong_while_warm.1, ..Seen::default() };
        let before = Books::now(&self.plan.accounts)?;
        self.measuring = true;
        let end = Instant::now() + self.plan.window;
        while !self.ends(end) {
            self.turn(&mut events, end)?;
        }
        let after = Books::now(&self.plan.accounts)?;
        let under_way = self.slots.iter().filter(|slot| slot.asked.is_some()).count();
        Ok(self.seen.report(&before, &after, under_way))
    }

    /// Opens as many connections as there should be by now.
    fn open(&mut self) -> anyhow::Result<()> {
        let by_now = match self.plan.ramp {
            Some(ramp) => (self.begun.elapsed().as_secs_f64() * ramp) as usize,
            None => usize::MAX,
        };
        while self.slots.len() < self.plan.connections.min(by_now) {
            let slot = Slot::open(self.plan.to, Token(self.slots.len()), self.poll.registry())?;
            self.slots.push(slot);
        }
        Ok(())
    }

    fn ends(&self, end: Instant) -> bool {
        if self.seen.errors > PATIENCE {
            return true;
        }
        match self.plan.count {
            Some(count) => self.seen.latencies.len() as u64 + self.seen.errors >= count,
            None => Instant::now() >= end,
        }
    }

    fn turn(&mut self, events: &mut Events, until: Instant) -> anyhow::Result<()> {
        if let Some(pace) = &mut self.pace {
            pace.advance()?;
            while let Some(index) = self.idle.pop() {
                let Some(due) = self.pace.as_mut().and_then(|pace| pace.backlog.pop_front()) else {
                    self.idle.push(index);
                    break;
                };
                self.ask(index, due)?;
            }
        }
        let mut timeout = until.saturating_duration_since(Instant::now());
        if self.plan.count.is_some() {
            timeout = Duration::from_secs(5);
        }
        if self.slots.len() < self.plan.connections {
            self.open()?;
            timeout = Duration::from_millis(1);
        }
        match self.poll.poll(events, Some(timeout)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            polled => polled?,
        }
        for event in &*events {
            if event.token() == TIMER {
                continue;
            }
            let index = event.token().0;
            if !self.slots[index].connected && event.is_writable() {
                self.slots[index].connect().context("connecting")?;
                self.next(index)?;
            } else if event.is_writable() && self.slots[index].write().is_err() {
                self.lost(index, &anyhow!("the connection broke while a request was written"))?;
                continue;
            }
            // What is still said of a connection that was opened anew is not about the new one.
            let connected = self.slots[index].connected;
            if connected && (event.is_readable() || event.is_read_closed()) {
                self.read(index, event.is_read_closed())?;
            }
        }
        Ok(())
    }

    /// The connection can take a request.
    fn next(&mut self, index: usize) -> anyhow::Result<()> {
        if self.plan.count.is_some_and(|count| self.asked >= count) {
            return Ok(());
        }
        if self.pace.is_some() {
            self.idle.push(index);
            return Ok(());
        }
        self.ask(index, Instant::now())
    }

    fn ask(&mut self, index: usize, at: Instant) -> anyhow::Result<()> {
        self.seed += 1;
        self.asked += 1;
        self.plan.request.write(self.seed, &mut self.slots[index].output)?;
        if self.slots[index].begin(self.seed, at).is_err() {
            // The other side ended the connection between two requests, which it may.
            self.reopen(index)?;
        }
        Ok(())
    }

    fn read(&mut self, index: usize, closed: bool) -> anyhow::Result<()> {
        match self.slots[index].read(&mut self.room, closed) {
            Ok(Read::More) => Ok(()),
            Ok(Read::Whole) => {
                self.look(index);
                if self.slots[index].answer.closes { self.reopen(index) } else { self.next(index) }
            }
            Ok(Read::Closed) if self.slots[index].asked.is_none() => self.reopen(index),
            Ok(Read::Closed) => self.lost(index, &anyhow!("the connection ended within an answer")),
            Err(error) => self.lost(index, &error),
        }
    }

    /// Looks at an answer and writes down what was seen.
    fn look(&mut self, index: usize) {
        let now = Instant::now();
        let slot = &mut self.slots[index];
        let Some((seed, at)) = slot.asked.take() else { return };
        let answer = &slot.answer;
        let first = answer.first.unwrap_or(now);
        let expected = &self.plan.expected;
        if let Err(error) = expected.check(answer.status, &answer.body, seed, &mut self.own) {
            self.seen.wrong(&error);
            return;
        }
        if self.measuring {
            self.seen.gathered += u64::from(!expected.is_spread(now - first, answer.pieces));
            self.seen.latencies.push(now - at);
            self.seen.firsts.push(first.saturating_duration_since(at));
            self.seen.spreads.push(now - first);
            self.seen.pieces += u64::from(answer.pieces);
            self.seen.bytes += answer.body.len() as u64;
        }
    }

    fn lost(&mut self, index: usize, error: &anyhow::Error) -> anyhow::Result<()> {
        self.seen.wrong(error);
        self.reopen(index)
    }

    fn reopen(&mut self, index: usize) -> anyhow::Result<()> {
        self.seen.reconnects += 1;
        self.idle.retain(|idle| *idle != index);
        self.slots[index] = Slot::open(self.plan.to, Token(index), self.poll.registry())?;
        Ok(())
    }
}
