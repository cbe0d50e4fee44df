//! Decides whether a label is well formed and what it looks like; it must never judge a name by its neighbours' policy.

use super::{HostRefused, punycode};

const MAX_BYTES: usize = 63;

/// Judges a label of lower-case letters, digits and hyphens (RFC 5890 §2.3.1).
pub(super) fn check(label: &str) -> Result<(), HostRefused> {
    if label.is_empty() {
        return Err(HostRefused::EmptyLabel);
    }
    if label.len() > MAX_BYTES {
        return Err(HostRefused::LabelTooLong);
    }
    if label.starts_with('-') || label.ends_with('-') {
        return Err(HostRefused::Hyphen);
    }
    match label.strip_prefix("xn--") {
        Some(encoded) if !is_a_label(encoded) => Err(HostRefused::InvalidALabel),
        None if label.get(2..4) == Some("--") => Err(HostRefused::ReservedLabel),
        _ => Ok(()),
    }
}

/// Whether the label alone makes a URL parser read the host as IPv4 (WHATWG URL, "ends in a number").
pub(super) fn is_number(label: &str) -> bool {
    let decimal_or_octal = !label.is_empty() && label.bytes().all(|b| b.is_ascii_digit());
    let hexadecimal =
        label.strip_prefix("0x").is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
    decimal_or_octal || hexadecimal
}

/// Whether a well-formed label can be a top-level domain: letters only, or an A-label (RFC 3696 §2).
pub(super) fn is_top_level(label: &str) -> bool {
    label.starts_with("xn--") || (label.len() >= 2 && label.bytes().all(|b| b.is_ascii_lowercase()))
}

/// Whether four labels in a row, or four parts of one label, spell an IPv4 address in decimal.
///
/// Services with wildcard DNS come and go; the shape of the names they serve stays.
pub(super) fn embed_ipv4(labels: &[&str]) -> bool {
    spells_ipv4(labels) || labels.iter().any(|label| spells_ipv4(&label.split('-').collect::<Vec<_>>()))
}

fn spells_ipv4(parts: &[&str]) -> bool {
    let octet = |part: &&str| {
        part.len() <= 3 && part.bytes().all(|b| b.is_ascii_digit()) && part.parse::<u8>().is_ok()
    };
    parts.windows(4).any(|four| four.iter().all(octet))
}

/// Whether the part after `xn--` decodes to a label that IDNA could have encoded (RFC 5891 §4.2).
///
/// Stricter than RFC 5892 where a table would be needed to be exact: scripts that need joiners or marks outside the
/// alphabetic class are refused. A provider loses nothing, and no decoded text is ever used.
fn is_a_label(encoded: &str) -> bool {
    let Some(decoded) = punycode::decode(encoded) else {
        return false;
    };
    // A label that decodes to ASCII is a second spelling of that label (CVE-2024-12224).
    let encodes_something = decoded.iter().any(|c| !c.is_ascii());
    let hyphen_at_edge = decoded.first() == Some(&'-') || decoded.last() == Some(&'-');
    let hyphens_inside = decoded.get(2..4) == Some(&['-', '-']);
    encodes_something && !hyphen_at_edge && !hyphens_inside && decoded.iter().copied().all(is_label_char)
}

fn is_label_char(c: char) -> bool {
    let letter_or_digit = c == '-' || (c.is_alphanumeric() && !c.is_uppercase());
    letter_or_digit && !COMPATIBILITY.iter().any(|&(first, last)| (first..=last).contains(&c))
}

/// Blocks whose letters and digits are drawn variants of others, which IDNA maps away (RFC 5892 §2.2, "Unstable").
const COMPATIBILITY: &[(char, char)] = &[
    ('\u{AA}', '\u{BE}'),       // ordinals, superscript digits, fractions
    ('\u{2B0}', '\u{2FF}'),     // spacing modifier letters
    ('\u{1D2C}', '\u{1D6A}'),   // phonetic modifier letters
    ('\u{1D9B}', '\u{1DBF}'),   // phonetic modifier letters, continued
    ('\u{2070}', '\u{209F}'),   // superscripts and subscripts
    ('\u{2100}', '\u{218F}'),   // letter-like symbols, number forms
    ('\u{2460}', '\u{24FF}'),   // enclosed alphanumerics
    ('\u{2776}', '\u{2793}'),   // circled digits
    ('\u{3131}', '\u{319F}'),   // Hangul compatibility letters, Kanbun
    ('\u{3200}', '\u{33FF}'),   // enclosed and squared CJK
    ('\u{F900}', '\u{FAFF}'),   // CJK compatibility ideographs
    ('\u{FB00}', '\u{FDFF}'),   // ligatures, Arabic presentation forms
    ('\u{FE70}', '\u{FFEF}'),   // Arabic presentation forms, full and half width
    ('\u{1D400}', '\u{1D7FF}'), // mathematical alphanumerics
    ('\u{1EE00}', '\u{1EEFF}'), // Arabic mathematical letters
    ('\u{1F100}', '\u{1F2FF}'), // enclosed alphanumerics and ideographs, continued
    ('\u{1FBF0}', '\u{1FBF9}'), // segmented digits
    ('\u{2F800}', '\u{2FA1F}'), // CJK compatibility ideographs, continued
];
