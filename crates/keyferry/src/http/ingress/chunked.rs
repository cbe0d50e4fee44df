//! The chunked coding (RFC 9112 §7.1), followed byte for byte and checked strictly.
//!
//! Trailers are refused: nothing in these APIs uses them, and each is a second chance to smuggle.

use super::Reason;
use super::fields::is_token;

/// Longest extension of one chunk.
const MAX_EXTENSION: usize = 256;

/// Where in the coding the next byte falls.
#[derive(Clone, Copy, Debug)]
pub(super) enum Chunked {
    /// In a size; so many digits seen.
    Size { value: u64, digits: u8 },
    /// In an extension; so many bytes seen.
    Extension { value: u64, seen: usize },
    /// After the CR of a size line.
    SizeLf { value: u64 },
    /// In data; so many bytes to come.
    Data { left: u64 },
    /// After data: its CR.
    DataCr,
    /// After data: its LF.
    DataLf,
    /// After the last size line: the CR of the empty line.
    EndCr,
    /// The LF of the empty line.
    EndLf,
}

const WRONG: Reason = Reason("The chunked body is malformed.");

impl Chunked {
    pub(super) const START: Self = Self::Size { value: 0, digits: 0 };

    /// Follows the input; answers how many bytes belong to the body, and whether it ends with them.
    pub(super) fn follow(&mut self, input: &[u8]) -> Result<(usize, bool), Reason> {
        let mut at = 0;
        while at < input.len() {
            if let Self::Data { left } = self {
                let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len() - at);
                at += taken;
                *left -= taken as u64;
                if *left == 0 {
                    *self = Self::DataCr;
                }
                continue;
            }
            let byte = input[at];
            at += 1;
            if matches!((&*self, byte), (Self::EndLf, b'\n')) {
                return Ok((at, true));
            }
            *self = self.step(byte)?;
        }
        Ok((at, false))
    }

    fn step(self, byte: u8) -> Result<Self, Reason> {
        Ok(match (self, byte) {
            (Self::Size { value, digits }, _) if byte.is_ascii_hexdigit() => {
                if digits >= 15 {
                    return Err(WRONG);
                }
                let digit = char::from(byte).to_digit(16).ok_or(WRONG)?;
                Self::Size { value: value << 4 | u64::from(digit), digits: digits + 1 }
            }
            (Self::Size { value, digits: 1.. }, b'\r') => Self::SizeLf { value },
            (Self::Size { value, digits: 1.. }, b';') => Self::Extension { value, seen: 0 },
            (Self::Extension { value, seen }, b'\r') if seen > 0 => Self::SizeLf { value },
            (Self::Extension { value, seen }, _) if is_token(byte) || matches!(byte, b'=' | b';') => {
                if seen >= MAX_EXTENSION {
                    return Err(WRONG);
                }
                Self::Extension { value, seen: seen + 1 }
            }
            (Self::SizeLf { value: 0 }, b'\n') => Self::EndCr,
            (Self::SizeLf { value }, b'\n') => Self::Data { left: value },
            (Self::DataCr, b'\r') => Self::DataLf,
            (Self::DataLf, b'\n') => Self::START,
            (Self::EndCr, b'\r') => Self::EndLf,
            (Self::EndCr, _) => return Err(Reason("Trailers are not accepted.")),
            _ => return Err(WRONG),
        })
    }
}
