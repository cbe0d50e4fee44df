//! The address blocks that are never dialled, as data; it must never hold an exception.
//!
//! Nested blocks are listed for the sake of the reason they give: denying is decided by any match, the text comes
//! from the narrowest. The order of a table is that of the registries and carries no meaning.

use std::net::Ipv4Addr;

use super::Denied;

/// A prefix and the words that explain it.
pub(super) struct Block<Bits> {
    first: Bits,
    mask: Bits,
    prefix_len: u32,
    denied: Denied,
}

/// The two widths of address that a table can hold.
pub(super) trait Bits: Copy + Eq + std::ops::BitAnd<Output = Self> {}

impl Bits for u32 {}
impl Bits for u128 {}

/// The narrowest block that holds `ip`.
pub(super) fn find<B: Bits>(table: &[Block<B>], ip: B) -> Option<Denied> {
    table
        .iter()
        .filter(|block| ip & block.mask == block.first)
        .max_by_key(|block| block.prefix_len)
        .map(|block| block.denied)
}

/// Checked at compile time: a base address with host bits set would match nothing and so open its block.
const fn v4(base: [u8; 4], prefix_len: u32, block: &'static str, reason: &'static str) -> Block<u32> {
    let [a, b, c, d] = base;
    let first = Ipv4Addr::new(a, b, c, d).to_bits();
    let mask = u32::MAX << (u32::BITS - prefix_len);
    assert!(first & mask == first, "host bits are set");
    Block { first, mask, prefix_len, denied: Denied { block, reason } }
}

/// As [`v4`].
const fn v6(base: [u16; 8], prefix_len: u32, block: &'static str, reason: &'static str) -> Block<u128> {
    let mut first = 0;
    let mut group = 0;
    while group < base.len() {
        first = first << u16::BITS | base[group] as u128;
        group += 1;
    }
    let mask = u128::MAX << (u128::BITS - prefix_len);
    assert!(first & mask == first, "host bits are set");
    Block { first, mask, prefix_len, denied: Denied { block, reason } }
}

/// IPv4: the IANA special-purpose registry (RFC 6890), then what it does not list.
#[rustfmt::skip] // One block a line reads as the registry it is.
pub(super) const V4: &[Block<u32>] = &[
    v4([0, 0, 0, 0],          8, "0.0.0.0/8",          "this network, RFC 791"),
    v4([0, 0, 0, 0],         32, "0.0.0.0/32",         "this host, RFC 1122"),
    v4([10, 0, 0, 0],         8, "10.0.0.0/8",         "private use, RFC 1918"),
    v4([100, 64, 0, 0],      10, "100.64.0.0/10",      "shared address space, RFC 6598"),
    v4([127, 0, 0, 0],        8, "127.0.0.0/8",        "loopback, RFC 1122"),
    v4([169, 254, 0, 0],     16, "169.254.0.0/16",     "link-local, RFC 3927"),
    v4([172, 16, 0, 0],      12, "172.16.0.0/12",      "private use, RFC 1918"),
    v4([192, 0, 0, 0],       24, "192.0.0.0/24",       "IETF protocol assignments, RFC 6890"),
    v4([192, 0, 0, 0],       29, "192.0.0.0/29",       "IPv4 service continuity, RFC 7335"),
    v4([192, 0, 0, 8],       32, "192.0.0.8/32",       "IPv4 dummy address, RFC 7600"),
    v4([192, 0, 0, 9],       32, "192.0.0.9/32",       "port control anycast, RFC 7723"),
    v4([192, 0, 0, 10],      32, "192.0.0.10/32",      "TURN anycast, RFC 8155"),
    v4([192, 0, 0, 170],     32, "192.0.0.170/32",     "NAT64 discovery, RFC 7050"),
    v4([192, 0, 0, 171],     32, "192.0.0.171/32",     "NAT64 discovery, RFC 7050"),
    v4([192, 0, 2, 0],       24, "192.0.2.0/24",       "documentation, RFC 5737"),
    v4([192, 31, 196, 0],    24, "192.31.196.0/24",    "AS112, RFC 7535"),
    v4([192, 52, 193, 0],    24, "192.52.193.0/24",    "automatic multicast tunnelling, RFC 7450"),
    v4([192, 88, 99, 0],     24, "192.88.99.0/24",     "retired 6to4 relay anycast, RFC 7526"),
    v4([192, 88, 99, 2],     32, "192.88.99.2/32",     "6a44 relay anycast, RFC 6751"),
    v4([192, 168, 0, 0],     16, "192.168.0.0/16",     "private use, RFC 1918"),
    v4([192, 175, 48, 0],    24, "192.175.48.0/24",    "AS112 direct delegation, RFC 7534"),
    v4([198, 18, 0, 0],      15, "198.18.0.0/15",      "benchmarking, RFC 2544"),
    v4([198, 51, 100, 0],    24, "198.51.100.0/24",    "documentation, RFC 5737"),
    v4([203, 0, 113, 0],     24, "203.0.113.0/24",     "documentation, RFC 5737"),
    v4([240, 0, 0, 0],        4, "240.0.0.0/4",        "reserved, RFC 1112"),
    v4([255, 255, 255, 255], 32, "255.255.255.255/32", "limited broadcast, RFC 919"),

    v4([224, 0, 0, 0],        4, "224.0.0.0/4",        "multicast, RFC 5771"),
    // Public space, yet inside Azure it answers any virtual machine: WireServer, DNS, health probes.
    v4([168, 63, 129, 16],   32, "168.63.129.16/32",   "Azure platform endpoint"),
];

