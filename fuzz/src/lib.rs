//! What the targets share: keys and texts that are the same in every run, so that a corpus can hold the genuine ones.

use std::sync::Mutex;

use keyferry_envelope::Entropy;

/// Bytes that count up: no randomness at all.
pub struct Counting(Mutex<u8>);

impl Counting {
    /// From `start` on.
    pub const fn from(start: u8) -> Self {
        Self(Mutex::new(start))
    }
}

impl Entropy for Counting {
    fn fill(&self, buf: &mut [u8]) {
        let mut next = self.0.lock().unwrap();
        for byte in buf {
            *byte = *next;
            *next = next.wrapping_add(1);
        }
    }
}

/// With `WRITE_SEEDS=folder`, writes a genuine input there under its name. Called once, before the first input.
pub fn seed(name: &str, bytes: &[u8]) {
    if let Some(folder) = std::env::var_os("WRITE_SEEDS") {
        std::fs::write(std::path::Path::new(&folder).join(name), bytes).unwrap();
    }
}
