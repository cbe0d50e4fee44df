//! Remembers the keys of records that one KEK has opened. It must never give a key for anything but exactly what that key
//! was derived from.
//!
//! A stored key is opened for every request, and nearly all of that is finding the key of its record: the DEK is unwrapped,
//! and two derivations are done on the way. What they give depends on nothing but the KEK, the wrapped DEK, the context,
//! and the salt of the record; and the commitment that was checked is part of the record. So it is remembered under all of
//! these, as they are, and compared byte by byte: whatever was changed, moved or rotated is not found here, and is opened or
//! refused from the beginning.
//!
//! This gives away nothing: the keys lie in locked memory beside the KEK, which opens all of them and more, and are gone with it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::hazmat::KEY_LEN;
use crate::layer::LayerKey;
use crate::wire::Protected;

/// How many one KEK remembers. A tenant calls few providers.
const MOST: usize = 8;

/// What the key of a record is derived from, beside the KEK.
#[derive(Clone, Copy)]
pub(crate) struct Origin<'a> {
    /// The associated data of the record: its context.
    pub(crate) aad: &'a [u8],
    /// The DEK under the KEK.
    pub(crate) wrapped_dek: &'a [u8],
    /// Salt and commitment of the record.
    pub(crate) protected: &'a Protected<'a>,
}

/// The keys of records under one KEK, the one that was used last at the end.
#[derive(Default)]
pub(crate) struct RecordKeys(Mutex<Vec<Remembered>>);

struct Remembered {
    aad: Vec<u8>,
    wrapped_dek: Vec<u8>,
    salt: [u8; KEY_LEN],
    commitment: [u8; KEY_LEN],
    key: Arc<LayerKey>,
}

impl Remembered {
    fn is_of(&self, origin: &Origin<'_>) -> bool {
        self.salt == *origin.protected.salt
            && self.commitment == *origin.protected.commitment
            && self.wrapped_dek == origin.wrapped_dek
            && self.aad == origin.aad
    }
}

impl RecordKeys {
    /// The key that was derived from this before.
    pub(crate) fn find(&self, origin: &Origin<'_>) -> Option<Arc<LayerKey>> {
        let mut keys = self.lock();
        let at = keys.iter().position(|remembered| remembered.is_of(origin))?;
        // To the end: it was used last.
        keys[at..].rotate_left(1);
        keys.last().map(|found| Arc::clone(&found.key))
    }

    /// Remembers the key that was derived from this.
    pub(crate) fn remember(&self, origin: &Origin<'_>, key: LayerKey) -> Arc<LayerKey> {
        let key = Arc::new(key);
        let remembered = Remembered {
            aad: origin.aad.to_vec(),
            wrapped_dek: origin.wrapped_dek.to_vec(),
            salt: *origin.protected.salt,
            commitment: *origin.protected.commitment,
            key: Arc::clone(&key),
        };
        let mut keys = self.lock();
        // Two may have derived it at once.
        keys.retain(|other| !other.is_of(origin));
        if keys.len() == MOST {
            keys.remove(0);
        }
        keys.push(remembered);
        key
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Remembered>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::SecretBytes;

    const PROTECTED: Protected<'_> = Protected { salt: &[1; 32], commitment: &[2; 32] };
    const ORIGIN: Origin<'_> = Origin { aad: b"context", wrapped_dek: b"wrapped", protected: &PROTECTED };

    fn remember(keys: &RecordKeys, origin: &Origin<'_>, byte: u8) {
        keys.remember(origin, LayerKey::of_bytes(SecretBytes::new(vec![byte; 32])));
    }

    /// The first byte of a key that is remembered.
    fn found(keys: &RecordKeys, origin: &Origin<'_>) -> Option<u8> {
        keys.find(origin).map(|key| key.bytes().expose()[0])
    }

    #[test]
    fn a_key_serves_again_for_what_it_was_derived_from_and_for_nothing_else() {
        let keys = RecordKeys::default();
        assert_eq!(found(&keys, &ORIGIN), None);
        remember(&keys, &ORIGIN, 7);
        assert_eq!(found(&keys, &ORIGIN), Some(7));
        let salted = Protected { salt: &[3; 32], ..PROTECTED };
        let committed = Protected { commitment: &[3; 32], ..PROTECTED };
        for other in [
            Origin { aad: b"contexs", ..ORIGIN },
            Origin { aad: b"contex", ..ORIGIN },
            Origin { aad: b"", ..ORIGIN },
            Origin { wrapped_dek: b"wrappee", ..ORIGIN },
            Origin { wrapped_dek: b"wrapped ", ..ORIGIN },
            Origin { aad: b"contextw", wrapped_dek: b"rapped", ..ORIGIN },
            Origin { protected: &salted, ..ORIGIN },
            Origin { protected: &committed, ..ORIGIN },
        ] {
            assert_eq!(found(&keys, &other), None);
        }
    }

    #[test]
    fn what_two_derived_at_once_is_remembered_once() {
        let keys = RecordKeys::default();
        remember(&keys, &ORIGIN, 7);
        remember(&keys, &ORIGIN, 7);
        assert_eq!(keys.lock().len(), 1);
    }

    #[test]
    fn no_more_than_the_limit_are_remembered_and_what_was_not_used_for_longest_makes_room() {
        let keys = RecordKeys::default();
        let names: Vec<Vec<u8>> = (0..=MOST).map(|number| vec![number as u8; 4]).collect();
        let origin = |number: usize| Origin { aad: &names[number], ..ORIGIN };
        for number in 0..MOST {
            remember(&keys, &origin(number), number as u8);
        }
        assert_eq!(found(&keys, &origin(0)), Some(0));
        remember(&keys, &origin(MOST), MOST as u8);
        assert_eq!(keys.lock().len(), MOST);
        assert_eq!(found(&keys, &origin(1)), None);
        for number in (0..=MOST).filter(|number| *number != 1) {
            assert_eq!(found(&keys, &origin(number)), Some(number as u8));
        }
    }
}
