//! Overwrites bytes in a way that the compiler does not take for useless. It must never be skipped for speed.
//!
//! # Why the `unsafe` holds
//!
//! The block in [`seen`] is an empty piece of assembly that takes an address. It does nothing, but the compiler must
//! assume that it reads whatever the address leads to, so what was written there before has to be there. [`wipe_raw`]
//! writes to the range that its caller owns.
#![expect(unsafe_code, reason = "a barrier that the compiler cannot see through; argued above")]

use std::arch::asm;

/// Overwrites `bytes` with zeros.
pub fn wipe(bytes: &mut [u8]) {
    bytes.fill(0);
    seen(bytes.as_ptr());
}

/// Overwrites `len` bytes from `start` on with zeros. They need not be initialised.
///
/// # Safety
///
/// The range is valid for writes and nobody has a reference into it.
pub(crate) unsafe fn wipe_raw(start: *mut u8, len: usize) {
    // SAFETY: passed on.
    unsafe { start.write_bytes(0, len) };
    seen(start);
}

/// Makes the compiler believe that what lies at `start` is read.
pub(crate) fn seen(start: *const u8) {
    // SAFETY: no instruction, no change to registers or stack.
    unsafe { asm!("/* {} */", in(reg) start, options(nostack, preserves_flags)) };
}
