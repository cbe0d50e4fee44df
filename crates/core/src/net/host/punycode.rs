//! Decodes Punycode (RFC 3492) to validate A-labels; its result must never be used as a name.
//!
//! Decoding is injective: the state of the decoder only moves forward, and a variable-length integer has one
//! spelling. So two labels that decode alike are the same label, and no second encoding needs comparing.

use std::slice;

const BASE: u32 = 36;
const T_MIN: u32 = 1;
const T_MAX: u32 = 26;
const SKEW: u32 = 38;
const DAMP: u32 = 700;
const INITIAL_BIAS: u32 = 72;
const INITIAL_N: u32 = 128;

/// The decoded label, or `None` for text that no encoder writes.
pub(super) fn decode(encoded: &str) -> Option<Vec<char>> {
    let (basic, extended) = match encoded.rsplit_once('-') {
        // An encoder writes the delimiter only after at least one basic code point.
        Some(("", _)) => return None,
        Some(parts) => parts,
        None => ("", encoded),
    };
    let mut output: Vec<char> = basic.chars().collect();
    let mut digits = extended.as_bytes().iter();
    let (mut n, mut i, mut bias) = (INITIAL_N, 0_u32, INITIAL_BIAS);
    while !digits.as_slice().is_empty() {
        let before = i;
        i = i.checked_add(variable_length_integer(&mut digits, bias)?)?;
        let length = u32::try_from(output.len()).ok()?.checked_add(1)?;
        bias = adapt(i - before, length, before == 0);
        n = n.checked_add(i / length)?;
        i %= length;
        output.insert(usize::try_from(i).ok()?, char::from_u32(n)?);
        i += 1;
    }
    Some(output)
}

/// RFC 3492 §3.3, overflow checked as §6.4 demands.
fn variable_length_integer(digits: &mut slice::Iter<'_, u8>, bias: u32) -> Option<u32> {
    let (mut value, mut weight, mut k) = (0_u32, 1_u32, BASE);
    loop {
        let digit = digit(*digits.next()?)?;
        value = value.checked_add(digit.checked_mul(weight)?)?;
        let threshold = k.saturating_sub(bias).clamp(T_MIN, T_MAX);
        if digit < threshold {
            return Some(value);
        }
        weight = weight.checked_mul(BASE - threshold)?;
        k = k.checked_add(BASE)?;
    }
}

/// RFC 3492 §5; upper case has been refused before.
fn digit(byte: u8) -> Option<u32> {
    match byte {
        b'a'..=b'z' => Some(u32::from(byte - b'a')),
        b'0'..=b'9' => Some(u32::from(byte - b'0') + 26),
        _ => None,
    }
}

/// RFC 3492 §6.1.
fn adapt(delta: u32, length: u32, first_time: bool) -> u32 {
    let mut delta = if first_time { delta / DAMP } else { delta / 2 };
    delta += delta / length;
    let mut k = 0;
    while delta > (BASE - T_MIN) * T_MAX / 2 {
        delta /= BASE - T_MIN;
        k += BASE;
    }
    k + (BASE - T_MIN + 1) * delta / (delta + SKEW)
}

#[cfg(test)]
mod tests {
    use super::decode;

    #[test]
    fn decodes_the_samples_of_rfc_3492() {
        let samples = [
            ("ihqwcrb4cv8a8dqg056pqjye", "他们为什么不说中文"),
            ("n8jok5ay5dzabd5bym9f0cm5685rrjetr6pdxa", "なぜみんな日本語を話してくれないのか"),
            ("majikoi5-783gue6qz075azm5e", "majiでkoiする5秒前"),
            ("mnchen-3ya", "münchen"),
            ("bcher-kva", "bücher"),
            ("p1ai", "рф"),
        ];
        for (encoded, decoded) in samples {
            assert_eq!(decode(encoded), Some(decoded.chars().collect()), "{encoded}");
        }
    }

    #[test]
    fn refuses_what_no_encoder_writes() {
        for text in ["-abc", "-", "a-\u{e9}", "99999999", "mnchen-3y", "a b", "a.b"] {
            assert_eq!(decode(text), None, "{text}");
        }
    }
}
