//! Holds secret bytes in locked memory and wipes them on drop. It must never print, clone, serialise or compare them in
//! variable time.

use keyferry_secretmem::LockedBytes;
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

/// Secret bytes: in locked memory, wiped on drop; no `Debug`, no `Display`, no `Clone`, no `PartialEq`.
///
/// [`expose`](Self::expose) is the only way to the bytes, so that where they live can change without a caller noticing,
/// and so that every use of a secret is found by searching for one word.
pub struct SecretBytes(LockedBytes);

impl SecretBytes {
    /// Moves `bytes` into locked memory and wipes the whole allocation they came in, spare capacity included.
    ///
    /// What the caller copied or reallocated before is the caller's to wipe: read into a `Vec` of the right capacity, or
    /// better straight into [`init`](Self::init).
    pub fn new(mut bytes: Vec<u8>) -> Self {
        let secret = Self::copy_of(&bytes);
        bytes.zeroize();
        secret
    }

    /// Copies `bytes` into locked memory. The original is the caller's to wipe.
    pub fn copy_of(bytes: &[u8]) -> Self {
        Self(LockedBytes::copy_of(bytes))
    }

    /// Copies what came in from outside and may be anybody's, into a share of locked memory of its own.
    pub fn incoming(bytes: &[u8]) -> Self {
        Self(LockedBytes::incoming(bytes))
    }

    /// Like [`incoming`](Self::incoming), filled in place; if `fill` fails, what it wrote is wiped.
    pub fn try_incoming<E>(len: usize, fill: impl FnOnce(&mut [u8]) -> Result<(), E>) -> Result<Self, E> {
        Ok(Self(LockedBytes::try_incoming(len, fill)?))
    }

    /// Takes room for `len` bytes, all zero, and lets `fill` write over them in place, so that no second copy exists.
    pub fn init(len: usize, fill: impl FnOnce(&mut [u8])) -> Self {
        Self(LockedBytes::new(len, fill))
    }

    /// Like [`init`](Self::init); if `fill` fails, what it wrote is wiped.
    pub fn try_init<E>(len: usize, fill: impl FnOnce(&mut [u8]) -> Result<(), E>) -> Result<Self, E> {
        Ok(Self(LockedBytes::try_new(len, fill)?))
    }

    /// The bytes. Do not copy them into anything that is not wiped.
    pub fn expose(&self) -> &[u8] {
        self.0.expose()
    }

    /// Compares without a data-dependent branch. The time depends on the lengths only.
    #[must_use]
    pub fn ct_eq(&self, other: &Self) -> bool {
        self.expose().ct_eq(other.expose()).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(bytes: &[u8]) -> SecretBytes {
        SecretBytes::new(bytes.to_vec())
    }

    #[test]
    fn compares_by_content_and_length() {
        assert!(secret(b"same").ct_eq(&secret(b"same")));
        assert!(!secret(b"same").ct_eq(&secret(b"sama")));
        assert!(!secret(b"same").ct_eq(&secret(b"same ")));
        assert!(secret(b"").ct_eq(&secret(b"")));
    }

    #[test]
    fn passes_on_the_error_of_the_filler() {
        assert_eq!(SecretBytes::try_init(4, |_| Err("no")).err(), Some("no"));
    }
}
