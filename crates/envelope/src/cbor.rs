//! Encodes flat arrays as deterministic CBOR (RFC 8949 §4.2.1). It must never join fields without their lengths, which
//! would let two different lists have one encoding.
//!
//! Written here and not with a library, because a stored key is opened for every request: a tree of values for each of
//! its associated data would cost more than the cryptography. The tests compare every byte with the library's.

/// One item of an array.
#[derive(Clone, Copy)]
pub(crate) enum Item<'a> {
    Text(&'a str),
    Unsigned(u64),
}

/// Bytes of the longest head.
pub(crate) const HEAD: usize = 9;

/// Major types (RFC 8949 §3.1), in their place in the first byte.
const UNSIGNED: u8 = 0 << 5;
const BYTES: u8 = 2 << 5;
const TEXT: u8 = 3 << 5;
const ARRAY: u8 = 4 << 5;

/// What stands in the rest of the first byte when the argument follows in 1, 2, 4 or 8 bytes.
const FOLLOWS: [u8; 4] = [0x18, 0x19, 0x1a, 0x1b];

/// The encoding of an array: every item carries its type and length, integers and lengths take their shortest form.
///
/// Different lists of text, bytes and unsigned integers therefore have different encodings.
pub(crate) fn array(items: &[Item<'_>]) -> Vec<u8> {
    let room = items.iter().map(Item::room).sum::<usize>();
    let mut encoded = Vec::with_capacity(HEAD + room);
    head(&mut encoded, ARRAY, items.len() as u64);
    for item in items {
        match *item {
            Item::Text(text) => sized(&mut encoded, TEXT, text.as_bytes()),
            Item::Unsigned(number) => head(&mut encoded, UNSIGNED, number),
        }
    }
    encoded
}

impl Item<'_> {
    /// Bytes it takes at most.
    const fn room(&self) -> usize {
        HEAD + match self {
            Self::Text(text) => text.len(),
            Self::Unsigned(_) => 0,
        }
    }
}

/// What stands before the bytes of a byte string of this length, for whoever has the bytes elsewhere.
pub(crate) fn bytes_head(len: usize) -> Head {
    Head::of(BYTES, len as u64)
}

/// Appends a byte string.
pub(crate) fn bytes(to: &mut Vec<u8>, value: &[u8]) {
    sized(to, BYTES, value);
}

/// The byte string at the end of something: its bytes, if its length is in its shortest form and nothing follows.
pub(crate) fn last_bytes(encoded: &[u8]) -> Option<&[u8]> {
    let head_len = match encoded.first()? & 0x1f {
        0..=23 => 1,
        24 => 2,
        25 => 3,
        _ => return None,
    };
    let (_, value) = encoded.split_at_checked(head_len)?;
    let expected = bytes_head(value.len());
    (encoded[..head_len] == *expected.as_bytes()).then_some(value)
}

fn sized(to: &mut Vec<u8>, major: u8, value: &[u8]) {
    head(to, major, value.len() as u64);
    to.extend_from_slice(value);
}

fn head(to: &mut Vec<u8>, major: u8, argument: u64) {
    match argument {
        0..24 => to.push(major | argument as u8),
        _ => to.extend_from_slice(Head::of(major, argument).as_bytes()),
    }
}

/// Type and argument (RFC 8949 §3), the argument in as few bytes as it needs.
pub(crate) struct Head {
    bytes: [u8; HEAD],
    len: usize,
}

impl Head {
    fn of(major: u8, argument: u64) -> Self {
        let mut bytes = [0; HEAD];
        if argument < 24 {
            bytes[0] = major | argument as u8;
            return Self { bytes, len: 1 };
        }
        let power = match argument {
            0..0x100 => 0,
            0x100..0x1_0000 => 1,
            0x1_0000..0x1_0000_0000 => 2,
            _ => 3,
        };
        let follow = 1 << power;
        bytes[0] = major | FOLLOWS[power];
        // Its last bytes, to the front.
        bytes[1..].copy_from_slice(&(argument << (64 - 8 * follow)).to_be_bytes());
        Self { bytes, len: 1 + follow }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

#[cfg(test)]
mod tests {
    use coset::{CborSerializable, cbor::Value};
    use proptest::prelude::*;

    use super::*;

    fn theirs(items: &[Item<'_>]) -> Vec<u8> {
        let value = |item: &Item<'_>| match *item {
            Item::Text(text) => Value::Text(text.to_owned()),
            Item::Unsigned(number) => Value::from(number),
        };
        Value::Array(items.iter().map(value).collect()).to_vec().expect("encodes")
    }

    /// Around each length and number at which the head grows.
    fn around_the_borders() -> impl Strategy<Value = u64> {
        let border = prop::sample::select(vec![0, 24, 0x100, 0x1_0000, 0x1_0000_0000, u64::MAX]);
        (border, -2_i64..3).prop_map(|(border, by)| border.saturating_add_signed(by))
    }

    proptest! {
        #[test]
        fn arrays_are_encoded_as_the_library_encodes_them(
            texts in prop::collection::vec("[a\u{e9}]{0,40}", 0..30),
            numbers in prop::collection::vec(around_the_borders(), 0..3),
            len in prop_oneof![0..300_usize, 65_530..65_540_usize],
        ) {
            let long = "a".repeat(len);
            let mut items: Vec<_> = texts.iter().map(|text| Item::Text(text)).collect();
            items.extend(numbers.iter().map(|&number| Item::Unsigned(number)));
            items.push(Item::Text(&long));
            prop_assert_eq!(array(&items), theirs(&items));
        }

        #[test]
        fn the_last_bytes_are_read_in_one_spelling(len in 0..400_usize, other in prop::collection::vec(any::<u8>(), 0..30)) {
            let blob = vec![7; len];
            let mut encoded = Vec::new();
            bytes(&mut encoded, &blob);
            prop_assert_eq!(&encoded, &Value::Bytes(blob.clone()).to_vec().expect("encodes"));
            prop_assert_eq!(last_bytes(&encoded), Some(&blob[..]));
            encoded.push(0);
            prop_assert_eq!(last_bytes(&encoded), None);
            if let Some(value) = last_bytes(&other) {
                prop_assert_eq!(Value::Bytes(value.to_vec()).to_vec().expect("encodes"), other);
            }
        }
    }
}
