//! Holds one secret in locked memory and wipes it on drop. It must never print, clone or serialise it, nor let it be
//! written to once it is filled.

use crate::pool::{Pool, incoming, own};
use crate::region::Slot;
use crate::wipe::wipe;

/// Secret bytes: locked where the kernel allows it, wiped on drop; no `Debug`, no `Clone`, no `Deref`.
pub struct LockedBytes(Place);

enum Place {
    /// `None` only while it is being dropped.
    Slot(Option<Slot>, &'static Pool),
    Heap(Box<[u8]>),
}

impl LockedBytes {
    /// Takes room for `len` bytes, all zero, and lets `fill` write over them in place, so that no second copy exists.
    pub fn new(len: usize, fill: impl FnOnce(&mut [u8])) -> Self {
        let mut secret = Self::zeros(len, own());
        fill(secret.bytes_mut());
        secret
    }

    /// Like [`new`](Self::new); if `fill` fails, what it wrote is wiped.
    pub fn try_new<E>(len: usize, fill: impl FnOnce(&mut [u8]) -> Result<(), E>) -> Result<Self, E> {
        let mut secret = Self::zeros(len, own());
        fill(secret.bytes_mut())?;
        Ok(secret)
    }

    /// Takes a copy of `bytes`. The original is the caller's to wipe.
    pub fn copy_of(bytes: &[u8]) -> Self {
        Self::new(bytes.len(), |copy| copy.copy_from_slice(bytes))
    }

    /// Takes a copy of what came in from outside and may be anybody's: it has a share of the locked memory of its own, and
    /// lies on the heap when that is used up, so that nobody can take the place of the secrets that are kept.
    pub fn incoming(bytes: &[u8]) -> Self {
        let mut secret = Self::zeros(bytes.len(), incoming());
        secret.bytes_mut().copy_from_slice(bytes);
        secret
    }

    /// Like [`incoming`](Self::incoming), filled in place; if `fill` fails, what it wrote is wiped.
    pub fn try_incoming<E>(len: usize, fill: impl FnOnce(&mut [u8]) -> Result<(), E>) -> Result<Self, E> {
        let mut secret = Self::zeros(len, incoming());
        fill(secret.bytes_mut())?;
        Ok(secret)
    }

    fn zeros(len: usize, pool: &'static Pool) -> Self {
        if len == 0 {
            return Self(Place::Heap(Box::default()));
        }
        match pool.take(len) {
            Some(slot) => Self(Place::Slot(Some(slot), pool)),
            None => Self(Place::Heap(vec![0; len].into_boxed_slice())),
        }
    }

    /// The bytes. Do not copy them into anything that is not wiped.
    pub fn expose(&self) -> &[u8] {
        match &self.0 {
            Place::Slot(slot, _) => slot.as_ref().map_or(&[], Slot::bytes),
            Place::Heap(bytes) => bytes,
        }
    }

    /// How many bytes.
    pub fn len(&self) -> usize {
        self.expose().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Only while it is being filled: afterwards a secret does not change.
    fn bytes_mut(&mut self) -> &mut [u8] {
        match &mut self.0 {
            Place::Slot(slot, _) => slot.as_mut().map_or(&mut [], Slot::bytes_mut),
            Place::Heap(bytes) => bytes,
        }
    }
}

impl Drop for LockedBytes {
    fn drop(&mut self) {
        match &mut self.0 {
            Place::Slot(slot, pool) => {
                if let Some(slot) = slot.take() {
                    pool.give_back(slot);
                }
            }
            Place::Heap(bytes) => wipe(bytes),
        }
    }
}

#[cfg(test)]
mod tests;
