//! A timer that is set when waiting begins and forgotten when something comes.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep_until};

/// A time after which waiting is over, or none.
#[derive(Default)]
pub(super) struct Timer(Option<Pin<Box<Sleep>>>);

impl Timer {
    pub(super) fn is_set(&self) -> bool {
        self.0.is_some()
    }

    pub(super) fn set(&mut self, after: Duration) {
        self.0 = Some(Box::pin(sleep_until(Instant::now() + after)));
    }

    pub(super) fn clear(&mut self) {
        self.0 = None;
    }

    pub(super) fn poll_over(&mut self, cx: &mut Context<'_>) -> bool {
        self.0.as_mut().is_some_and(|sleep| matches!(sleep.as_mut().poll(cx), Poll::Ready(())))
    }
}
