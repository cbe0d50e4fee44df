//! Where log lines go: to somebody who may not keep up, such as a pipe that is not read for a while.
//!
//! Lines are written by the thread that has them, as long as that has not to wait for the reader. If it had, they wait instead, and a
//! thread of its own writes what waits. So no request waits for a reader; what finds no room is left out, and how much that was is said.
//! A thread that serves [gathers](gather) what it has until it is about to sleep: to write each line by itself would wake the reader for each.

pub(super) mod gather;
mod outlet;
#[cfg(test)]
mod tests;

use std::{
    io::{self, Write},
    mem,
    os::fd::OwnedFd,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, ThreadId},
    time::{Duration, Instant},
};

use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

use self::outlet::Outlet;

/// Bytes of lines that wait.
const ROOM: usize = 1 << 20;

/// Where lines are put.
#[derive(Clone)]
pub(super) struct Sink(Arc<Shared>);

struct Shared {
    out: Outlet,
    lost: Lost,
    state: Mutex<State>,
    /// Something waits.
    more: Condvar,
    /// Nothing waits any more.
    none: Condvar,
}

/// What is done about lines that found no room.
pub(super) struct Lost {
    /// Counts some, at once.
    pub(super) count: fn(u64),
    /// Puts a line that says how many there were since the last one.
    pub(super) tell: fn(u64),
}

#[derive(Default)]
struct State {
    /// Whether there may be a thread that writes what waits.
    may_wait: bool,
    /// It is there.
    writer: Option<ThreadId>,
    /// It has lines, or is about to take them: others must not go ahead of these.
    is_behind: bool,
    waiting: Vec<u8>,
    /// Bytes that it has taken and that are not out.
    taken: usize,
    lost: u64,
}

impl Sink {
    /// Lines go there, and who writes one waits for its reader until [`let_wait`](Self::let_wait).
    pub(super) fn new(out: OwnedFd, lost: Lost) -> Self {
        let (state, more, none) = (Mutex::default(), Condvar::new(), Condvar::new());
        Self(Arc::new(Shared { out: Outlet::of(out), lost, state, more, none }))
    }

    /// From now on lines wait, and not those who write them. A thread is made when the first one does.
    pub(super) fn let_wait(&self) {
        self.0.state().may_wait = true;
    }

    /// Writes lines, or keeps them until they can be written.
    fn put(&self, lines: &[u8]) {
        let shared = &self.0;
        let mut state = shared.state();
        if shared.out.is_ready() || !state.may_wait {
            return shared.out.write_all(lines);
        }
        let sent = if state.is_behind { 0 } else { shared.out.write_now(lines) };
        let rest = lines.get(sent..).unwrap_or_default();
        if rest.is_empty() {
            return;
        }
        let is_own = state.writer == Some(thread::current().id());
        // What follows a part that is out, and what is said of those that were lost, always has room.
        if sent == 0 && !is_own && state.taken + state.waiting.len() + rest.len() > ROOM {
            let lost = memchr::memchr_iter(b'\n', lines).count() as u64;
            state.lost += lost;
            drop(state);
            return (shared.lost.count)(lost);
        }
        if state.writer.is_none() {
            let writer = self.clone();
            let started =
                thread::Builder::new().name("log".to_owned()).spawn(move || writer.0.write_what_waits());
            let Ok(started) = started else { return shared.out.write_all(rest) };
            state.writer = Some(started.thread().id());
        }
        state.waiting.extend_from_slice(rest);
        state.is_behind = true;
        shared.more.notify_one();
    }

    /// Waits until nothing waits any more, for so long at most.
    pub(super) fn flush(&self, patience: Duration) {
        let until = Instant::now() + patience;
        let mut state = self.0.state();
        while state.is_behind && Instant::now() < until {
            let left = until.saturating_duration_since(Instant::now());
            let waited = self.0.none.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For ever.
    fn write_what_waits(&self) {
        let mut state = self.state();
        loop {
            if !state.waiting.is_empty() {
                let lines = mem::take(&mut state.waiting);
                state.taken = lines.len();
                drop(state);
                self.out.write_all(&lines);
                state = self.state();
                state.taken = 0;
            }
            let lost = mem::take(&mut state.lost);
            if lost > 0 {
                drop(state);
                (self.lost.tell)(lost);
                state = self.state();
            }
            if state.waiting.is_empty() {
                state.is_behind = false;
                self.none.notify_all();
                state = self.more.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }
}

impl<'s> MakeWriter<'s> for Sink {
    type Writer = Line<'s>;

    fn make_writer(&'s self) -> Line<'s> {
        Line { sink: self, is_urgent: false }
    }

    fn make_writer_for(&'s self, meta: &Metadata<'_>) -> Line<'s> {
        Line { sink: self, is_urgent: *meta.level() <= Level::WARN }
    }
}

/// Takes one line, in one piece.
pub(super) struct Line<'s> {
    sink: &'s Sink,
    /// It is not gathered: what goes wrong may be the last thing there is to say.
    is_urgent: bool,
}

impl Write for Line<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.is_urgent {
            gather::put();
        }
        if self.is_urgent || !gather::keeps(self.sink, line) {
            self.sink.put(line);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
