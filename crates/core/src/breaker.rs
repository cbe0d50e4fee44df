//! A circuit breaker, without time or I/O of its own: closed → open → one probe → closed.

use std::collections::VecDeque;

use crate::time::Timestamp;

/// When a breaker opens, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// So many failures open it,
    failures: usize,
    /// within so many milliseconds.
    window_ms: i64,
    /// A success between them takes them back.
    forgives: bool,
    /// It stays open for so many milliseconds at first, doubling with each probe that fails,
    open_ms: i64,
    /// up to so many.
    longest_ms: i64,
}

impl Rules {
    /// For a root (requirement C4).
    pub const ROOT: Self =
        Self { failures: 3, window_ms: 30_000, forgives: false, open_ms: 60_000, longest_ms: 60_000 };
    /// For a provider. Many tenants share it, and one of them may make its own requests fail: so only failures without
    /// any success between them count, and it stays open for seconds.
    pub const PROVIDER: Self =
        Self { failures: 5, window_ms: 10_000, forgives: true, open_ms: 1_000, longest_ms: 4_000 };
}

/// The state, as metrics and `/readyz` show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// Calls go through, and none failed lately.
    Closed,
    /// Calls go through, but some failed within the window.
    Degraded,
    /// No call goes through.
    Open,
    /// One call is under way to find out.
    Probing,
}

/// The breaker.
#[derive(Debug)]
pub struct Breaker {
    rules: Rules,
    failures: VecDeque<Timestamp>,
    opened: Option<Timestamp>,
    open_ms: i64,
    probing: bool,
}

/// The right to make one call. Its outcome must be told.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub struct Permit {
    probe: bool,
}

impl Breaker {
    /// A closed one.
    pub const fn new(rules: Rules) -> Self {
        Self { rules, failures: VecDeque::new(), opened: None, open_ms: rules.open_ms, probing: false }
    }

    /// Asks for a call; `Err(milliseconds to wait)` while it is open.
    pub fn ask(&mut self, now: Timestamp) -> Result<Permit, u64> {
        self.no_later_than(now);
        let Some(opened) = self.opened else { return Ok(Permit { probe: false }) };
        let left = self.open_ms - (now.millis() - opened.millis());
        if left > 0 {
            return Err(left as u64);
        }
        if self.probing {
            return Err(1000);
        }
        self.probing = true;
        Ok(Permit { probe: true })
    }

    /// The call was answered.
    pub fn succeeded(&mut self, permit: Permit) {
        if permit.probe {
            self.reset();
        } else if self.rules.forgives {
            self.failures.clear();
        }
    }

    /// The call failed.
    pub fn failed(&mut self, permit: Permit, now: Timestamp) {
        if permit.probe {
            self.probing = false;
            self.opened = Some(now);
            self.open_ms = (self.open_ms * 2).min(self.rules.longest_ms);
            return;
        }
        self.forget(now);
        self.failures.push_back(now);
        if self.failures.len() >= self.rules.failures && self.opened.is_none() {
            self.opened = Some(now);
            self.failures.clear();
        }
    }

    /// The call was given up before anything came of it.
    pub fn abandoned(&mut self, permit: Permit) {
        if permit.probe {
            self.probing = false;
        }
    }

    /// What it failed for is mended: it begins anew.
    pub fn reset(&mut self) {
        *self = Self::new(self.rules);
    }

    /// The state.
    pub fn state(&mut self, now: Timestamp) -> BreakerState {
        self.forget(now);
        match self.opened {
            Some(_) if self.probing => BreakerState::Probing,
            Some(_) => BreakerState::Open,
            None if self.failures.is_empty() => BreakerState::Closed,
            None => BreakerState::Degraded,
        }
    }

    /// A clock that was put back must not keep it open for as long as it was put back by.
    fn no_later_than(&mut self, now: Timestamp) {
        for at in self.failures.iter_mut().chain(&mut self.opened) {
            *at = (*at).min(now);
        }
    }