/// IPv6: the IANA special-purpose registry (RFC 6890), then what it does not list.
#[rustfmt::skip] // One block a line reads as the registry it is.
pub(super) const V6: &[Block<u128>] = &[
    v6([0, 0, 0, 0, 0, 0, 0, 1],          128, "::1/128",           "loopback, RFC 4291"),
    v6([0, 0, 0, 0, 0, 0, 0, 0],          128, "::/128",            "unspecified, RFC 4291"),
    v6([0, 0, 0, 0, 0, 0xffff, 0, 0],      96, "::ffff:0:0/96",     "IPv4-mapped, RFC 4291"),
    v6([0x64, 0xff9b, 0, 0, 0, 0, 0, 0],   96, "64:ff9b::/96",      "NAT64, RFC 6052"),
    v6([0x64, 0xff9b, 1, 0, 0, 0, 0, 0],   48, "64:ff9b:1::/48",    "local-use NAT64, RFC 8215"),
    v6([0x100, 0, 0, 0, 0, 0, 0, 0],       64, "100::/64",          "discard only, RFC 6666"),
    v6([0x100, 0, 0, 1, 0, 0, 0, 0],       64, "100:0:0:1::/64",    "dummy prefix, RFC 9780"),
    v6([0x2001, 0, 0, 0, 0, 0, 0, 0],      23, "2001::/23",         "IETF protocol assignments, RFC 2928"),
    v6([0x2001, 0, 0, 0, 0, 0, 0, 0],      32, "2001::/32",         "Teredo, RFC 4380"),
    v6([0x2001, 1, 0, 0, 0, 0, 0, 1],     128, "2001:1::1/128",     "port control anycast, RFC 7723"),
    v6([0x2001, 1, 0, 0, 0, 0, 0, 2],     128, "2001:1::2/128",     "TURN anycast, RFC 8155"),
    v6([0x2001, 1, 0, 0, 0, 0, 0, 3],     128, "2001:1::3/128",     "service registration anycast, RFC 9665"),
    v6([0x2001, 2, 0, 0, 0, 0, 0, 0],      48, "2001:2::/48",       "benchmarking, RFC 5180"),
    v6([0x2001, 3, 0, 0, 0, 0, 0, 0],      32, "2001:3::/32",       "automatic multicast tunnelling, RFC 7450"),
    v6([0x2001, 4, 0x112, 0, 0, 0, 0, 0],  48, "2001:4:112::/48",   "AS112, RFC 7535"),
    v6([0x2001, 0x10, 0, 0, 0, 0, 0, 0],   28, "2001:10::/28",      "retired ORCHID, RFC 4843"),
    v6([0x2001, 0x20, 0, 0, 0, 0, 0, 0],   28, "2001:20::/28",      "ORCHIDv2, RFC 7343"),
    v6([0x2001, 0x30, 0, 0, 0, 0, 0, 0],   28, "2001:30::/28",      "drone identity tags, RFC 9374"),
    v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0],  32, "2001:db8::/32",     "documentation, RFC 3849"),
    v6([0x2002, 0, 0, 0, 0, 0, 0, 0],      16, "2002::/16",         "6to4, RFC 3056"),
    v6([0x2620, 0x4f, 0x8000, 0, 0, 0, 0, 0], 48, "2620:4f:8000::/48", "AS112 direct delegation, RFC 7534"),
    v6([0x3fff, 0, 0, 0, 0, 0, 0, 0],      20, "3fff::/20",         "documentation, RFC 9637"),
    v6([0x5f00, 0, 0, 0, 0, 0, 0, 0],      16, "5f00::/16",         "segment routing identifiers, RFC 9602"),
    v6([0xfc00, 0, 0, 0, 0, 0, 0, 0],       7, "fc00::/7",          "unique local, RFC 4193"),
    v6([0xfe80, 0, 0, 0, 0, 0, 0, 0],      10, "fe80::/10",         "link-local, RFC 4291"),

    // Retired, but networks that still route or translate them exist.
    v6([0, 0, 0, 0, 0, 0, 0, 0],           96, "::/96",             "retired IPv4-compatible, RFC 4291"),
    v6([0, 0, 0, 0, 0xffff, 0, 0, 0],      96, "::ffff:0:0:0/96",   "retired IPv4-translated, RFC 2765"),
    v6([0x200, 0, 0, 0, 0, 0, 0, 0],        7, "200::/7",           "retired NSAP mapping, RFC 4048"),
    v6([0x3ffe, 0, 0, 0, 0, 0, 0, 0],      16, "3ffe::/16",         "returned 6bone space, RFC 3701"),
    v6([0xfec0, 0, 0, 0, 0, 0, 0, 0],      10, "fec0::/10",         "retired site-local, RFC 3879"),

    v6([0xff00, 0, 0, 0, 0, 0, 0, 0],       8, "ff00::/8",          "multicast, RFC 4291"),

    // The complement of 2000::/3, the only space from which IANA allocates global unicast.
    v6([0, 0, 0, 0, 0, 0, 0, 0],            3, "::/3",              "not global unicast, RFC 4291"),
    v6([0x4000, 0, 0, 0, 0, 0, 0, 0],       2, "4000::/2",          "not global unicast, RFC 4291"),
    v6([0x8000, 0, 0, 0, 0, 0, 0, 0],       1, "8000::/1",          "not global unicast, RFC 4291"),
];

#[cfg(test)]
mod tests {
    use std::fmt::Debug;
    use std::net::Ipv6Addr;
    use std::str::FromStr;

    use super::*;

    #[test]
    fn each_block_is_the_one_its_text_names() {
        fn parse<Ip: FromStr<Err: Debug>>(cidr: &str) -> (Ip, u32) {
            let (base, prefix_len) = cidr.split_once('/').expect("CIDR notation");
            (base.parse().expect("an address"), prefix_len.parse().expect("a length"))
        }
        for Block { first, prefix_len, denied, .. } in V4 {
            assert_eq!(parse(denied.block), (Ipv4Addr::from_bits(*first), *prefix_len));
        }
        for Block { first, prefix_len, denied, .. } in V6 {
            assert_eq!(parse(denied.block), (Ipv6Addr::from_bits(*first), *prefix_len));
        }
    }

    #[test]
    fn no_block_is_listed_twice() {
        let mut named: Vec<_> =
            V4.iter().map(|b| b.denied.block).chain(V6.iter().map(|b| b.denied.block)).collect();
        named.sort_unstable();
        let listed = named.len();
        named.dedup();
        assert_eq!(named.len(), listed);
    }
}
