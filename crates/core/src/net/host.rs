//! Decides which text may name a provider; it must never accept a name in a spelling that is not the only one.
//!
//! A name that passes says nothing about where it resolves to. Each address is judged by [`super::address`] at every
//! dial; refusing names with a known internal meaning is the cheap first line, and gives the operator an error at
//! start instead of a refused request later.

mod label;
mod punycode;
mod reserved;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use serde_json::Value;
use thiserror::Error;

/// The longest name in presentation form without the root dot (RFC 1035 §2.3.4).
pub const MAX_BYTES: usize = 253;

/// The hosts of the providers that need no configuration.
pub const BUILTIN: [&str; 3] = ["api.openai.com", "api.anthropic.com", "generativelanguage.googleapis.com"];

/// The fully qualified name of a provider: lower-case ASCII, no root dot, never an address.
///
/// Resolver, certificate check, `Host` header and allowlist all use this one spelling.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProviderHost(Arc<str>);

/// Why a name is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum HostRefused {
    /// The candidate is not a JSON string.
    #[error("a host must be a string")]
    NotText,
    /// No text at all.
    #[error("the host is empty")]
    Empty,
    /// More than [`MAX_BYTES`].
    #[error("the host is longer than {MAX_BYTES} bytes")]
    TooLong,
    /// A U-label; IDNA mappings differ between libraries, so they are left to whoever writes the configuration.
    #[error("the host is not ASCII: write the A-label (xn--...)")]
    NotAscii,
    /// Upper case, in a place where names are compared byte by byte.
    #[error("the host has upper-case letters")]
    UpperCase,
    /// A wildcard; hosts are matched exactly.
    #[error("the host is a wildcard: list each name")]
    Wildcard,
    /// A scheme, port, path, list, underscore, escape, space or the like.
    #[error("the host may have only lower-case letters, digits, '-' and '.'")]
    Character,
    /// The root dot, a second spelling of the same name to TLS and `Host`.
    #[error("the host ends with a dot")]
    TrailingDot,
    /// Two dots in a row, or one at the beginning.
    #[error("the host has an empty label")]
    EmptyLabel,
    /// A label of more than 63 bytes (RFC 1035 §2.3.4).
    #[error("the host has a label longer than 63 bytes")]
    LabelTooLong,
    /// A label that begins or ends with a hyphen (RFC 1123 §2.1).
    #[error("the host has a label that begins or ends with a hyphen")]
    Hyphen,
    /// Hyphens in the third and fourth place, reserved to A-labels (RFC 5890 §2.3.1).
    #[error("the host has a label with '--' in third place that is not an A-label")]
    ReservedLabel,
    /// An `xn--` label that is not the encoding of lower-case letters and digits (RFC 5891 §4).
    #[error("the host has an invalid A-label")]
    InvalidALabel,
    /// An IP address, or a number that some resolver takes for one.
    #[error("the host is an address or a number, not a name")]
    AddressLiteral,
    /// An IPv4 address spelled within a name, as wildcard DNS services want it.
    #[error("the host has an IPv4 address within its name")]
    EmbeddedAddress,
    /// A top-level domain that the public DNS does not serve.
    #[error("the host is under .{0}, which is not in the public DNS")]
    SpecialUse(&'static str),
    /// A single label, which search lists complete to something else.
    #[error("the host has a single label: write the fully qualified name")]
    SingleLabel,
    /// A last label that can be no top-level domain.
    #[error("the host has no valid top-level domain")]
    TopLevel,
    /// A name of cloud metadata, proxy discovery or a cluster's own interface.
    #[error("the host has the label '{0}', the name of an infrastructure service")]
    Infrastructure(&'static str),
    /// A service that answers with whatever address the name asks for.
    #[error("the host is under {0}, which answers with addresses of the caller's choice")]
    WildcardDns(&'static str),
    /// A suffix under which anybody can register (Public Suffix List, both sections).
    #[error("the host is a public suffix, under which anybody can register")]
    PublicSuffix,
}

impl ProviderHost {
    /// Reads a name that is already canonical.
    pub fn parse(text: &str) -> Result<Self, HostRefused> {
        check_spelling(text)?;
        let labels: Vec<&str> = text.split('.').collect();
        labels.iter().copied().try_for_each(label::check)?;
        check_meaning(text, &labels)?;
        Ok(Self(text.into()))
    }

    /// The name, for the resolver, the certificate check and the `Host` header.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ProviderHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The hosts that may be dialled, matched exactly: no suffixes, no patterns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostSet(BTreeSet<ProviderHost>);

impl HostSet {
    /// The hosts of [`BUILTIN`].
    pub fn builtin() -> Self {
        BUILTIN.into_iter().map(|name| ProviderHost(name.into())).collect()
    }

    /// Whether a key may go to this host.
    pub fn contains(&self, host: &ProviderHost) -> bool {
        self.0.contains(host)
    }

    /// Adds a host; false when it was there already.
    pub fn insert(&mut self, host: ProviderHost) -> bool {
        self.0.insert(host)
    }

    /// The hosts in the order of their text.
    pub fn iter(&self) -> impl Iterator<Item = &ProviderHost> {
        self.0.iter()
    }
}

impl FromIterator<ProviderHost> for HostSet {
    fn from_iter<I: IntoIterator<Item = ProviderHost>>(hosts: I) -> Self {
        Self(hosts.into_iter().collect())
    }
}

impl Extend<ProviderHost> for HostSet {
    fn extend<I: IntoIterator<Item = ProviderHost>>(&mut self, hosts: I) {
        self.0.extend(hosts);
    }
}

/// Judges a candidate that is still JSON: a string, and the canonical name of a possible provider.
pub fn judge(candidate: &Value) -> Result<ProviderHost, HostRefused> {
    ProviderHost::parse(candidate.as_str().ok_or(HostRefused::NotText)?)
}

/// What can be seen without knowing what a label is.
fn check_spelling(text: &str) -> Result<(), HostRefused> {
    if text.is_empty() {
        return Err(HostRefused::Empty);
    }
    if text.len() > MAX_BYTES {
        return Err(HostRefused::TooLong);
    }
    if !text.is_ascii() {
        return Err(HostRefused::NotAscii);
    }
    if text.starts_with('[') || text.parse::<std::net::Ipv6Addr>().is_ok() {
        return Err(HostRefused::AddressLiteral);
    }
    if text.contains('*') {
        return Err(HostRefused::Wildcard);
    }
    if text.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err(HostRefused::UpperCase);
    }
    if !text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.') {
        return Err(HostRefused::Character);
    }
    if text.ends_with('.') {
        return Err(HostRefused::TrailingDot);
    }
    Ok(())
}

/// What a well-formed name stands for.
fn check_meaning(text: &str, labels: &[&str]) -> Result<(), HostRefused> {
    let top_level = labels.last().copied().ok_or(HostRefused::Empty)?;
    if label::is_number(top_level) {
        return Err(HostRefused::AddressLiteral);
    }
    if let Some(name) = reserved::special_use(top_level) {
        return Err(HostRefused::SpecialUse(name));
    }
    if labels.len() < 2 {
        return Err(HostRefused::SingleLabel);
    }
    if !label::is_top_level(top_level) {
        return Err(HostRefused::TopLevel);
    }
    if let Some(name) = labels.iter().copied().find_map(reserved::infrastructure) {
        return Err(HostRefused::Infrastructure(name));
    }
    if let Some(service) = reserved::wildcard_dns(text) {
        return Err(HostRefused::WildcardDns(service));
    }
    if label::embed_ipv4(labels) {
        return Err(HostRefused::EmbeddedAddress);
    }
    if psl::suffix(text.as_bytes()).is_some_and(|suffix| suffix.as_bytes() == text.as_bytes()) {
        return Err(HostRefused::PublicSuffix);
    }
    Ok(())
}
