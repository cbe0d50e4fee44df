//! The threads that serve connections. Each has a runtime of its own, and a connection stays with the one it was given to: what is
//! known of it stays in one processor's cache, and nobody is woken to look for work that one thread could do alone. See
//! `docs/adr/0026-a-runtime-for-each-worker.md`.

use std::{
    cell::Cell,
    io,
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use futures_util::FutureExt as _;
use tokio::{
    runtime::{Builder, Handle},
    sync::watch,
};

use crate::telemetry::logs;

/// How long threads are waited for at the end.
const PATIENCE: Duration = Duration::from_secs(1);
/// So much more than the one with the least a worker may have to do before what comes to it is given away.
const SLACK: usize = 8;

thread_local! {
    static NUMBER: Cell<usize> = const { Cell::new(0) };
}

/// Which worker this thread is, from 1 on; 0 if it is none.
pub fn number_of_this_thread() -> usize {
    NUMBER.get()
}

/// The threads. When this is dropped they end, and what runs on them is dropped there. One that is held up is not waited for longer than a
/// second: it ends with the process.
pub struct Workers {
    posts: Posts,
    threads: Vec<JoinHandle<()>>,
    /// Dropped, it tells them to end.
    running: Option<watch::Sender<()>>,
}

/// Where connections find a worker.
#[derive(Clone)]
pub struct Posts(Arc<Shared>);

struct Shared {
    workers: Vec<Worker>,
    /// From which one on the next connection looks, so that those with equally many have their turns.
    next: AtomicUsize,
}

struct Worker {
    runtime: Handle,
    /// Connections, and requests of theirs that it answers beside them.
    load: AtomicUsize,
}

/// A place at a worker, which is free again when this is dropped.
struct Place {
    posts: Posts,
    worker: usize,
}

impl Workers {
    /// Starts so many.
    pub fn start(count: NonZeroUsize) -> io::Result<Self> {
        let (running, told) = watch::channel(());
        let (mut workers, mut threads) = (Vec::new(), Vec::new());
        for number in 1..=count.get() {
            let runtime =
                Builder::new_current_thread().enable_all().on_thread_park(logs::put_gathered).build()?;
            workers.push(Worker { runtime: runtime.handle().clone(), load: AtomicUsize::new(0) });
            let mut told = told.clone();
            let serve = move || {
                NUMBER.set(number);
                logs::gather();
                // An error is the end.
                while runtime.block_on(told.changed()).is_ok() {}
                // Work that blocks is not waited for.
                runtime.shutdown_background();
            };
            threads.push(thread::Builder::new().name(format!("worker-{number}")).spawn(serve)?);
        }
        let posts = Posts(Arc::new(Shared { workers, next: AtomicUsize::new(0) }));
        Ok(Self { posts, threads, running: Some(running) })
    }

    /// Where connections find one.
    pub fn posts(&self) -> Posts {
        self.posts.clone()
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.running = None;
        let until = Instant::now() + PATIENCE;
        while !self.threads.iter().all(JoinHandle::is_finished) && Instant::now() < until {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Posts {
    /// Runs what serves a connection on the worker that has the least to do.
    pub fn serve(&self, connection: impl Future<Output = ()> + Send + 'static) {
        self.place(self.least()).run(connection);
    }

    /// Runs what answers one of many requests of a connection: on the worker of the connection, unless another one has much less to
    /// do. So that a proxy's one connection with all its clients' requests is not one worker's alone.
    pub fn serve_beside(&self, request: impl Future<Output = ()> + Send + 'static) {
        let least = self.least();
        let own = number_of_this_thread().checked_sub(1).filter(|own| *own < self.0.workers.len());
        let here = own.filter(|own| self.load(*own) <= self.load(least) + SLACK);
        self.place(here.unwrap_or(least)).run(request);
    }

    fn least(&self) -> usize {
        let count = self.0.workers.len();
        let first = self.0.next.fetch_add(1, Ordering::Relaxed);
        let in_turn = (0..count).map(|more| first.wrapping_add(more) % count);
        // There is one at least.
        in_turn.min_by_key(|worker| self.load(*worker)).unwrap_or_default()
    }

    fn load(&self, worker: usize) -> usize {
        self.0.workers[worker].load.load(Ordering::Relaxed)
    }

    fn place(&self, worker: usize) -> Place {
        self.0.workers[worker].load.fetch_add(1, Ordering::Relaxed);
        Place { posts: self.clone(), worker }
    }
}

impl Place {
    fn worker(&self) -> &Worker {
        &self.posts.0.workers[self.worker]
    }

    fn run(self, work: impl Future<Output = ()> + Send + 'static) {
        let runtime = self.worker().runtime.clone();
        runtime.spawn(self.around(work));
    }

    /// Work, and the place until it ends. In an async block it would be there twice: as what is captured, and as what is awaited.
    fn around(self, work: impl Future<Output = ()> + Send + 'static) -> impl Future<Output = ()> + Send {
        work.map(move |()| drop(self))
    }
}

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Posts {
    fn execute(&self, request: F) {
        self.serve_beside(request);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.worker().load.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, future::pending, sync::mpsc};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    fn workers(count: usize) -> Workers {
        Workers::start(NonZeroUsize::new(count).expect("some")).expect("threads")
    }

    #[test]
    fn connections_are_spread_over_all_and_stay_where_they_are() {
        let workers = workers(3);
        let (told, on) = mpsc::channel();
        for _ in 0..9 {
            let told = told.clone();
            workers.posts().serve(async move {
                let before = number_of_this_thread();
                for _ in 0..20 {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    assert_eq!(number_of_this_thread(), before);
                }
                told.send(before).expect("somebody counts");
                pending::<()>().await;
            });
        }
        let mut served = BTreeMap::new();
        for _ in 0..9 {
            *served.entry(on.recv_timeout(PATIENCE).expect("served")).or_insert(0) += 1;
        }
        assert_eq!(served, BTreeMap::from([(1, 3), (2, 3), (3, 3)]));
        assert_eq!(number_of_this_thread(), 0);
    }

    #[test]
    fn the_next_connection_goes_where_one_has_ended() {
        let workers = workers(3);
        let posts = workers.posts();
        let mut places: Vec<_> = (0..6).map(|_| posts.place(posts.least())).collect();
        let left = places.remove(2).worker;
        for _ in 0..2 {
            assert_eq!(posts.least(), left);
        }
    }

    #[test]
    fn requests_stay_beside_their_connection_until_others_have_much_less_to_do() {
        let workers = workers(2);
        let posts = workers.posts();
        let (told, on) = mpsc::channel();
        let connection = posts.clone();
        posts.serve(async move {
            for _ in 0..SLACK + 8 {
                let told = told.clone();
                connection.serve_beside(async move {
                    told.send(number_of_this_thread()).expect("somebody counts");
                    pending::<()>().await;
                });
            }
        });
        let served: Vec<_> = (0..SLACK + 8).map(|_| on.recv_timeout(PATIENCE).expect("served")).collect();
        let of_first = served.iter().filter(|worker| **worker == 1).count();
        // The connection itself counts until all are handed over.
        assert_eq!(of_first, SLACK + 4, "{served:?}");
    }

    #[test]
    fn work_takes_the_room_of_itself_and_a_place() {
        let work = async {
            let large = [0_u8; 4096];
            tokio::task::yield_now().await;
            std::hint::black_box(large);
        };
        let (alone, workers) = (size_of_val(&work), workers(1));
        let with_its_place = workers.posts().place(0).around(work);
        assert!(size_of_val(&with_its_place) <= alone + 64);
    }

    #[test]
    fn what_still_runs_at_the_end_is_dropped_on_its_worker() {
        struct Dropped(mpsc::Sender<usize>);
        impl Drop for Dropped {
            fn drop(&mut self) {
                let _ = self.0.send(number_of_this_thread());
            }
        }
        let workers = workers(1);
        let (told, on) = mpsc::channel();
        let (begins, begun) = mpsc::channel();
        let dropped = Dropped(told);
        workers.posts().serve(async move {
            let _dropped = dropped;
            begins.send(()).expect("somebody waits");
            pending::<()>().await;
        });
        begun.recv_timeout(PATIENCE).expect("begun");
        drop(workers);
        assert_eq!(on.try_recv(), Ok(1));
    }
}
