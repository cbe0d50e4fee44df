//! Overwrites what an operation left on the stack. It must never return before it has.
//!
//! A cipher leaves round keys, message schedules and copies of its key in the frames it used. They stay there until
//! something else happens to run as deep. So the operation runs in a frame of its own, and afterwards a second frame in
//! the same place, larger than everything the first one reached, is filled with zeros.
//!
//! An operation within another one leaves its part to that one, as long as it begins near to it: its frames are then
//! among those that are overwritten at the end. One that begins further down overwrites its own part, whatever is around
//! it, so nobody has to know how deep its callers are.

use std::cell::Cell;
use std::hint::black_box;

use crate::wipe::seen;

/// How much of the stack is overwritten. The deepest operation of the workspace reaches less than half of that: see
/// `docs/memory.md`, and the test that measures it.
const DEPTH: usize = 16 * 1024;

/// How far below an operation's beginning another one leaves its part of the stack to it.
const NEAR: usize = DEPTH / 4;

thread_local! {
    /// Where the frame lies from which on this thread's stack will be overwritten; 0 if it will not.
    static OUTERMOST: Cell<usize> = const { Cell::new(0) };
}

/// Runs `operation` and overwrites the part of the stack that it used, also when it panics. Within an operation that has
/// just begun, that is done at the end of the outer one.
///
/// What it returns is moved past the overwritten part, so it must not contain a secret by value: a handle to locked
/// memory, a tag or a ciphertext are right, an array with a key is not.
pub fn scrubbed<T>(operation: impl FnOnce() -> T) -> T {
    let _afterwards = Afterwards::unless_near();
    apart(operation)
}

/// Overwrites the stack when it is dropped, and lets the next operation do so.
struct Afterwards {
    around: usize,
}

impl Afterwards {
    #[inline]
    fn unless_near() -> Option<Self> {
        let mark = 0_u8;
        let here = (&raw const mark).addr();
        let around = OUTERMOST.get();
        // The stack grows downwards. What lies above is no frame within the outer operation; it is not relied on.
        if around.checked_sub(here).is_some_and(|below| below <= NEAR) {
            return None;
        }
        OUTERMOST.set(here);
        Some(Self { around })
    }
}

impl Drop for Afterwards {
    #[inline]
    fn drop(&mut self) {
        OUTERMOST.set(self.around);
        overwrite();
    }
}

/// Keeps the operation out of the frame of whoever asks for it.
#[inline(never)]
fn apart<T>(operation: impl FnOnce() -> T) -> T {
    black_box(operation())
}

#[inline(never)]
fn overwrite() {
    let frame = [0_u8; DEPTH];
    seen(frame.as_ptr());
}
