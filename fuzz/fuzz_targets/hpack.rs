//! Header blocks: what is read is read again from the literals it is written as, and a Huffman code has one text.
//!
//! The input is a row of blocks on one connection, each behind a byte that says how long it is.
#![no_main]

use std::sync::LazyLock;

use keyferry::fuzzing::ingress::{hpack, huffman, literals};
use libfuzzer_sys::fuzz_target;

/// The code of each byte, found by reading every code: how long it is, and its bits.
static CODES: LazyLock<Vec<(u32, u32)>> = LazyLock::new(|| {
    let mut codes = vec![(0, 0); 256];
    let mut open = vec![(0_u32, 0_u32)];
    while let Some((length, bits)) = open.pop() {
        // A code that goes on with a zero is that code and another, or none: a filling has only ones.
        let goes_on = matches!(filled(length + 1, bits << 1).as_deref(), Some([_]));
        match filled(length, bits).as_deref() {
            Some([byte]) if !goes_on => codes[usize::from(*byte)] = (length, bits),
            _ if length < 30 => open.extend([(length + 1, bits << 1), (length + 1, bits << 1 | 1)]),
            _ => {}
        }
    }
    codes
});

/// The text of so many bits, filled with ones to whole bytes.
fn filled(length: u32, bits: u32) -> Option<Vec<u8>> {
    let bytes = length.div_ceil(8) * 8;
    let filled = (u64::from(bits) << (bytes - length)) | ((1 << (bytes - length)) - 1);
    huffman(&filled.to_be_bytes()[8 - bytes as usize / 8..])
}

fn encoded(text: &[u8]) -> Vec<u8> {
    let (mut out, mut held, mut bits) = (Vec::new(), 0_u64, 0);
    for byte in text {
        let (length, code) = CODES[usize::from(*byte)];
        held = held << length | u64::from(code);
        bits += length;
        while bits >= 8 {
            bits -= 8;
            out.push((held >> bits) as u8);
        }
        held &= (1 << bits) - 1;
    }
    if bits > 0 {
        out.push((held << (8 - bits)) as u8 | ((1_u16 << (8 - bits)) - 1) as u8);
    }
    out
}

fuzz_target!(init: {
    assert!(CODES.iter().all(|(length, _)| *length > 0));
}, |data: &[u8]| {
    if let Some(text) = huffman(data) {
        assert_eq!(encoded(&text), data);
    }
    assert_eq!(huffman(&encoded(data)).as_deref(), Some(data));

    let (mut blocks, mut rest) = (Vec::new(), data);
    while let Some((&length, after)) = rest.split_first() {
        let (block, after) = after.split_at(usize::from(length).min(after.len()));
        blocks.push(block);
        rest = after;
    }
    for fields in hpack(blocks).into_iter().flatten() {
        let again = hpack([literals(&fields).as_slice()]).pop().flatten();
        assert_eq!(again, Some(fields));
    }
});
