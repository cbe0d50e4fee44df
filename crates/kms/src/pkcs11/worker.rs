//! One thread for calls that block, behind a bounded queue. A call that hangs costs its caller a few
//! seconds and nobody else a thread.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
    time::Duration,
};

use tokio::{sync::oneshot, time::timeout};

/// How many calls may wait. More would not be served within their callers' patience.
const DEPTH: usize = 64;

type Job<S> = Box<dyn FnOnce(&mut S) + Send>;

/// Why a call was not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unserved {
    /// Too many calls wait already.
    #[error("too many calls wait for the module")]
    Full,
    /// It did not end in time. It may still be under way.
    #[error("the module did not answer in time")]
    Late,
    /// It broke off.
    #[error("a call of the module broke off")]
    Broken,
}

/// The thread, and with it whatever it alone may touch.
pub(super) struct Worker<S> {
    jobs: SyncSender<Job<S>>,
}

impl<S: Send + 'static> Worker<S> {
    /// Starts the thread.
    pub(super) fn start(name: &str, state: S) -> std::io::Result<Self> {
        let (jobs, queue) = sync_channel(DEPTH);
        thread::Builder::new().name(name.to_owned()).spawn(move || work(queue, state))?;
        Ok(Self { jobs })
    }

    /// Has the thread do `job`, and waits for `patience` at most.
    pub(super) async fn run<R: Send + 'static>(
        &self,
        patience: Duration,
        job: impl FnOnce(&mut S) -> R + Send + 'static,
    ) -> Result<R, Unserved> {
        let (tell, told) = oneshot::channel();
        let job: Job<S> = Box::new(move |state| {
            // Whoever asked may have gone while this waited behind a call that hung.
            if !tell.is_closed() {
                let _ = tell.send(job(state));
            }
        });
        self.jobs.try_send(job).map_err(|_| Unserved::Full)?;
        match timeout(patience, told).await {
            Ok(Ok(result)) => Ok(result),
            Ok(Err(_)) => Err(Unserved::Broken),
            Err(_) => Err(Unserved::Late),
        }
    }
}

fn work<S>(queue: Receiver<Job<S>>, mut state: S) {
    for job in queue {
        // A panic ends the job, whose caller learns of it, and not all jobs to come. What a job takes
        // out of the state it puts back at its end only, so nothing half done is found by the next one.
        let _ = catch_unwind(AssertUnwindSafe(|| job(&mut state)));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);
    const SHORT: Duration = Duration::from_millis(20);

    /// A worker in a job that ends when the sender is used or dropped.
    fn hanging() -> (Worker<Vec<u32>>, mpsc::Sender<()>) {
        let worker = Worker::start("test", Vec::new()).expect("a thread");
        let (end, ended) = mpsc::channel::<()>();
        let (begin, begun) = mpsc::channel();
        let hang = move |_: &mut Vec<u32>| {
            begin.send(()).expect("the test waits");
            let _ = ended.recv();
        };
        worker.jobs.send(Box::new(hang)).expect("the thread takes jobs");
        begun.recv().expect("it began");
        (worker, end)
    }

    #[tokio::test]
    async fn jobs_run_one_after_the_other_on_the_same_state() {
        let worker = Worker::start("test", 1).expect("a thread");
        worker.run(LONG, |state| *state += 1).await.expect("served");
        assert_eq!(worker.run(LONG, |state| *state).await, Ok(2));
    }

    #[tokio::test]
    async fn a_job_that_hangs_does_not_keep_its_caller() {
        let (worker, _end) = hanging();
        assert_eq!(worker.run(SHORT, |_| ()).await, Err(Unserved::Late));
    }

    #[tokio::test]
    async fn a_job_whose_caller_has_gone_is_not_begun() {
        let (worker, end) = hanging();
        assert_eq!(worker.run(SHORT, |state| state.push(1)).await, Err(Unserved::Late));
        drop(end);
        worker.run(LONG, |state| state.push(2)).await.expect("served");
        assert_eq!(worker.run(LONG, |state| state.clone()).await, Ok(vec![2]));
    }

    #[tokio::test]
    async fn a_full_queue_refuses_at_once() {
        let (worker, end) = hanging();
        for _ in 0..DEPTH {
            worker.jobs.try_send(Box::new(|_| ())).expect("there is room");
        }
        assert_eq!(worker.run(LONG, |_| ()).await, Err(Unserved::Full));
        drop(end);
        while worker.run(LONG, |_| ()).await == Err(Unserved::Full) {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_job_that_panics_breaks_off_and_the_next_one_runs() {
        let worker = Worker::start("test", 7).expect("a thread");
        let broken = worker.run(LONG, |_| -> u32 { panic!("expected in this test") }).await;
        assert_eq!(broken, Err(Unserved::Broken));
        assert_eq!(worker.run(LONG, |state| *state).await, Ok(7));
    }
}
