//! Counter stores.

mod memory;

pub use memory::MemoryCounters;
