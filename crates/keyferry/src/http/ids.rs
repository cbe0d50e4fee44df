//! Ids of requests.

use std::sync::{Arc, Mutex, PoisonError};

use keyferry_core::{clock::Clock, id::RequestId};
use keyferry_envelope::Entropy;

/// Random bytes that are fetched at once: the generator's own cost is per question, not per byte.
const FETCHED: usize = 640;

/// Makes them.
pub struct RequestIds {
    clock: Arc<dyn Clock>,
    entropy: Fetched,
}

impl RequestIds {
    /// Ids by this clock.
    pub fn new(clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Self {
        let ready = Mutex::new(Ready { bytes: [0; FETCHED], used: FETCHED });
        Self { clock, entropy: Fetched { from: entropy, ready } }
    }

    /// A new one.
    pub(super) fn make(&self) -> RequestId {
        RequestId::make(self.clock.now(), &self.entropy)
    }
}

/// Randomness that is fetched ahead. It goes into ids, which everybody may see: for a secret it must not be used.
struct Fetched {
    from: Arc<dyn Entropy>,
    ready: Mutex<Ready>,
}

/// Random bytes, and how many of them were used.
struct Ready {
    bytes: [u8; FETCHED],
    used: usize,
}

impl Entropy for Fetched {
    fn fill(&self, buf: &mut [u8]) {
        let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        for part in buf.chunks_mut(FETCHED) {
            if ready.used + part.len() > FETCHED {
                self.from.fill(&mut ready.bytes);
                ready.used = 0;
            }
            let used = ready.used;
            part.copy_from_slice(&ready.bytes[used..used + part.len()]);
            ready.used += part.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use keyferry_core::clock::SystemClock;
    use keyferry_envelope::SystemEntropy;

    use super::*;

    #[test]
    fn no_two_are_the_same() {
        let ids = RequestIds::new(Arc::new(SystemClock), Arc::new(SystemEntropy));
        let made: HashSet<String> = (0..1000).map(|_| ids.make().as_str().to_owned()).collect();
        assert_eq!(made.len(), 1000);
    }

    #[test]
    fn random_bytes_are_used_once_and_all_are_random() {
        let ids = RequestIds::new(Arc::new(SystemClock), Arc::new(SystemEntropy));
        let mut seen = HashSet::new();
        for length in [10, 10, 600, 16, 640, 1000, 16] {
            let mut bytes = vec![0; length];
            ids.entropy.fill(&mut bytes);
            assert!(bytes.windows(8).all(|window| seen.insert(window.to_vec())), "{length}");
        }
    }
}
