//! Overwrites what an operation left on the stack. It must never return before it has.
//!
//! A cipher leaves round keys, message schedules and copies of its key in the frames it used. They stay there until
//! something else happens to run as deep. So the operation runs in a frame of its own, and afterwards a second frame in
//! the same place, larger than everything the first one reached, is filled with zeros.

use std::hint::black_box;

use crate::wipe::seen;

/// How much of the stack is overwritten. The deepest operation of the workspace reaches less than half of that: see
/// `docs/memory.md`, and the test that measures it.
const DEPTH: usize = 16 * 1024;

/// Runs `operation` and overwrites the part of the stack that it used, also when it panics.
///
/// What it returns is moved past the overwritten part, so it must not contain a secret by value: a handle to locked
/// memory, a tag or a ciphertext are right, an array with a key is not.
pub fn scrubbed<T>(operation: impl FnOnce() -> T) -> T {
    struct Afterwards;
    impl Drop for Afterwards {
        fn drop(&mut self) {
            overwrite();
        }
    }
    let _afterwards = Afterwards;
    apart(operation)
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
