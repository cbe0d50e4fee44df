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

/// Cuts the rest of an input in pieces, in a way that its first two bytes say: most of them a few bytes long, some
/// empty. Answers the rest as a whole, too.
pub fn cut(input: &[u8]) -> Option<(&[u8], Vec<&[u8]>)> {
    let (how, whole) = input.split_first_chunk::<2>()?;
    let mut state = u32::from(u16::from_be_bytes(*how)) | 1 << 20;
    let (mut rest, mut pieces) = (whole, Vec::new());
    while !rest.is_empty() {
        // Xorshift (Marsaglia): all that is wanted is that the lengths differ.
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        let most = if state & 0x700 == 0 { 5000 } else { 9 };
        let (piece, after) = rest.split_at((state as usize >> 11) % most % (rest.len() + 1));
        pieces.push(piece);
        rest = after;
    }
    Some((whole, pieces))
}

/// Where `part` stands in `whole`.
pub fn find(whole: &[u8], part: &[u8]) -> Option<usize> {
    memchr::memmem::find(whole, part)
}
