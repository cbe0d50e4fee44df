//! The Huffman code of HPACK (RFC 7541 §5.2 and appendix B), read only.
//!
//! The code is canonical: how long each symbol's code is says what it is.

use super::hpack::Malformed;

/// Bits of the code of each byte, and of the symbol that ends a text and must not be in it.
#[rustfmt::skip]
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28,
    28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6,
    6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8,
    7, 8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7,
    7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23,
    24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22,
    23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25,
    26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24,
    20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27,
    27, 27, 27, 26, 30,
];
const LONGEST: usize = 30;
const END: u16 = 256;

/// For each length of a code: the first of them, how many there are, and where their symbols begin.
struct Code {
    first: [u32; LONGEST + 1],
    count: [u32; LONGEST + 1],
    begin: [u16; LONGEST + 1],
    symbols: [u16; 257],
}

static CODE: Code = canonical();

const fn canonical() -> Code {
    let mut code =
        Code { first: [0; LONGEST + 1], count: [0; LONGEST + 1], begin: [0; LONGEST + 1], symbols: [0; 257] };
    let (mut next, mut placed, mut length) = (0, 0, 1);
    while length <= LONGEST {
        next <<= 1;
        code.first[length] = next;
        code.begin[length] = placed as u16;
        let mut symbol = 0;
        while symbol < LENGTHS.len() {
            if LENGTHS[symbol] as usize == length {
                code.symbols[placed] = symbol as u16;
                placed += 1;
                code.count[length] += 1;
                next += 1;
            }
            symbol += 1;
        }
        length += 1;
    }
    code
}

/// Decodes a text.
pub(super) fn decode(text: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    // The shortest code has five bits: what is reserved here is never outgrown and moved.
    out.reserve(text.len() * 8 / 5 + 1);
    let (mut bits, mut length) = (0_u32, 0);
    for byte in text {
        for at in (0..8).rev() {
            bits = bits << 1 | u32::from(byte >> at & 1);
            length += 1;
            if length > LONGEST {
                return Err(Malformed);
            }
            let among = bits.wrapping_sub(CODE.first[length]);
            if among < CODE.count[length] {
                let symbol = CODE.symbols[usize::from(CODE.begin[length]) + among as usize];
                if symbol == END {
                    return Err(Malformed);
                }
                out.push(symbol as u8);
                (bits, length) = (0, 0);
            }
        }
    }
    // The rest of the last byte is filled with ones.
    if length < 8 && bits == (1 << length) - 1 { Ok(()) } else { Err(Malformed) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(hex: &str) -> Result<Vec<u8>, Malformed> {
        let mut out = Vec::new();
        decode(&data_encoding::HEXLOWER.decode(hex.as_bytes()).expect("hex"), &mut out).map(|()| out)
    }

    #[test]
    fn the_examples_of_the_standard_decode() {
        // RFC 7541, appendices C.4 and C.6.
        for (hex, text) in [
            ("f1e3c2e5f23a6ba0ab90f4ff", "www.example.com"),
            ("a8eb10649cbf", "no-cache"),
            ("25a849e95ba97d7f", "custom-key"),
            ("25a849e95bb8e8b4bf", "custom-value"),
            ("6402", "302"),
            ("aec3771a4b", "private"),
            ("d07abe941054d444a8200595040b8166e082a62d1bff", "Mon, 21 Oct 2013 20:13:21 GMT"),
            ("9d29ad171863c78f0b97c8e9ae82ae43d3", "https://www.example.com"),
            (
                "94e7821dd7f2e6c7b335dfdfcd5b3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007",
                "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
            ),
            ("", ""),
        ] {
            assert_eq!(decoded(hex), Ok(text.as_bytes().to_vec()), "{text}");
        }
    }

    #[test]
    fn every_byte_has_its_code() {
        let mut all = Vec::new();
        for (at, length) in LENGTHS.iter().enumerate() {
            let length = usize::from(*length);
            let among = (0..usize::try_from(CODE.count[length]).expect("few"))
                .find(|among| usize::from(CODE.symbols[usize::from(CODE.begin[length]) + among]) == at)
                .expect("a code");
            all.push((CODE.first[length] + among as u32) << (32 - length));
        }
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 257, "two symbols share a code");
        assert_eq!(all.last(), Some(&0xffff_fffc), "the code is not complete");
    }

    #[test]
    fn an_end_in_the_text_and_a_wrong_filling_are_malformed() {
        for hex in ["ffffffff", "f1e3c2e5f23a6ba0ab90f4ffff", "00", "18", "1e"] {
            assert_eq!(decoded(hex), Err(Malformed), "{hex}");
        }
    }
}
