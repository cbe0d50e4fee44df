//! Where log lines go: to somebody who may not keep up, such as a pipe that is not read for a while.
//!
//! A line is written by the thread that has it, as long as that has not to wait for the reader. If it had, the line waits instead, and a
//! thread of its own writes what waits. So no request waits for a reader; what finds no room is left out, and how much that was is said
//! when the reader has caught up.

use std::{
    fs::File,
    io::{self, ErrorKind, Write},
    mem,
    os::{fd::AsFd, unix::fs::FileTypeExt},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tracing_subscriber::fmt::MakeWriter;

/// Bytes of lines that wait.
const ROOM: usize = 1 << 20;
/// What a pipe takes without waiting once it takes anything (`PIPE_BUF`, pipe(7)).
const PIECE: usize = 4096;

/// Where lines are put.
#[derive(Clone)]
pub(super) struct Sink(Arc<Shared>);

struct Shared {
    out: File,
    /// Whether the reader may be somebody who does not read.
    may_block: bool,
    /// Says how many lines were lost.
    tell: fn(u64),
    state: Mutex<State>,
    /// Something waits.
    more: Condvar,
    /// Nothing waits any more.
    none: Condvar,
}

#[derive(Default)]
struct State {
    /// Whether there may be a thread that writes what waits.
    may_wait: bool,
    /// It is there.
    has_thread: bool,
    /// It has lines, or is about to take them: others must not go ahead of these.
    is_behind: bool,
    waiting: Vec<u8>,
    lost: u64,
}

impl Sink {
    /// Lines go there, and who writes one waits for its reader until [`let_wait`](Self::let_wait). `tell` is called by a thread that no line
    /// waits for.
    pub(super) fn new(out: File, tell: fn(u64)) -> Self {
        // A file takes everything, however long that lasts. `/dev/null` does, too: it is the only device that is not asked.
        let kind = out.metadata().map(|meta| meta.file_type());
        let may_block = !kind.is_ok_and(|kind| kind.is_file() || kind.is_char_device() && is_null(&out));
        let (state, more, none) = (Mutex::default(), Condvar::new(), Condvar::new());
        Self(Arc::new(Shared { out, may_block, tell, state, more, none }))
    }

    /// From now on lines wait, and not those who write them. A thread is made when the first one does.
    pub(super) fn let_wait(&self) {
        self.0.state().may_wait = true;
    }

    /// Writes a line, or keeps it until it can be written.
    fn put(&self, line: &[u8]) {
        let shared = &self.0;
        let mut state = shared.state();
        if !shared.may_block || !state.may_wait {
            // Nobody is there any more: then nobody misses it.
            let _ = (&shared.out).write_all(line);
            return;
        }
        let sent = if state.is_behind { 0 } else { shared.write_now(line) };
        let rest = line.get(sent..).unwrap_or_default();
        if rest.is_empty() {
            return;
        }
        // The rest of one of which a part is out must follow it.
        if sent == 0 && state.waiting.len() + rest.len() > ROOM {
            state.lost += 1;
            return;
        }
        if !state.has_thread {
            let writer = self.clone();
            let started =
                thread::Builder::new().name("log".to_owned()).spawn(move || writer.0.write_what_waits());
            if started.is_err() {
                let _ = (&shared.out).write_all(rest);
                return;
            }
            state.has_thread = true;
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
            state = self
                .0
                .none
                .wait_timeout(state, left)
                .map_or_else(|error| error.into_inner().0, |waited| waited.0);
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes as much as goes without waiting; answers how much that was.
    fn write_now(&self, line: &[u8]) -> usize {
        let mut sent = 0;
        while sent < line.len() && self.takes_some() {
            let piece = &line[sent..line.len().min(sent + PIECE)];
            match (&self.out).write(piece) {
                Ok(written) => sent += written,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => return line.len(),
            }
        }
        sent
    }

    fn takes_some(&self) -> bool {
        let mut asked = [PollFd::new(&self.out, PollFlags::OUT)];
        // Of what cannot be asked, writing says what is wrong.
        poll(&mut asked, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
    }

    /// For ever.
    fn write_what_waits(&self) {
        let mut state = self.state();
        loop {
            if !state.waiting.is_empty() {
                let lines = mem::take(&mut state.waiting);
                drop(state);
                self.write_and_wait(&lines);
            } else if state.lost > 0 {
                let lost = mem::take(&mut state.lost);
                drop(state);
                // It comes to wait behind those that do.
                (self.tell)(lost);
            } else {
                state.is_behind = false;
                self.none.notify_all();
                drop(self.more.wait(state));
            }
            state = self.state();
        }
    }

    /// Whoever made the other end may have set it not to wait.
    fn write_and_wait(&self, mut lines: &[u8]) {
        while !lines.is_empty() {
            match (&self.out).write(lines) {
                Ok(written) => lines = lines.get(written..).unwrap_or_default(),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let _ = poll(&mut [PollFd::new(&self.out, PollFlags::OUT)], None);
                }
                Err(_) => return,
            }
        }
    }
}

fn is_null(out: &impl AsFd) -> bool {
    let null = rustix::fs::stat("/dev/null").map(|stat| stat.st_rdev);
    rustix::fs::fstat(out).is_ok_and(|stat| null == Ok(stat.st_rdev))
}

impl<'s> MakeWriter<'s> for Sink {
    type Writer = Line<'s>;

    fn make_writer(&'s self) -> Line<'s> {
        Line(self)
    }
}

/// Takes one line, in one piece.
pub(super) struct Line<'s>(&'s Sink);

impl Write for Line<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.put(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead, BufReader, PipeReader, pipe},
        os::fd::OwnedFd,
        sync::{
            atomic::{AtomicUsize, Ordering},
            mpsc,
        },
    };

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn onto_a_pipe(tell: fn(u64)) -> (Sink, PipeReader) {
        let (read, write) = pipe().expect("a pipe");
        let sink = Sink::new(OwnedFd::from(write).into(), tell);
        sink.let_wait();
        (sink, read)
    }

    /// Does it on a thread, and fails where it stands still.
    fn in_time<T: Send + 'static>(does: impl FnOnce() -> T + Send + 'static) -> T {
        let (done, waiting) = mpsc::channel();
        thread::spawn(move || done.send(does()));
        waiting.recv_timeout(PATIENCE).expect("it goes on")
    }

    fn line(number: usize) -> String {
        format!("{number} {}", "x".repeat(number % 400))
    }

    #[test]
    fn a_line_is_there_as_soon_as_it_was_written_and_no_thread_is_made_for_it() {
        let (sink, read) = onto_a_pipe(|_| panic!("none is lost"));
        let mut lines = BufReader::new(read).lines();
        for number in 0..3000 {
            sink.put(format!("{}\n", line(number)).as_bytes());
            assert_eq!(lines.next().expect("a line").expect("text"), line(number));
        }
        assert!(!sink.0.state().has_thread);
    }

    #[test]
    fn who_does_not_read_holds_nobody_up_and_finds_all_that_had_room_in_order() {
        let (sink, read) = onto_a_pipe(|_| panic!("none is lost"));
        let written = sink.clone();
        in_time(move || (0..4000).for_each(|number| written.put(format!("{}\n", line(number)).as_bytes())));
        let lines = BufReader::new(read).lines().take(4000).map(|line| line.expect("text"));
        assert!(lines.eq((0..4000).map(line)));
        sink.flush(PATIENCE);
        assert!(!sink.0.state().is_behind, "from now on lines are written by those who have them again");
    }

    #[test]
    fn what_finds_no_room_is_left_out_whole_and_how_much_that_was_is_said_when_there_is_room_again() {
        const LINES: usize = 20_000;
        static LOST: AtomicUsize = AtomicUsize::new(0);
        let (sink, read) = onto_a_pipe(|lost| {
            LOST.fetch_add(lost as usize, Ordering::SeqCst);
        });
        let written = sink.clone();
        in_time(move || (0..LINES).for_each(|number| written.put(format!("{}\n", line(number)).as_bytes())));
        assert!(sink.0.state().waiting.len() <= ROOM);
        let (found, lines) = mpsc::channel();
        thread::spawn(move || {
            BufReader::new(read)
                .lines()
                .for_each(|line| found.send(line.expect("text")).expect("somebody looks"));
        });
        sink.flush(PATIENCE);
        let lost = LOST.load(Ordering::SeqCst);
        sink.put(b"the end\n");
        let mut last = None;
        for _ in lost..LINES {
            let line_found = lines.recv_timeout(PATIENCE).expect("a line");
            let number = line_found.split(' ').next().and_then(|number| number.parse().ok());
            assert!(number > last && line_found == line(number.expect("a number")), "{line_found}");
            last = number;
        }
        assert!(lost > 0 && lines.recv_timeout(PATIENCE).expect("a line") == "the end");
    }

    #[test]
    fn nobody_at_the_other_end_is_no_trouble() {
        let (sink, read) = onto_a_pipe(|_| panic!("none is lost"));
        drop(read);
        in_time(move || (0..4000).for_each(|_| sink.put(&[b'x'; 400])));
    }
}
