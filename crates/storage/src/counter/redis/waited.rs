//! A question that is waited for, whether by who asked it or not.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::runtime::Handle;

/// What is dropped before its end goes on by itself, on the runtime of who dropped it: what was asked is under way all the same, and counts until
/// its answer is here.
pub(super) struct Waited<F: Future<Output: Send> + Send + 'static>(Option<Pin<Box<F>>>);

impl<F: Future<Output: Send> + Send + 'static> Waited<F> {
    pub(super) fn new(question: F) -> Self {
        Self(Some(Box::pin(question)))
    }
}

impl<F: Future<Output: Send> + Send + 'static> Future for Waited<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        // Whoever has had the answer does not ask again.
        let answered = self.0.as_mut().map_or(Poll::Pending, |question| question.as_mut().poll(cx));
        if answered.is_ready() {
            self.0 = None;
        }
        answered
    }
}

impl<F: Future<Output: Send> + Send + 'static> Drop for Waited<F> {
    fn drop(&mut self) {
        if let (Some(question), Ok(runtime)) = (self.0.take(), Handle::try_current()) {
            runtime.spawn(question);
        }
    }
}
