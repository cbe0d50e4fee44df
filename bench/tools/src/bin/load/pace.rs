//! When requests are due that do not wait for answers, by a timer finer than a millisecond.

use std::{
    collections::VecDeque,
    os::fd::{AsFd as _, AsRawFd as _},
    time::{Duration, Instant},
};

use mio::{Interest, Registry, Token, unix::SourceFd};
use nix::sys::{
    time::TimeSpec,
    timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags},
};

pub struct Pace {
    timer: TimerFd,
    interval: Duration,
    next: Instant,
    /// Due, and no connection is free.
    pub backlog: VecDeque<Instant>,
}

impl Pace {
    pub fn new(rate: f64, registry: &Registry, token: Token) -> anyhow::Result<Self> {
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_NONBLOCK)?;
        registry.register(&mut SourceFd(&timer.as_fd().as_raw_fd()), token, Interest::READABLE)?;
        let interval = Duration::from_secs_f64(1.0 / rate);
        Ok(Self { timer, interval, next: Instant::now() + interval, backlog: VecDeque::new() })
    }

    /// What became due until now joins those that wait, and the timer is set for the next one.
    pub fn advance(&mut self) -> anyhow::Result<()> {
        let now = Instant::now();
        while self.next <= now {
            self.backlog.push_back(self.next);
            self.next += self.interval;
        }
        let wait = self.next.duration_since(now).max(Duration::from_nanos(1));
        self.timer.set(Expiration::OneShot(TimeSpec::from_duration(wait)), TimerSetTimeFlags::empty())?;
        Ok(())
    }
}
