//! Decides whether an IP address may be dialled; it must never allow one because of what an embedded address says.
//!
//! IPv4-mapped, NAT64, 6to4, Teredo and the other embedding prefixes are denied whole instead of being decoded. No
//! provider answers from them, so decoding would add only the chance of decoding wrongly.

mod blocks;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde_json::Value;
use thiserror::Error;

/// The most addresses that one name may answer with.
///
/// Real providers answer with fewer than ten. The bound keeps a hostile zone from making each lookup expensive.
pub const MAX_ANSWERS: usize = 32;

/// Why an address is never dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Denied {
    /// The narrowest known block around the address, in CIDR notation.
    pub block: &'static str,
    /// What the block is for, with the RFC that says so.
    pub reason: &'static str,
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "in {} ({})", self.block, self.reason)
    }
}

impl std::error::Error for Denied {}

/// Allows ordinary global unicast and nothing else.
///
/// Denied is each block of the IANA special-purpose registries (RFC 6890) whatever its "globally reachable" flag,
/// multicast, the retired blocks those registries no longer list, platform endpoints that clouds place in public
/// space, and all IPv6 outside 2000::/3 (RFC 4291 §2.4).
///
/// The standard library's predicates do not serve: `is_global` is unstable, and the stable ones leave most of these
/// blocks open.
pub fn classify(ip: IpAddr) -> Result<(), Denied> {
    let denied = match ip {
        IpAddr::V4(ip) => blocks::find(blocks::V4, ip.to_bits()),
        IpAddr::V6(ip) => blocks::find(blocks::V6, ip.to_bits()),
    };
    denied.map_or(Ok(()), Err)
}

/// Reads an address in its one canonical spelling: dotted decimal, or RFC 5952 text for IPv6.
///
/// Everything that a C resolver might take for an address is `None`: short, octal, hexadecimal and integer IPv4,
/// leading zeros, zones, brackets, ports, prefix lengths, whitespace, upper case and uncompressed IPv6.
pub fn parse_ip(text: &str) -> Option<IpAddr> {
    let ip = match text.parse::<Ipv4Addr>() {
        Ok(ip) => IpAddr::V4(ip),
        Err(_) => IpAddr::V6(text.parse::<Ipv6Addr>().ok()?),
    };
    // The round trip, not the parser, is what makes the spelling unique.
    (ip.to_string() == text).then_some(ip)
}

/// Why the answer to a lookup is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum AnswersRefused {
    /// The name has no address.
    #[error("the name has no address")]
    Empty,
    /// The name has more than [`MAX_ANSWERS`] addresses.
    #[error("the name has {0} addresses, more than {MAX_ANSWERS}")]
    TooMany(usize),
    /// At least one address is never dialled; this is the first.
    #[error("the name answers with {address}, which is {denied}")]
    Denied {
        /// The first address that is denied.
        address: IpAddr,
        /// Why it is denied.
        denied: Denied,
    },
}

/// Judges everything that a name resolved to: one bad address refuses the whole name.
///
/// Dialling the good part of a mixed answer is what a rebinding zone hopes for. A zone that publishes one internal
/// address is hostile or broken, and neither deserves a key.
pub fn check_answers(answers: &[IpAddr]) -> Result<(), AnswersRefused> {
    if answers.is_empty() {
        return Err(AnswersRefused::Empty);
    }
    if answers.len() > MAX_ANSWERS {
        return Err(AnswersRefused::TooMany(answers.len()));
    }
    for &address in answers {
        classify(address).map_err(|denied| AnswersRefused::Denied { address, denied })?;
    }
    Ok(())
}

/// Why a candidate is not an address that may be dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum AddressRefused {
    /// The candidate is not a JSON string.
    #[error("an address must be a string")]
    NotText,
    /// The text is not the canonical spelling of an address.
    #[error("not an address in canonical text (dotted decimal, or RFC 5952 for IPv6)")]
    NotCanonical,
    /// The address is never dialled.
    #[error("the address is {0}")]
    Denied(#[from] Denied),
}

/// Judges a candidate that is still JSON: a string, canonical, and dialled without objection.
pub fn judge(candidate: &Value) -> Result<IpAddr, AddressRefused> {
    let text = candidate.as_str().ok_or(AddressRefused::NotText)?;
    let ip = parse_ip(text).ok_or(AddressRefused::NotCanonical)?;
    classify(ip)?;
    Ok(ip)
}
