//! Free text of the control plane: names, labels, tiers.
//!
//! It is stored in the clear, shown in lists and written into the audit log for ever, so a key that
//! was pasted into the wrong field must not get that far.

use keyferry_core::mask;

use super::problem::Failure;

const MAX: usize = 512;

/// Refuses text that is no text, and text that looks like a key.
pub(super) fn check(field: &str, text: Option<&str>) -> Result<(), Failure> {
    let Some(text) = text else { return Ok(()) };
    if text.is_empty() || text.len() > MAX || text.chars().any(char::is_control) {
        return Err(Failure::invalid(format!("'{field}' is 1 to {MAX} bytes of text.")));
    }
    check_all(field, text)
}

/// The same for text of any length.
pub(super) fn check_all(field: &str, text: &str) -> Result<(), Failure> {
    if mask::scrub(text.as_bytes(), None) == text.as_bytes() {
        return Ok(());
    }
    Err(Failure::invalid(format!("'{field}' looks like a key. Keys go into api_key and nowhere else.")))
}
