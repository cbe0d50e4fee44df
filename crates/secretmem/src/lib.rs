//! Gives secrets a place in memory and takes it back without leaving a trace. It must never know what a secret means.
//!
//! | module | one idea |
//! |---|---|
//! | `locked` | [`LockedBytes`]: one secret in locked memory, wiped when it is dropped |
//! | `pool` | which slot of which region; when to grow and shrink; when to give up and use the heap |
//! | `region` | locked pages from the kernel, guard pages around them, slots within (`unsafe`) |
//! | `limit` | how much memory the process may lock (`unsafe`) |
//! | `stack` | [`scrubbed`]: runs an operation and overwrites what it left on the stack |
//! | `heap` | [`WipingHeap`]: a global allocator that overwrites what is freed (`unsafe`) |
//! | `wipe` | [`wipe()`]: overwriting that the compiler does not take for useless (`unsafe`) |
//!
//! This is the only crate of the workspace with `unsafe` code. Each module that has some says why it holds.
#![deny(missing_docs)]

mod heap;
mod limit;
mod locked;
mod pool;
mod region;
mod stack;
mod wipe;

pub use heap::{WipingHeap, give_back_free_pages};
pub use locked::LockedBytes;
pub use pool::{Report, Shares, backend, probe, report, shares};
pub use region::Backend;
pub use stack::scrubbed;
pub use wipe::wipe;
