//! Knows RSA keys that are as weak as those of CVE-2017-15361 (ROCA).
//!
//! Their primes are powers of 65537 modulo the product of the first primes, and so is the modulus.
//! Nothing else is: a sound modulus passes for one with a chance of one in 10^8 or less.

/// Primes for which not every number is a power of 65537, and whose share says enough together.
const PRIMES: [u32; 17] = [11, 13, 17, 19, 37, 53, 61, 71, 73, 79, 97, 103, 107, 109, 127, 151, 157];

/// Whether a modulus, big-endian, looks as if such a key was made.
pub(super) fn is_suspect(modulus: &[u8]) -> bool {
    PRIMES.iter().all(|&prime| {
        let rest = modulus.iter().fold(0, |rest, &byte| (rest * 256 + u32::from(byte)) % prime);
        powers(prime).any(|power| power == rest)
    })
}

/// The powers of 65537 modulo a prime.
fn powers(prime: u32) -> impl Iterator<Item = u32> {
    let step = 65537 % prime;
    std::iter::successors(Some(step), move |&power| (power != 1).then_some(power * step % prime))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_of_65537_are_suspect_and_others_are_not() {
        assert!(is_suspect(&[1]));
        assert!(is_suspect(&[1, 0, 1]));
        assert!(is_suspect(&[1, 0, 2, 0, 1]), "65537 squared");
        for modulus in [&[2][..], &[3], &[1, 0, 3], &[0xff; 256], &[11; 256]] {
            assert!(!is_suspect(modulus), "{modulus:?}");
        }
    }

    #[test]
    fn chance_alone_hardly_makes_a_suspect() {
        let chance: f64 =
            PRIMES.iter().map(|&prime| powers(prime).count() as f64 / f64::from(prime - 1)).product();
        assert!(chance < 1e-8, "{chance}");
    }
}
