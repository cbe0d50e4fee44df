//! Finds the bytes that structure JSON. Never looks into strings: the caller knows where those begin and end.

/// Bytes judged at a time; wide enough for the compiler to use vector registers.
const STRIDE: usize = 32;

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
    at + rest.iter().position(|&byte| is_structural(byte)).unwrap_or(rest.len())
}

/// `[` and `{`, and `]` and `}`, differ in one bit only.
const fn is_structural(byte: u8) -> bool {
    let folded = byte | 0x20;
    folded == b'{' || folded == b'}' || byte == b'"'
}
