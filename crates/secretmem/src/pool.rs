//! Decides which slot a secret gets, when to map more, when to give pages back, and when to give up. It must never fail a
//! request: without a slot, a secret lies on the heap and is counted.

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
    too_long: AtomicU64,
}

struct State {
    classes: [Vec<Region>; CLASSES.len()],
    regions: usize,
    /// The kernel refused more when so many regions had been given back. It is asked again when there are more of them.
    refused_at: Option<u64>,
}

/// How many regions were given back, of all pools: they share what the kernel lets the process lock.
static GIVEN_BACK: AtomicU64 = AtomicU64::new(0);

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
    /// Those of them that are longer than any slot.
    pub too_long: u64,
}

/// The pools of the process. What comes in from outside has a pool of its own: whatever strangers send, in whatever sizes,
/// the other half is left for the secrets that the process keeps.
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

/// What the two shares of locked memory look like now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    /// For secrets that the process keeps.
    pub own: Report,
    /// For what comes in from outside.
    pub incoming: Report,
}

/// What each share of this process's locked memory looks like now.
pub fn shares() -> Shares {
    Shares { own: own().report(), incoming: incoming().report() }
}

/// What the pools of this process look like now, as one.
pub fn report() -> Report {
    let Shares { own, incoming } = shares();
    Report {
        backend: own.backend,
        locked: own.locked + incoming.locked,
        in_use: own.in_use + incoming.in_use,
        overflowed: own.overflowed + incoming.overflowed,
        too_long: own.too_long + incoming.too_long,
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
            refused_at: (backend == Backend::Heap).then(|| GIVEN_BACK.load(Relaxed)),
        };
        let (overflowed, too_long) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { backend, ceiling, state: Mutex::new(state), overflowed, too_long }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A slot for `len` bytes, which are zero; `None` if they have to lie on the heap, which is counted.
    pub(crate) fn take(&self, len: usize) -> Option<Slot> {
        let class = CLASSES.iter().position(|&size| len <= size);
        let slot = class.and_then(|class| self.lock().take(class, len, self.backend, self.ceiling));
        if slot.is_none() {
            self.overflowed.fetch_add(1, Relaxed);
            self.too_long.fetch_add(u64::from(class.is_none()), Relaxed);
        }
        slot
    }

    /// Wipes a slot of this pool and takes it back.
    pub(crate) fn give_back(&self, mut slot: Slot) {
        slot.wipe();
        self.lock().give_back(slot);
    }

    /// As if the kernel had just refused more.
    #[cfg(test)]
    pub(crate) fn kernel_refuses_now(&self) {
        self.lock().refused_at = Some(GIVEN_BACK.load(Relaxed));
    }

    pub(crate) fn report(&self) -> Report {
        let state = self.lock();
        Report {
            backend: self.backend,
            locked: state.regions * REGION,
            in_use: state.classes.iter().flatten().map(Region::in_use).sum(),
            overflowed: self.overflowed.load(Relaxed),
            too_long: self.too_long.load(Relaxed),
        }
    }
}

impl State {
    fn take(&mut self, class: usize, len: usize, backend: Backend, ceiling: usize) -> Option<Slot> {
        let slot = free_slot(&mut self.classes[class], len);
        if slot.is_some() {
            return slot;
        }
        // An empty region of another size is of more use in this one.
        if self.grow(class, backend, ceiling)
            || (self.unmap_an_empty_one() && self.grow(class, backend, ceiling))
        {
            return free_slot(&mut self.classes[class], len);
        }
        // No room for more of this size, but perhaps a longer slot is free.
        self.classes[class + 1..].iter_mut().find_map(|regions| free_slot(regions, len))
    }

    fn grow(&mut self, class: usize, backend: Backend, ceiling: usize) -> bool {
        let given_back = GIVEN_BACK.load(Relaxed);
        if self.refused_at == Some(given_back) || (self.regions + 1) * REGION > ceiling {
            return false;
        }
        let Ok(region) = Region::map(backend, CLASSES[class]) else {
            self.refused_at = Some(given_back);
            return false;
        };
        self.classes[class].push(region);
        self.regions += 1;
        true
    }

    fn give_back(&mut self, slot: Slot) {
        let class = CLASSES.iter().position(|&size| size == slot.size());
        let regions = class.map_or(&mut [][..], |class| &mut self.classes[class]);
        let owner = regions.iter().position(|region| region.owns(&slot));
        let (Some(class), Some(owner)) = (class, owner) else {
            unreachable!("a slot comes back to its own pool");
        };
        regions[owner].give_back(slot);
        // One that is empty stays for a while, so that a number of secrets that goes up and down by one does not
        // map and unmap each time.
        if regions[owner].in_use() == 0 {
            let all: usize = regions.iter().map(Region::free).sum();
            let own = regions[owner].free();
            if all - own >= own.div_ceil(2) {
                self.unmap(class, owner);
            }
        }
    }

    fn unmap_an_empty_one(&mut self) -> bool {
        let found = self.classes.iter().enumerate().find_map(|(class, regions)| {
            Some((class, regions.iter().position(|region| region.in_use() == 0)?))
        });
        let Some((class, at)) = found else { return false };
        self.unmap(class, at);
        true
    }

    fn unmap(&mut self, class: usize, at: usize) {
        self.classes[class].swap_remove(at).unmap();
        self.regions -= 1;
        GIVEN_BACK.fetch_add(1, Relaxed);
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
