//! One finding: what was looked at, how it is, and what to do.

use serde::Serialize;

/// How it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Verdict {
    /// As it should be.
    Ok,
    /// It could be better.
    Warn,
    /// It does not hold.
    No,
}

/// One finding.
#[derive(Debug, Serialize)]
pub(super) struct Check {
    /// What was looked at; the names never change.
    #[serde(rename = "check")]
    pub(super) name: &'static str,
    pub(super) status: Verdict,
    /// How it is, in words.
    pub(super) found: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) advice: Option<&'static str>,
}

impl Check {
    pub(super) fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, status: Verdict::Ok, found: found.into(), advice: None }
    }

    pub(super) fn warn(name: &'static str, found: impl Into<String>, advice: &'static str) -> Self {
        Self { name, status: Verdict::Warn, found: found.into(), advice: Some(advice) }
    }

    pub(super) fn no(name: &'static str, found: impl Into<String>, advice: &'static str) -> Self {
        Self { name, status: Verdict::No, found: found.into(), advice: Some(advice) }
    }

    /// One or the other.
    pub(super) fn holds(
        name: &'static str,
        holds: bool,
        (yes, no): (&str, &str),
        advice: &'static str,
    ) -> Self {
        if holds { Self::ok(name, yes) } else { Self::no(name, no, advice) }
    }
}
