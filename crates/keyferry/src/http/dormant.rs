//! A future that sleeps beside a busy one.
//!
//! A task is polled as a whole, so whatever waits in it beside its work is asked each time the work goes on. What is woken
//! once in the life of a connection is asked when it was woken itself, and costs the others one look at a flag.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use futures_util::task::AtomicWaker;

/// Polled when it was woken, and the first time.
pub(super) struct Dormant<F> {
    future: Pin<Box<F>>,
    alarm: Arc<Alarm>,
}

/// Wakes the task, and tells for whom.
struct Alarm {
    rang: AtomicBool,
    task: AtomicWaker,
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.rang.store(true, Ordering::Release);
        self.task.wake();
    }
}

impl<F: Future> Dormant<F> {
    pub(super) fn new(future: F) -> Self {
        let alarm = Alarm { rang: AtomicBool::new(true), task: AtomicWaker::new() };
        Self { future: Box::pin(future), alarm: Arc::new(alarm) }
    }
}

impl<F: Future> Future for Dormant<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        // First, so that who rings in this moment finds the task.
        self.alarm.task.register(cx.waker());
        if !self.alarm.rang.swap(false, Ordering::Acquire) {
            return Poll::Pending;
        }
        let waker = Waker::from(Arc::clone(&self.alarm));
        self.future.as_mut().poll(&mut Context::from_waker(&waker))
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::poll_fn,
        sync::atomic::{AtomicUsize, Ordering},
    };

    use tokio::sync::Notify;

    use super::*;

    #[tokio::test]
    async fn it_is_asked_once_until_it_is_woken_and_then_wakes_its_task() {
        let (asked, bell) = (AtomicUsize::new(0), Arc::new(Notify::new()));
        let mut waiting = Box::pin(bell.notified());
        let mut dormant = Dormant::new(poll_fn(|cx| {
            asked.fetch_add(1, Ordering::Relaxed);
            waiting.as_mut().poll(cx)
        }));
        for _ in 0..10 {
            let poll = poll_fn(|cx| Poll::Ready(Pin::new(&mut dormant).poll(cx)));
            assert!(poll.await.is_pending());
        }
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        let ringing = Arc::clone(&bell);
        tokio::spawn(async move { ringing.notify_one() });
        dormant.await;
        assert_eq!(asked.load(Ordering::Relaxed), 2);
    }
}
