//! Ids of requests.

use std::sync::{Arc, Mutex, PoisonError};

use keyferry_core::{clock::Clock, id::RequestId};
use keyferry_envelope::Entropy;

/// Random bytes that are fetched at once: the generator's own cost is per question, not per byte.
const FETCHED: usize = 640;

/// Makes them.
pub struct RequestIds {
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    fetched: Mutex<Fetched>,
}

/// Random bytes, and how many of them were used. They go into ids, which everybody may see.
struct Fetched {
    bytes: [u8; FETCHED],
    used: usize,
}

impl RequestIds {
    /// Ids by this clock.
    pub fn new(clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Self {
        Self { clock, entropy, fetched: Mutex::new(Fetched { bytes: [0; FETCHED], used: FETCHED }) }
    }

    /// A new one.
    pub(super) fn make(&self) -> RequestId {
        RequestId::make(self.clock.now(), self)
    }
}

impl Entropy for RequestIds {
    fn fill(&self, buf: &mut [u8]) {
        if buf.len() > FETCHED {
            return self.entropy.fill(buf);
        }
        let mut fetched = self.fetched.lock().unwrap_or_else(PoisonError::into_inner);
        if fetched.used + buf.len() > FETCHED {
            self.entropy.fill(&mut fetched.bytes);
            fetched.used = 0;
        }
        let used = fetched.used;
        buf.copy_from_slice(&fetched.bytes[used..used + buf.len()]);
        fetched.used += buf.len();
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
            ids.fill(&mut bytes);
            assert!(bytes.windows(8).all(|window| seen.insert(window.to_vec())), "{length}");
        }
    }
}
