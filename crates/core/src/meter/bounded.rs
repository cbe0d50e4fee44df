//! A short text collected from pieces. Never holds more than its size: a longer text is remembered only as too long.

/// Up to `N` bytes, or the knowledge that there were more.
#[derive(Debug)]
pub(super) struct Bounded<const N: usize> {
    bytes: [u8; N],
    len: usize,
    unreadable: bool,
}

impl<const N: usize> Default for Bounded<N> {
    fn default() -> Self {
        Self { bytes: [0; N], len: 0, unreadable: false }
    }
}

impl<const N: usize> Bounded<N> {
    pub(super) fn push(&mut self, piece: &[u8]) {
        if self.unreadable {
            return;
        }
        match self.bytes.get_mut(self.len..self.len + piece.len()) {
            Some(room) => {
                room.copy_from_slice(piece);
                self.len += piece.len();
            }
            None => self.unreadable = true,
        }
    }

    /// Gives the text up: it holds something that is not worth decoding.
    pub(super) fn spoil(&mut self) {
        self.unreadable = true;
    }

    pub(super) fn clear(&mut self) {
        self.len = 0;
        self.unreadable = false;
    }

    /// The whole text; nothing if it was too long or given up.
    pub(super) fn get(&self) -> Option<&[u8]> {
        if self.unreadable { None } else { self.bytes.get(..self.len) }
    }
}
