//! Lists the names that never belong to a provider; it must never be the only reason a key stays home.
//!
//! The lists hold what is known to point inwards. They cannot be complete, and need not be: the address guard judges
//! where a name leads, and the certificate check who is there.

/// The special-use top-level domain that a label is.
pub(super) fn special_use(label: &str) -> Option<&'static str> {
    SPECIAL_USE.iter().copied().find(|&name| name == label)
}

/// The infrastructure service that a label names, wherever in the name it stands.
pub(super) fn infrastructure(label: &str) -> Option<&'static str> {
    INFRASTRUCTURE.iter().copied().find(|&name| name == label)
}

/// The service with addresses of the caller's choice that a name is under.
pub(super) fn wildcard_dns(name: &str) -> Option<&'static str> {
    WILDCARD_DNS.iter().copied().find(|&service| {
        name.strip_suffix(service).is_some_and(|before| before.is_empty() || before.ends_with('.'))
    })
}

/// Top-level domains that the public DNS does not delegate to anyone who could be a provider.
///
/// `.example` (RFC 6761 §6.5) is left out: it is what documentation and tests are written with, nothing resolves it,
/// and no resolver gives it a local meaning. `.test` (§6.2) is in: sites do point it at their own machines.
#[rustfmt::skip] // The grouping is the meaning.
const SPECIAL_USE: &[&str] = &[
    // RFC 6761, and names registered with IANA by later documents.
    "localhost", "invalid", "test", // RFC 6761
    "local",     // RFC 6762, multicast DNS
    "onion",     // RFC 7686
    "arpa",      // RFC 3172; with home.arpa (RFC 8375) and ipv4only.arpa (RFC 8880)
    "alt",       // RFC 9476
    "internal",  // reserved by ICANN for private use, 2024
    // In private use everywhere (RFC 6762 appendix G), or withheld by ICANN for their collisions.
    "corp", "home", "intranet", "lan", "localdomain", "mail", "private",
    // What search lists of clusters make of a short name.
    "cluster", "consul", "default", "docker", "svc",
];

/// Labels under which platforms serve credentials and configuration to whoever asks from within.
#[rustfmt::skip] // The grouping is the meaning.
const INFRASTRUCTURE: &[&str] = &[
    "metadata",          // Google, Azure, Tencent, Equinix, IBM and others
    "instance-data",     // EC2
    "rancher-metadata",
    "kubernetes",
    "wpad",              // proxy discovery
];

/// Zones that answer with loopback, with an address spelled in the name, or with a different one each time.
#[rustfmt::skip] // The grouping is the meaning.
const WILDCARD_DNS: &[&str] = &[
    // The address is in the name.
    "nip.io", "sslip.io", "xip.io", "backname.io", "ipq.co", "local-ip.co", "local-ip.sh", "traefik.me",
    // Loopback, whatever the name.
    "42foo.com", "bugbounty.dod.network", "fuf.me", "lacolhost.com", "local.gd", "localh.st", "localho.st",
    "localtest.me", "lvh.me", "mail.ebc.apple.com", "smackaho.st", "vcap.me", "yoogle.com",
    // Answers that change between two lookups.
    "1u.ms", "rbndr.us", "rebind.it", "rebind.network", "rebindr.com",
    // Collectors whose subdomains anybody can claim, and point anywhere.
    "burpcollaborator.net", "ceye.io", "dnslog.cn", "interact.sh", "oast.fun", "oast.live", "oast.me", "oast.online",
    "oast.pro", "oast.site", "oastify.com", "requestrepo.com",
];
