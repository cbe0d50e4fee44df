//! Maps locked pages and hands out slots of them. It must never hand out a byte twice.
//!
//! # Why the `unsafe` holds
//!
//! - **The mapping.** [`Mapping::new`] reserves the data and a guard page on each side without access, and then maps the data
//!   part in its middle, over addresses that are its own. A [`Region`] lets go of its mapping in [`Region::unmap`] only,
//!   which asserts that every slot came back, and consumes the region, so no pointer of a slot is ever stale.
//! - **Initialised.** Pages from the kernel are zero, and every byte is written once by [`fill`] before a slot exists.
//! - **Exclusive.** A [`Slot`] is made only in [`Region::take`], for an index whose bit was clear and is then set; the bit
//!   is cleared only in [`Region::give_back`], which consumes the slot. `Slot` can be neither cloned nor copied. So at any
//!   time at most one slot covers a byte, and the slices that it lends follow the borrow of the slot.
//! - **In bounds.** `index < slots` and `len <= size` are asserted where the slot is made; `slots * size` fits the
//!   mapping.
//! - **`Send` and `Sync`.** A slot owns its bytes like a `Box<[u8]>`: a shared one only reads. A region's pages are
//!   touched through slots only.
#![expect(unsafe_code, reason = "pages come from the kernel as addresses; argued above")]

use std::ffi::c_int;
use std::io;
use std::mem::ManuallyDrop;
use std::ptr::{self, NonNull};

use crate::wipe::wipe;

/// Where secrets lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// memfd_secret(2): locked, in no dump, absent in children, and out of reach for the kernel's own copying: not even
    /// root reads it through ptrace(2) or `/proc/PID/mem`.
    MemfdSecret,
    /// Anonymous memory that is locked (mlock(2)), in no dump and zero in children. Root can read it.
    Locked,
    /// The ordinary heap, wiped when it is freed. It may be swapped out.
    Heap,
}

impl Backend {
    /// The name in reports and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MemfdSecret => "memfd_secret",
            Self::Locked => "mlock",
            Self::Heap => "heap",
        }
    }
}

/// Bytes of a region without its guard pages.
pub(crate) const REGION: usize = 64 * 1024;

/// Fills what a slot has more than its secret, in debug builds: whoever writes past the end is found out.
const FENCE: u8 = 0xfe;

/// A mapping, cut into slots of one size.
pub(crate) struct Region {
    /// Not dropped with the region: slots may point into it.
    pages: ManuallyDrop<Mapping>,
    size: usize,
    /// A bit a slot, set while it is handed out.
    taken: Vec<u64>,
    free: usize,
}

// SAFETY: see the module.
unsafe impl Send for Region {}

/// Bytes of a region that belong to nobody else.
pub(crate) struct Slot {
    start: NonNull<u8>,
    len: usize,
    size: usize,
    index: usize,
}

// SAFETY: see the module.
unsafe impl Send for Slot {}
// SAFETY: see the module.
unsafe impl Sync for Slot {}

impl Region {
    /// Maps a region with slots of `size` bytes.
    pub(crate) fn map(backend: Backend, size: usize) -> io::Result<Self> {
        let pages = ManuallyDrop::new(Mapping::new(backend)?);
        let slots = REGION / size;
        let mut taken = vec![0; slots.div_ceil(64)];
        if !slots.is_multiple_of(64) {
            // The bits without a slot count as taken.
            *taken.last_mut().expect("a region has slots") = u64::MAX << (slots % 64);
        }
        Ok(Self { pages, size, taken, free: slots })
    }

    /// Takes a free slot for `len` bytes, which are zero.
    pub(crate) fn take(&mut self, len: usize) -> Option<Slot> {
        if self.free == 0 {
            return None;
        }
        let word = self.taken.iter().position(|&word| word != u64::MAX)?;
        let bit = self.taken[word].trailing_ones() as usize;
        let index = word * 64 + bit;
        assert!(len <= self.size && (index + 1) * self.size <= REGION);
        self.taken[word] |= 1 << bit;
        self.free -= 1;
        // SAFETY: in bounds by the assertion.
        let start = unsafe { self.pages.start.add(index * self.size) };
        let mut slot = Slot { start, len, size: self.size, index };
        debug_assert!(slot.whole().iter().all(|&byte| byte == 0), "written to after it was freed");
        slot.raise_fence();
        Some(slot)
    }

    /// Takes a slot back. It must have been wiped, and be from this region.
    pub(crate) fn give_back(&mut self, slot: Slot) {
        let (word, bit) = (slot.index / 64, 1 << (slot.index % 64));
        assert!(slot.size == self.size && self.taken[word] & bit != 0, "a slot comes back once");
        self.taken[word] &= !bit;
        self.free += 1;
    }

    /// Whether this slot is one of these pages.
    pub(crate) fn owns(&self, slot: &Slot) -> bool {
        let offset = slot.start.addr().get().wrapping_sub(self.pages.start.addr().get());
        offset < REGION
    }

