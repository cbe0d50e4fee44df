//! Finds the bytes that structure JSON. Never looks into strings: the caller knows where those begin and end.

/// Bytes judged at a time; wide enough for the compiler to use vector registers.
const STRIDE: usize = 32;
/// Bytes of a word, which is judged at once where a stride has something in it.
const WORD: usize = size_of::<u64>();

/// Index of the next quote, bracket or brace, or the length if there is none.
///
/// Long arrays of numbers (embeddings) are what this is for: they are most of some answers and hold nothing to read.
pub(crate) fn next_structural(bytes: &[u8]) -> usize {
    let mut at = 0;
    for stride in bytes.chunks_exact(STRIDE) {
        if stride.iter().fold(false, |any, &byte| any | is_structural(byte)) {
            break;
        }
        at += STRIDE;
    }
    let rest = bytes.get(at..).unwrap_or_default();
    let (words, last) = rest.as_chunks::<WORD>();
    for word in words {
        let found = structural_in(u64::from_le_bytes(*word));
        if found != 0 {
            return at + found.trailing_zeros() as usize / 8;
        }
        at += WORD;
    }
    at + last.iter().position(|&byte| is_structural(byte)).unwrap_or(last.len())
}

/// The high bit of each byte of a word that is structural. Bytes behind the first of them may be taken for one too.
const fn structural_in(word: u64) -> u64 {
    let folded = word | repeated(0x20);
    zeros(folded ^ repeated(b'{')) | zeros(folded ^ repeated(b'}')) | zeros(word ^ repeated(b'"'))
}

/// The high bit of each byte that is zero, and maybe of bytes behind one (Warren, Hacker's Delight §6-1).
const fn zeros(word: u64) -> u64 {
    word.wrapping_sub(repeated(1)) & !word & repeated(0x80)
}

const fn repeated(byte: u8) -> u64 {
    u64::from_le_bytes([byte; WORD])
}

/// `[` and `{`, and `]` and `}`, differ in one bit only.
const fn is_structural(byte: u8) -> bool {
    let folded = byte | 0x20;
    folded == b'{' || folded == b'}' || byte == b'"'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_one_is_found_wherever_it_stands_and_whatever_stands_before_it() {
        for length in 0..80 {
            for filler in 0..=255u8 {
                let text = vec![filler; length];
                let first = if is_structural(filler) { 0 } else { length };
                assert_eq!(next_structural(&text), first.min(length), "{filler} {length}");
            }
            for at in 0..length {
                for byte in *b"\"{}[]" {
                    let mut text = vec![b'!'; length];
                    text[at] = byte;
                    assert_eq!(next_structural(&text), at);
                    // What differs from it in one bit, right before it.
                    if at > 0 {
                        for bit in (0..8).filter(|bit| !is_structural(byte ^ 1 << bit)) {
                            text[at - 1] = byte ^ 1 << bit;
                            assert_eq!(next_structural(&text), at);
                        }
                    }
                }
            }
        }
    }
}
