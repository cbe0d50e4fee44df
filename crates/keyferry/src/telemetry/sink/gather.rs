//! Lines of a thread that serves, until it has nothing else to do.

use std::cell::RefCell;

use super::Sink;

/// What is written at once at most: a pipe takes so much as a whole.
const MOST: usize = 4096;

thread_local! {
    static GATHERED: RefCell<Option<Gathered>> = const { RefCell::new(None) };
}

struct Gathered {
    sink: Sink,
    lines: Vec<u8>,
}

impl Gathered {
    fn put(&mut self) {
        if !self.lines.is_empty() {
            self.sink.put(&self.lines);
            self.lines.clear();
        }
    }
}

impl Drop for Gathered {
    fn drop(&mut self) {
        self.put();
    }
}

/// From now on lines of this thread are gathered. It must [put](put) them before it sleeps.
pub(in crate::telemetry) fn begin(sink: &Sink) {
    let gathered = Gathered { sink: sink.clone(), lines: Vec::with_capacity(MOST) };
    GATHERED.with_borrow_mut(|here| *here = Some(gathered));
}

/// Puts what this thread has gathered.
pub(in crate::telemetry) fn put() {
    with(Gathered::put);
}

/// Whether a line is gathered.
pub(super) fn keeps(sink: &Sink, line: &[u8]) -> bool {
    let keep = |gathered: &mut Gathered| {
        if gathered.lines.len() + line.len() > MOST {
            gathered.put();
        }
        // A longer one goes out by itself, behind those that were before it.
        if line.len() > MOST {
            sink.put(line);
        } else {
            gathered.lines.extend_from_slice(line);
        }
    };
    with(keep).is_some()
}

/// Nothing on a thread that does not gather, or ends.
fn with<T>(does: impl FnOnce(&mut Gathered) -> T) -> Option<T> {
    GATHERED.try_with(|here| here.try_borrow_mut().ok()?.as_mut().map(does)).ok().flatten()
}