    fn forget(&mut self, now: Timestamp) {
        self.no_later_than(now);
        while self.failures.front().is_some_and(|at| now.millis() - at.millis() >= self.rules.window_ms) {
            self.failures.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    fn fail(breaker: &mut Breaker, ms: i64) {
        let permit = breaker.ask(at(ms)).expect("a call goes through");
        breaker.failed(permit, at(ms));
    }

    fn opened_at(ms: i64) -> Breaker {
        let mut breaker = Breaker::new(Rules::ROOT);
        for _ in 0..3 {
            fail(&mut breaker, ms);
        }
        breaker
    }

    #[test]
    fn three_failures_within_30_seconds_open_it_and_three_over_longer_do_not() {
        let mut breaker = Breaker::new(Rules::ROOT);
        for ms in [0, 15_000, 30_000, 45_000, 60_000] {
            fail(&mut breaker, ms);
            assert_eq!(breaker.state(at(ms)), BreakerState::Degraded, "{ms}");
        }
        fail(&mut breaker, 60_001);
        assert_eq!(breaker.state(at(60_001)), BreakerState::Open);
        assert_eq!(breaker.ask(at(60_001)), Err(60_000));
    }

    #[test]
    fn success_does_not_hide_failures() {
        let mut breaker = Breaker::new(Rules::ROOT);
        fail(&mut breaker, 0);
        fail(&mut breaker, 1);
        let permit = breaker.ask(at(2)).expect("closed");
        breaker.succeeded(permit);
        fail(&mut breaker, 3);
        assert_eq!(breaker.state(at(3)), BreakerState::Open);
    }

    #[test]
    fn after_60_seconds_one_probe_goes_through_and_closes_it() {
        let mut breaker = opened_at(0);
        assert_eq!(breaker.ask(at(59_999)), Err(1));
        let probe = breaker.ask(at(60_000)).expect("the probe");
        assert_eq!(breaker.state(at(60_000)), BreakerState::Probing);
        assert!(breaker.ask(at(60_000)).is_err(), "one probe only");
        breaker.succeeded(probe);
        assert_eq!(breaker.state(at(60_000)), BreakerState::Closed);
        assert!(breaker.ask(at(60_000)).is_ok());
    }

    #[test]
    fn a_probe_that_fails_opens_it_for_another_60_seconds() {
        let mut breaker = opened_at(0);
        let probe = breaker.ask(at(61_000)).expect("the probe");
        breaker.failed(probe, at(66_000));
        assert_eq!(breaker.ask(at(66_000)), Err(60_000));
        assert!(breaker.ask(at(126_000)).is_ok());
    }

    #[test]
    fn one_that_was_reset_is_closed_and_counts_from_none() {
        let mut breaker = opened_at(0);
        breaker.reset();
        assert_eq!(breaker.state(at(1)), BreakerState::Closed);
        fail(&mut breaker, 1);
        fail(&mut breaker, 2);
        assert_eq!(breaker.state(at(2)), BreakerState::Degraded);
    }

    #[test]
    fn a_probe_that_was_given_up_lets_another_one_through() {
        let mut breaker = opened_at(0);
        let probe = breaker.ask(at(60_000)).expect("the probe");
        breaker.abandoned(probe);
        assert!(breaker.ask(at(60_001)).is_ok());
    }

    #[test]
    fn a_clock_that_is_put_back_makes_nothing_last_longer() {
        let mut breaker = opened_at(7_200_000);
        assert_eq!(breaker.ask(at(0)), Err(60_000));
        assert_eq!(breaker.ask(at(59_999)), Err(1));
        assert!(breaker.ask(at(60_000)).is_ok());

        let mut breaker = Breaker::new(Rules::ROOT);
        fail(&mut breaker, 7_200_000);
        assert_eq!(breaker.state(at(0)), BreakerState::Degraded);
        assert_eq!(breaker.state(at(30_000)), BreakerState::Closed);
    }

    #[test]
    fn calls_that_were_under_way_when_it_opened_do_not_reopen_it() {
        let mut breaker = Breaker::new(Rules::ROOT);
        let late = breaker.ask(at(0)).expect("closed");
        for _ in 0..3 {
            fail(&mut breaker, 0);
        }
        breaker.failed(late, at(30_000));
        assert!(breaker.ask(at(60_000)).is_ok(), "open since 0, not since 30000");
    }

    #[test]
    fn a_providers_opens_for_a_second_doubling_to_four() {
        let mut breaker = Breaker::new(Rules::PROVIDER);
        for ms in 0..5 {
            fail(&mut breaker, ms);
        }
        assert_eq!(breaker.ask(at(4)), Err(1_000));
        let mut now = 1_004;
        for wait in [2_000, 4_000, 4_000] {
            let probe = breaker.ask(at(now)).expect("the probe");
            breaker.failed(probe, at(now));
            assert_eq!(breaker.ask(at(now)), Err(wait));
            now += wait as i64;
        }
        let probe = breaker.ask(at(now)).expect("the probe");
        breaker.succeeded(probe);
        for ms in 0..5 {
            fail(&mut breaker, now + ms);
        }
        assert_eq!(breaker.ask(at(now + 4)), Err(1_000), "as at first");
    }

    #[test]
    fn a_success_takes_a_providers_failures_back() {
        let mut breaker = Breaker::new(Rules::PROVIDER);
        for round in 0..20 {
            for ms in 0..4 {
                fail(&mut breaker, round * 10 + ms);
            }
            let permit = breaker.ask(at(round * 10 + 5)).expect("closed");
            breaker.succeeded(permit);
        }
    }
}
