//! Decides which slot a secret gets, when to map more, and when to give up. It must never fail a request: without a
//! slot, a secret lies on the heap and is counted.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use crate::limit::lockable;
use crate::region::{Backend, REGION, Region, Slot, try_out};

/// Sizes of slots. A derived key has 32 bytes, a token about 70, a provider's key up to 512 and padded 576; the last is
/// for JWTs and sealed keys.
const CLASSES: [usize; 6] = [64, 128, 256, 576, 1024, 4096];

/// What a pool locks at most, whatever the kernel allows: 32 MiB hold more than a hundred thousand keys.
const CEILING: usize = 32 * 1024 * 1024;

/// A pool of slots in locked memory.
pub(crate) struct Pool {
    backend: Backend,
    ceiling: usize,
    state: Mutex<State>,
    overflowed: AtomicU64,
}

struct State {
    classes: [Vec<Region>; CLASSES.len()],
    regions: usize,
    /// The kernel refused more, or the ceiling is reached. It is not asked again.
    full: bool,
}

/// What locked memory looks like at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// Where secrets lie.
    pub backend: Backend,
    /// Bytes that are locked.
    pub locked: usize,
    /// Secrets in locked memory.
    pub in_use: usize,
    /// Secrets that had to lie on the heap, since the start.
    pub overflowed: u64,
}

/// The pools of the process. Regions are never given back, so what comes in from outside has a pool of its own: whatever
/// strangers send, in whatever sizes, the other half is left for the secrets that the process keeps.
struct Pools {
    own: Pool,
    incoming: Pool,
}

fn pools() -> &'static Pools {
    static POOLS: OnceLock<Pools> = OnceLock::new();
    POOLS.get_or_init(|| {
        let best =
            [Backend::MemfdSecret, Backend::Locked].into_iter().find(|&backend| probe(backend).is_ok());
        let backend = best.unwrap_or(Backend::Heap);
        Pools { own: Pool::new(backend, CEILING), incoming: Pool::new(backend, incoming_ceiling(lockable())) }
    })
}

/// Half of what may be locked.
fn incoming_ceiling(lockable: usize) -> usize {
    lockable.min(CEILING) / 2
}

/// The pool for the secrets that the process keeps.
pub(crate) fn own() -> &'static Pool {
    &pools().own
}

/// The pool for what comes in from outside.
pub(crate) fn incoming() -> &'static Pool {
    &pools().incoming
}

/// Where the secrets of this process lie.
pub fn backend() -> Backend {
    own().backend
}

/// How many secrets had to lie on the heap since the start: the locked memory was used up, or they were too long.
pub fn overflowed() -> u64 {
    report().overflowed
}

/// What the pools of this process look like now, as one.
pub fn report() -> Report {
    let (own, incoming) = (own().report(), incoming().report());
    Report {
        backend: own.backend,
        locked: own.locked + incoming.locked,
        in_use: own.in_use + incoming.in_use,
        overflowed: own.overflowed + incoming.overflowed,
    }
}

/// Tries whether this kernel, with the limits of this process, gives memory of a kind.
pub fn probe(backend: Backend) -> io::Result<()> {
    if backend == Backend::Heap {
        return Ok(());
    }
    lockable();
    try_out(backend)
}

impl Pool {
    pub(crate) fn new(backend: Backend, ceiling: usize) -> Self {
        lockable();
        let state = State {
            classes: [const { Vec::new() }; CLASSES.len()],
            regions: 0,
            full: backend == Backend::Heap,
        };
        Self { backend, ceiling, state: Mutex::new(state), overflowed: AtomicU64::new(0) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A slot for `len` bytes, which are zero; `None` if they have to lie on the heap, which is counted.
    pub(crate) fn take(&self, len: usize) -> Option<Slot> {
        let slot = self.lock().take(len, self.backend, self.ceiling);
        if slot.is_none() {
            self.overflowed.fetch_add(1, Relaxed);
        }
        slot
    }

    /// Wipes a slot of this pool and takes it back.
    pub(crate) fn give_back(&self, mut slot: Slot) {
        slot.wipe();
        let mut state = self.lock();
        let class = CLASSES.iter().position(|&size| size == slot.size());
        let regions = class.map_or(&mut [][..], |class| &mut state.classes[class]);
        let owner = regions.iter_mut().find(|region| region.owns(&slot));
        owner.expect("a slot comes back to its own pool").give_back(slot);
    }

    pub(crate) fn report(&self) -> Report {
        let state = self.lock();
        Report {
            backend: self.backend,
            locked: state.regions * REGION,
            in_use: state.classes.iter().flatten().map(Region::in_use).sum(),
            overflowed: self.overflowed.load(Relaxed),
        }
    }
}

impl State {
    fn take(&mut self, len: usize, backend: Backend, ceiling: usize) -> Option<Slot> {
        let class = CLASSES.iter().position(|&size| len <= size)?;
        let slot = free_slot(&mut self.classes[class], len);
        if slot.is_some() || self.grow(class, backend, ceiling) {
            return slot.or_else(|| free_slot(&mut self.classes[class], len));
        }
        // No room for more of this size, but perhaps a longer slot is free.
        self.classes[class + 1..].iter_mut().find_map(|regions| free_slot(regions, len))
    }

    fn grow(&mut self, class: usize, backend: Backend, ceiling: usize) -> bool {
        if self.full || (self.regions + 1) * REGION > ceiling {
            return false;
        }
        let Ok(region) = Region::map(backend, CLASSES[class]) else {
            self.full = true;
            return false;
        };
        self.classes[class].push(region);
        self.regions += 1;
        true
    }
}

fn free_slot(regions: &mut [Region], len: usize) -> Option<Slot> {
    regions.iter_mut().find_map(|region| region.take(len))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_in_gets_half_of_what_may_be_locked() {
        for (lockable, ceiling) in [(0, 0), (8 << 20, 4 << 20), (usize::MAX, CEILING / 2)] {
            assert_eq!(incoming_ceiling(lockable), ceiling);
        }
        assert!(incoming().ceiling <= own().ceiling / 2);
    }

    #[test]
    fn a_secret_that_came_in_is_in_no_region_of_the_others() {
        let before = own().report();
        let held: Vec<_> = (0..600).map(|_| crate::LockedBytes::incoming(&[7; 4000])).collect();
        assert!(held.iter().all(|one| one.expose() == [7; 4000]));
        // Other tests take of the pool of the process meanwhile, but never so many of this size.
        assert!(own().report().in_use < before.in_use + 600);
        assert!(incoming().report().in_use + incoming().report().overflowed as usize >= 600);
    }
}