    /// Gives the pages back to the kernel. No slot of them may be handed out.
    pub(crate) fn unmap(self) {
        assert!(self.in_use() == 0, "slots point into these pages");
        drop(ManuallyDrop::into_inner(self.pages));
    }

    /// How many slots are free.
    pub(crate) fn free(&self) -> usize {
        self.free
    }

    /// How many slots are handed out.
    pub(crate) fn in_use(&self) -> usize {
        REGION / self.size - self.free
    }
}

impl Slot {
    /// Bytes of the whole slot, of which the secret has some.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: exclusive, initialised and in bounds; see the module.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        let len = self.len;
        &mut self.whole()[..len]
    }

    fn whole(&mut self) -> &mut [u8] {
        // SAFETY: exclusive, initialised and in bounds; see the module.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.size) }
    }

    fn raise_fence(&mut self) {
        if cfg!(debug_assertions) {
            let len = self.len;
            self.whole()[len..].fill(FENCE);
        }
    }

    /// Overwrites the slot with zeros.
    pub(crate) fn wipe(&mut self) {
        if cfg!(debug_assertions) {
            let len = self.len;
            assert!(
                self.whole()[len..].iter().all(|&byte| byte == FENCE),
                "written to past the end of a secret"
            );
            wipe(self.whole());
        } else {
            wipe(self.bytes_mut());
        }
    }
}

/// [`REGION`] bytes of data between two guard pages: locked, resident and zero.
struct Mapping {
    reserved: *mut libc::c_void,
    whole: usize,
    start: NonNull<u8>,
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped by `new`. Whoever makes slots keeps the mapping from being dropped.
        unsafe { libc::munmap(self.reserved, self.whole) };
    }
}

impl Mapping {
    fn new(backend: Backend) -> io::Result<Self> {
        // SAFETY: asks for a number.
        let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096);
        let whole = REGION + 2 * page;
        let guard = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: new addresses, which nothing else uses.
        let reserved = unsafe { libc::mmap(ptr::null_mut(), whole, libc::PROT_NONE, guard, -1, 0) };
        if reserved == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: within the addresses reserved above.
        let start = unsafe { NonNull::new_unchecked(reserved.cast::<u8>().add(page)) };
        let mapping = Self { reserved, whole, start };
        fill(backend, start.as_ptr())?;
        Ok(mapping)
    }
}

/// Whether the kernel gives memory of this kind now.
pub(crate) fn try_out(backend: Backend) -> io::Result<()> {
    Mapping::new(backend).map(drop)
}

/// Puts the data pages of `backend` at `start`, in the middle of what [`Mapping::new`] reserved.
fn fill(backend: Backend, start: *mut u8) -> io::Result<()> {
    let access = libc::PROT_READ | libc::PROT_WRITE;
    let at = |flags, fd| {
        // SAFETY: the addresses belong to the caller, who gives them up to this mapping.
        let mapped = unsafe { libc::mmap(start.cast(), REGION, access, libc::MAP_FIXED | flags, fd, 0) };
        if mapped == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(()) }
    };
    let advise = |advice: c_int| {
        // SAFETY: the mapping made above.
        done(unsafe { libc::madvise(start.cast(), REGION, advice) })
    };
    match backend {
        Backend::MemfdSecret => {
            let fd = secret_fd()?;
            at(libc::MAP_SHARED, fd.0)?;
            // A child would share the pages, not get a copy of them: better that it has none.
            advise(libc::MADV_DONTFORK)?;
        }
        Backend::Locked => {
            at(libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1)?;
            // SAFETY: the mapping made above.
            done(unsafe { libc::mlock(start.cast(), REGION) })?;
            advise(libc::MADV_DONTDUMP)?;
            advise(libc::MADV_WIPEONFORK)?;
        }
        Backend::Heap => return Err(io::ErrorKind::Unsupported.into()),
    }
    // Touched now, so that a lack of memory shows here and not at the first secret.
    // SAFETY: mapped above with REGION bytes, and nobody has a reference yet.
    unsafe { start.write_bytes(0, REGION) };
    Ok(())
}

struct Fd(c_int);

impl Drop for Fd {
    fn drop(&mut self) {
        // SAFETY: opened here, closed once. The mapping keeps the memory.
        unsafe { libc::close(self.0) };
    }
}

fn secret_fd() -> io::Result<Fd> {
    // SAFETY: takes flags and answers a descriptor or an error; libc has no wrapper for it.
    let fd = unsafe { libc::syscall(libc::SYS_memfd_secret, libc::O_CLOEXEC) };
    let fd = c_int::try_from(fd).map_err(|_| io::ErrorKind::Unsupported)?;
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    let fd = Fd(fd);
    // SAFETY: a descriptor of our own.
    done(unsafe { libc::ftruncate(fd.0, REGION as libc::off_t) })?;
    Ok(fd)
}

fn done(result: c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
