//! A global allocator that overwrites whatever is freed. It must never hand a block back before it is overwritten.
//!
//! Libraries copy: an HTTP library splits buffers, a JSON reader makes texts, a vector grows and leaves its old block
//! behind. What they free is not theirs any more, but it stays readable until somebody else writes over it.
//!
//! # Why the `unsafe` holds
//!
//! Every call is passed on to the system's allocator with the arguments it came with, so what holds for the caller's
//! promises holds for that one. What is added is a write: before a block is freed, over exactly `layout.size()` bytes
//! from its beginning. The caller of `dealloc` promises that the block was allocated with this layout and that it is not
//! used any more, so the range is valid and nobody else's. `realloc` never lets the system move a block, because the
//! system would free the old place as it is: it allocates, copies the smaller of the two sizes, and frees as above.
//!
//! [`give_back_free_pages`] calls a function of the C library that takes a number, and may be called by any thread at any
//! time.
#![expect(unsafe_code, reason = "a global allocator is unsafe by its trait; argued above")]

use std::alloc::{GlobalAlloc, Layout, System};

use crate::wipe::wipe_raw;

/// Gives pages of the heap in which nothing lies back to the kernel. By itself the C library keeps what lies between
/// blocks that are in use, so that a burst of requests would be remembered by its size for ever.
pub fn give_back_free_pages() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: see the module.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// The system's allocator; what is freed is overwritten with zeros first.
pub struct WipingHeap;

// SAFETY: see the module.
unsafe impl GlobalAlloc for WipingHeap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the block has this size and belongs to us from here on.
        unsafe {
            wipe_raw(block, layout.size());
            System.dealloc(block, layout);
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller promises that `size` is not 0 and fits the alignment.
        let wanted = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        // SAFETY: the new block has room for `size` bytes, the old one has `layout.size()`, and they do not overlap.
        unsafe {
            let moved = self.alloc(wanted);
            if !moved.is_null() {
                moved.copy_from_nonoverlapping(block, layout.size().min(size));
                self.dealloc(block, layout);
            }
            moved
        }
    }
}
