//! A timer that is set when waiting begins and forgotten when something comes.
//!
//! That happens with each request, and hardly ever does the time run out. So what waits in the runtime is left alone while
//! it would wake no later than it must: when it wakes too early, it goes on to sleep.

use std::{pin::Pin, task::Context, time::Duration};

use tokio::time::{Instant, Sleep, sleep_until};

/// A time after which waiting is over, or none.
#[derive(Default)]
pub(super) struct Timer {
    over: Option<Instant>,
    /// Wakes at `over` or before.
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Timer {
    pub(super) fn is_set(&self) -> bool {
        self.over.is_some()
    }

    pub(super) fn set(&mut self, after: Duration) {
        let over = Instant::now() + after;
        self.over = Some(over);
        match &mut self.sleep {
            Some(sleep) if sleep.deadline() <= over => {}
            Some(sleep) => sleep.as_mut().reset(over),
            None => self.sleep = Some(Box::pin(sleep_until(over))),
        }
    }

    pub(super) fn clear(&mut self) {
        self.over = None;
    }

    pub(super) fn poll_over(&mut self, cx: &mut Context<'_>) -> bool {
        let (Some(over), Some(sleep)) = (self.over, &mut self.sleep) else { return false };
        loop {
            if sleep.as_mut().poll(cx).is_pending() {
                return false;
            }
            if sleep.deadline() >= over {
                return true;
            }
            sleep.as_mut().reset(over);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Poll, Waker};

    use super::*;

    const SHORT: Duration = Duration::from_millis(40);
    const LONG: Duration = Duration::from_secs(600);

    fn is_over(timer: &mut Timer) -> bool {
        timer.poll_over(&mut Context::from_waker(Waker::noop()))
    }

    /// Waits until it is over; answers after which time that was.
    async fn over(timer: &mut Timer) -> Duration {
        let begun = Instant::now();
        std::future::poll_fn(|cx| if timer.poll_over(cx) { Poll::Ready(()) } else { Poll::Pending }).await;
        begun.elapsed()
    }

    #[tokio::test]
    async fn what_was_never_set_or_is_forgotten_is_never_over() {
        let mut timer = Timer::default();
        assert!(!timer.is_set() && !is_over(&mut timer));
        timer.set(SHORT);
        assert!(timer.is_set());
        timer.clear();
        tokio::time::sleep(2 * SHORT).await;
        assert!(!timer.is_set() && !is_over(&mut timer));
    }

    #[tokio::test]
    async fn it_is_over_after_the_time_that_was_set_last_and_not_before() {
        let mut timer = Timer::default();
        timer.set(SHORT);
        assert!(!is_over(&mut timer), "it waits now");
        for _ in 0..3 {
            timer.clear();
            tokio::time::sleep(SHORT / 2).await;
            timer.set(SHORT);
        }
        assert!(over(&mut timer).await >= SHORT * 9 / 10);
        assert!(is_over(&mut timer), "and stays over");
    }

    #[tokio::test]
    async fn a_shorter_time_is_not_held_up_by_a_longer_one_before_it() {
        let mut timer = Timer::default();
        timer.set(LONG);
        assert!(!is_over(&mut timer));
        timer.clear();
        timer.set(SHORT);
        assert!(over(&mut timer).await < LONG / 2);
    }

    #[tokio::test]
    async fn what_wakes_too_early_goes_on_to_sleep() {
        let mut timer = Timer::default();
        timer.set(SHORT);
        timer.set(3 * SHORT);
        assert!(over(&mut timer).await >= SHORT * 29 / 10);
    }
}
