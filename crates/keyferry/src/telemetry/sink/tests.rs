use std::{
    fs::File,
    io::{BufRead, BufReader, PipeReader, Read, pipe},
    os::unix::net::UnixStream,
    sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
};

use super::{outlet::Kind, *};

const PATIENCE: Duration = Duration::from_secs(20);

/// Where no line may be lost.
const NONE_LOST: Lost = Lost { count: |_| {}, tell: |_| {} };

fn onto(out: impl Into<OwnedFd>) -> Sink {
    let sink = Sink::new(out.into(), NONE_LOST);
    sink.let_wait();
    sink
}

fn onto_a_pipe() -> (Sink, PipeReader) {
    let (read, write) = pipe().expect("a pipe");
    (onto(write), read)
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

fn put_many(sink: &Sink, lines: usize) {
    let sink = sink.clone();
    in_time(move || (0..lines).for_each(|number| sink.put(format!("{}\n", line(number)).as_bytes())));
}

/// The lines that come out, one after the other.
fn reading(out: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (found, lines) = mpsc::channel();
    thread::spawn(move || {
        BufReader::new(out).lines().map_while(Result::ok).try_for_each(|line| found.send(line))
    });
    lines
}

/// So many come whole and in order.
fn come(lines: &mpsc::Receiver<String>, count: usize) {
    for number in 0..count {
        assert_eq!(lines.recv_timeout(PATIENCE).expect("a line"), line(number));
    }
}

#[test]
fn a_line_is_there_as_soon_as_it_was_written_and_no_thread_is_made_for_it() {
    let (sink, read) = onto_a_pipe();
    let mut lines = BufReader::new(read).lines();
    for number in 0..3000 {
        sink.put(format!("{}\n", line(number)).as_bytes());
        assert_eq!(lines.next().expect("a line").expect("text"), line(number));
    }
    assert!(sink.0.state().writer.is_none());
}

#[test]
fn who_does_not_read_holds_nobody_up_and_finds_all_that_had_room_in_order() {
    let (sink, read) = onto_a_pipe();
    assert_eq!(sink.0.out.kind(), Kind::Anew);
    put_many(&sink, 4000);
    assert_eq!(sink.0.state().lost, 0);
    come(&reading(read), 4000);
    sink.flush(PATIENCE);
    assert!(!sink.0.state().is_behind, "from now on lines are written by those who have them again");
}

#[test]
fn a_socket_that_nobody_reads_holds_nobody_up() {
    let (near, far) = UnixStream::pair().expect("sockets");
    let sink = onto(near);
    assert_eq!(sink.0.out.kind(), Kind::Socket);
    put_many(&sink, 4000);
    come(&reading(far), 4000);
}

/// It takes a part of a line at its limit.
#[test]
fn a_terminal_that_nobody_reads_holds_nobody_up() {
    let master = rustix::pty::openpt(rustix::pty::OpenptFlags::RDWR | rustix::pty::OpenptFlags::NOCTTY)
        .expect("a terminal");
    rustix::pty::unlockpt(&master).expect("unlocked");
    let name = rustix::pty::ptsname(&master, Vec::new()).expect("a name").into_string().expect("text");
    let sink = onto(File::options().write(true).open(name).expect("opens"));
    assert_eq!(sink.0.out.kind(), Kind::Anew);
    put_many(&sink, 1000);
    come(&reading(File::from(master)), 1000);
}

#[test]
fn a_file_is_written_to_at_once() {
    let sink = onto(tempfile::tempfile().expect("a file"));
    assert_eq!(sink.0.out.kind(), Kind::Ready);
    let null = onto(File::options().write(true).open("/dev/null").expect("opens"));
    assert_eq!(null.0.out.kind(), Kind::Ready);
    put_many(&sink, 20_000);
    assert!(sink.0.state().writer.is_none());
}

#[test]
fn what_finds_no_room_is_left_out_whole_and_counted_at_once_and_said_when_there_is_room_again() {
    const LINES: usize = 20_000;
    static COUNTED: AtomicUsize = AtomicUsize::new(0);
    static TOLD: AtomicUsize = AtomicUsize::new(0);
    let lost = Lost {
        count: |lost| {
            COUNTED.fetch_add(lost as usize, Ordering::SeqCst);
        },
        tell: |lost| {
            TOLD.fetch_add(lost as usize, Ordering::SeqCst);
        },
    };
    let (read, write) = pipe().expect("a pipe");
    let sink = Sink::new(write.into(), lost);
    sink.let_wait();
    put_many(&sink, LINES);
    let (counted, state) = (COUNTED.load(Ordering::SeqCst), sink.0.state());
    assert!(counted > 0 && state.taken + state.waiting.len() <= ROOM, "{counted}");
    drop(state);
    let lines = reading(read);
    sink.flush(PATIENCE);
    sink.put(b"the end\n");
    let mut last = None;
    for _ in counted..LINES {
        let found = lines.recv_timeout(PATIENCE).expect("a line");
        let number = found.split(' ').next().and_then(|number| number.parse().ok());
        assert!(number > last && found == line(number.expect("a number")), "{found}");
        last = number;
    }
    assert_eq!(lines.recv_timeout(PATIENCE).expect("a line"), "the end");
    assert_eq!(TOLD.load(Ordering::SeqCst), counted);
}

#[test]
fn nobody_at_the_other_end_is_no_trouble() {
    let (sink, read) = onto_a_pipe();
    drop(read);
    put_many(&sink, 4000);
}

fn write(sink: &Sink, line: &str) {
    sink.make_writer().write_all(line.as_bytes()).expect("taken");
}

/// What has come so far.
fn come_so_far(read: &PipeReader) -> usize {
    rustix::io::ioctl_fionread(read).expect("a number") as usize
}

#[test]
fn a_thread_that_gathers_writes_its_lines_together_when_it_sleeps_or_has_many_or_ends() {
    let (sink, read) = onto_a_pipe();
    let gathering = sink.clone();
    let (told, (sleeps, has_many)) = (read.try_clone().expect("a handle"), (200 * 10, 200 * 20));
    let thread = thread::spawn(move || {
        gather::begin(&gathering);
        let line = format!("{}\n", "x".repeat(199));
        (0..10).for_each(|_| write(&gathering, &line));
        assert_eq!(come_so_far(&told), 0);
        gather::put();
        assert_eq!(come_so_far(&told), sleeps);
        (0..21).for_each(|_| write(&gathering, &line));
        assert_eq!(come_so_far(&told), sleeps + has_many, "so much at once");
        // One that is longer than all that is behind those before it.
        write(&gathering, &format!("{}\n", "y".repeat(5000)));
        assert_eq!(come_so_far(&told), sleeps + has_many + 200 + 5001);
        write(&gathering, &line);
        // What is urgent takes what was before it along.
        Line { sink: &gathering, is_urgent: true }.write_all(b"urgent\n").expect("taken");
        assert_eq!(come_so_far(&told), 200 * 32 + 5001 + 7);
        write(&gathering, &line);
    });
    thread.join().expect("no panic");
    assert_eq!(come_so_far(&read), 200 * 33 + 5001 + 7, "it has ended");
    write(&sink, "at once\n");
    assert_eq!(come_so_far(&read), 200 * 33 + 5001 + 15);
}
