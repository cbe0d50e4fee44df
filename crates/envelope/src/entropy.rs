//! Names the one source of randomness. It must never fall back to a weaker source, nor return without having filled the
//! whole buffer.

use aws_lc_rs::rand;

/// A source of cryptographically secure random bytes. Tests supply a fixed one to freeze the format.
pub trait Entropy: Send + Sync {
    /// Fills all of `buf`.
    ///
    /// Infallible on purpose: an implementation that cannot deliver must panic. A caller that could go on without
    /// randomness would one day do so.
    fn fill(&self, buf: &mut [u8]);
}

/// The random generator of aws-lc, seeded by the operating system.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    /// # Panics
    ///
    /// If the operating system delivers no randomness.
    fn fill(&self, buf: &mut [u8]) {
        rand::fill(buf).expect("the system's random generator works");
    }
}

/// Draws `N` random bytes that need no secrecy: a salt or a nonce.
pub(crate) fn draw<const N: usize>(entropy: &dyn Entropy) -> [u8; N] {
    let mut bytes = [0; N];
    entropy.fill(&mut bytes);
    bytes
}
