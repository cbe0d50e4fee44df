//! Looks for pieces of keys in anything: as they are, in base64 at each alignment, in hexadecimal, percent-encoded.

use std::{collections::HashMap, fmt::Write};

use base64::{
    Engine,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};

/// So many characters of a key in a row are a leak. A multiple of three: its base64 has no remainder, so the windows
/// at each place of the key cover each alignment.
const WINDOW: usize = 12;

/// What is looked for, by the length of its spelling.
pub(crate) struct Search {
    by_length: Vec<(usize, HashMap<Vec<u8>, String>)>,
    /// Whether some spelling begins with these three bytes.
    beginnings: Vec<bool>,
}

impl Search {
    /// For these keys, each with the name of the way it was sent.
    pub(crate) fn new<'k>(keys: impl IntoIterator<Item = (&'k str, &'k str)>) -> Self {
        let mut by_length: HashMap<usize, HashMap<Vec<u8>, String>> = HashMap::new();
        let mut beginnings = vec![false; 1 << 24];
        for (way, key) in keys {
            assert!(key.len() >= 2 * WINDOW, "{way}: a canary this short proves little");
            for window in key.as_bytes().windows(WINDOW) {
                for (spelling, text) in spellings(window) {
                    beginnings[beginning(&text)] = true;
                    let found = format!("{way}: a piece of its key, {spelling}");
                    by_length.entry(text.len()).or_default().insert(text, found);
                }
            }
        }
        Self { by_length: by_length.into_iter().collect(), beginnings }
    }

    /// Every key of which a piece stands in the text.
    pub(crate) fn find(&self, text: &[u8]) -> Vec<&str> {
        let mut found = Vec::new();
        for at in 0..text.len().saturating_sub(WINDOW - 1) {
            if !self.beginnings[beginning(&text[at..])] {
                continue;
            }
            for (length, spellings) in &self.by_length {
                if let Some(way) = text.get(at..at + length).and_then(|part| spellings.get(part)) {
                    found.push(way.as_str());
                }
            }
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Panics with every leak in the named texts.
    #[track_caller]
    pub(crate) fn assert_clean<'t>(&self, places: impl IntoIterator<Item = (String, &'t [u8])>) {
        let mut leaks = Vec::new();
        for (place, text) in places {
            leaks.extend(self.find(text).into_iter().map(|way| format!("{place}: {way}")));
        }
        assert!(leaks.is_empty(), "{} leaks:\n{}", leaks.len(), leaks.join("\n"));
    }
}

fn beginning(text: &[u8]) -> usize {
    usize::from(text[0]) << 16 | usize::from(text[1]) << 8 | usize::from(text[2])
}

fn spellings(window: &[u8]) -> [(&'static str, Vec<u8>); 7] {
    let spelled = |form: fn(&mut String, u8)| {
        let mut text = String::new();
        for byte in window {
            form(&mut text, *byte);
        }
        text.into_bytes()
    };
    [
        ("as it is", window.to_vec()),
        ("in base64", STANDARD_NO_PAD.encode(window).into_bytes()),
        ("in base64url", URL_SAFE_NO_PAD.encode(window).into_bytes()),
        ("in hexadecimal", spelled(|text, byte| write!(text, "{byte:02x}").expect("a string"))),
        ("in upper-case hexadecimal", spelled(|text, byte| write!(text, "{byte:02X}").expect("a string"))),
        ("percent-encoded", spelled(|text, byte| write!(text, "%{byte:02X}").expect("a string"))),
        ("as numbers", spelled(|text, byte| write!(text, "{byte}, ").expect("a string"))),
    ]
}

#[test]
fn the_search_finds_each_spelling_of_each_piece_at_each_place() {
    let key = "sk-proj-Zq3vT9xW1bN7mK5jH2gF";
    let search = Search::new([("planted", key)]);
    for from in 0..=key.len() - WINDOW {
        let piece = &key[from..from + WINDOW];
        let texts = [
            piece.as_bytes().to_vec(),
            piece.bytes().map(|byte| format!("{byte:02x}")).collect::<String>().into_bytes(),
            piece.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>().into_bytes(),
            format!("{:?}", piece.as_bytes()).replace('[', "[0, ").replace(']', ", 0]").into_bytes(),
        ];
        for text in texts {
            let inside = [b"before ", text.as_slice(), b" after"].concat();
            assert_eq!(search.find(&inside).len(), 1, "{}", String::from_utf8_lossy(&inside));
        }
    }
    // A whole key inside of a longer text in base64, wherever it begins in it.
    for before in ["", "a", "ab", "abc", "{\"key\": \""] {
        for engine in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
            let text = engine.encode(format!("{before}{key}\"}}"));
            assert!(!search.find(text.as_bytes()).is_empty(), "{text}");
        }
    }
}

#[test]
fn the_search_finds_nothing_in_what_is_no_piece() {
    let key = "sk-proj-Zq3vT9xW1bN7mK5jH2gF";
    let search = Search::new([("planted", key)]);
    assert!(search.find(b"").is_empty());
    assert!(search.find(&key.as_bytes()[..WINDOW - 1]).is_empty());
    assert!(search.find(b"Incorrect API key provided: sk-proj-[redacted]. last4: H2gF").is_empty());
}
