//! The address guard and the canonical-URL rule against the published cases, an oracle, and cases of their kinds.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

use keyferry_core::net::address::{self, AddressRefused, AnswersRefused};
use keyferry_core::net::base_url::{self, BaseUrl, BaseUrlRefused};
use keyferry_core::net::host::{self, HostRefused, HostSet, ProviderHost};
use keyferry_core::net::path::PathRefused;
use keyferry_core::net::target::{self, QueryRefused, TargetRefused};
use proptest::prelude::*;
use serde_json::{Value, json};

macro_rules! vectors {
    ($file:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../vectors/ssrf/", $file))
    };
}

/// Judges each case of a file and lists every id that was judged wrongly.
///
/// The counts are part of the test: a vanished case would otherwise pass.
#[track_caller]
fn each_case_is_judged_as_published(
    file: &str,
    denied: usize,
    allowed: usize,
    allow: impl Fn(&Value) -> bool,
) {
    let cases: Vec<Value> =
        file.lines().map(|line| serde_json::from_str(line).expect("a JSON object a line")).collect();
    let expecting = |verdict: &str| cases.iter().filter(|case| case["expect"] == verdict).count();
    assert_eq!((expecting("deny"), expecting("allow")), (denied, allowed), "cases are missing or new");
    assert_eq!(denied + allowed, cases.len(), "a case expects neither deny nor allow");
    let wrong: Vec<String> = cases
        .iter()
        .filter(|case| allow(&case["input"]) != (case["expect"] == "allow"))
        .map(|case| format!("{}: expected {}: {}", case["id"], case["expect"], case["why"]))
        .collect();
    assert!(wrong.is_empty(), "{} of {} judged wrongly:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

/// Addresses of a case, as a resolver would hand them on: binary, whatever their spelling.
fn addresses(texts: &Value) -> Vec<IpAddr> {
    let texts = texts.as_array().expect("a list of addresses");
    texts.iter().map(|text| text.as_str().expect("text").parse().expect("an address")).collect()
}

mod published {
    use super::*;

    #[test]
    fn base_urls() {
        let builtin = HostSet::builtin();
        each_case_is_judged_as_published(vectors!("base_url.jsonl"), 413, 25, |input| {
            base_url::judge(input, &builtin).is_ok()
        });
    }

    #[test]
    fn base_urls_that_are_not_text() {
        let builtin = HostSet::builtin();
        each_case_is_judged_as_published(vectors!("base_url_json.jsonl"), 6, 0, |input| {
            base_url::judge(input, &builtin).is_ok()
        });
    }

    #[test]
    fn allowlist_entries() {
        each_case_is_judged_as_published(vectors!("allowlist_entry.jsonl"), 22, 4, |input| {
            host::judge(input).is_ok()
        });
    }

    #[test]
    fn addresses_in_canonical_text() {
        each_case_is_judged_as_published(vectors!("ip.jsonl"), 93, 27, |input| address::judge(input).is_ok());
    }

    #[test]
    fn addresses_in_any_text() {
        each_case_is_judged_as_published(vectors!("ip.jsonl"), 93, 27, |input| {
            let ip = input.as_str().expect("text").parse().expect("an address");
            address::classify(ip).is_ok()
        });
    }

    #[test]
    fn text_that_is_no_address() {
        each_case_is_judged_as_published(vectors!("ip_text.jsonl"), 17, 0, |input| {
            address::parse_ip(input.as_str().expect("text")).is_some()
        });
    }

    #[test]
    fn answers_of_a_lookup() {
        each_case_is_judged_as_published(vectors!("dns_answer.jsonl"), 14, 3, |input| {
            address::check_answers(&addresses(&input["answers"])).is_ok()
        });
    }

    #[test]
    fn answers_of_successive_lookups() {
        each_case_is_judged_as_published(vectors!("dns_rebind.jsonl"), 3, 1, |input| {
            let lookups = input["lookups"].as_array().expect("a list of lookups");
            lookups.iter().all(|answers| address::check_answers(&addresses(answers)).is_ok())
        });
    }

    #[test]
    fn request_targets() {
        each_case_is_judged_as_published(vectors!("request_target.jsonl"), 23, 10, |input| {
            // Each character of an input is one byte on the wire.
            let target: Option<Vec<u8>> =
                input.as_str().expect("text").chars().map(|c| u8::try_from(c).ok()).collect();
            target::check(&target.expect("Latin-1")).is_ok()
        });
    }
}

mod special_purpose_blocks {
    use super::*;

    fn published() -> Value {
        serde_json::from_str(vectors!("special_ips.json")).expect("JSON")
    }

    fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
        value[key].as_array().expect("a list")
    }

    #[test]
    fn each_sample_is_judged_as_published() {
        let published = published();
        let blocks = list(&published, "blocks");
        let samples = blocks
            .iter()
            .flat_map(|block| list(block, "samples"))
            .chain(list(&published, "metadata_endpoints"))
            .chain(list(&published, "embedded"))
            .chain(list(&published, "public_controls"));
        let (mut judged, mut wrong) = (0, Vec::new());
        for sample in samples {
            judged += 1;
            let text = sample["addr"].as_str().expect("text");
            let allowed = address::classify(text.parse().expect("an address")).is_ok();
            if allowed != (sample["expect"] == "allow") {
                wrong.push(text);
            }
        }
        assert_eq!((blocks.len(), judged), (62, 534), "samples are missing or new");
        assert!(wrong.is_empty(), "{wrong:?}");
    }

    #[test]
    fn no_foreign_text_form_is_an_address() {
        let published = published();
        let forms = list(&published, "text_forms");
        assert_eq!(forms.len(), 34, "text forms are missing or new");
        for form in forms {
            let text = form["text"].as_str().expect("text");
            assert_eq!(form["expect"], "reject");
            assert_eq!(address::parse_ip(text), None, "{text:?}");
        }
    }

    static ORACLE: LazyLock<Oracle> = LazyLock::new(Oracle::new);

    /// The rule in its most naive reading: membership in a list of prefixes, compared bit by bit as text.
    struct Oracle(Vec<String>);

    impl Oracle {
        fn new() -> Self {
            let published = published();
            let cidrs = list(&published, "blocks")
                .iter()
                .map(|block| block["cidr"].as_str().expect("text").to_owned());
            Self(cidrs.map(|cidr| bits_of_prefix(&cidr)).collect())
        }

        fn allows(&self, ip: IpAddr) -> bool {
            let bits = bits_of_address(ip);
            let global_unicast = ip.is_ipv4() || bits.starts_with("6:001");
            global_unicast && !self.0.iter().any(|prefix| bits.starts_with(prefix))
        }
    }

    fn bits_of_address(ip: IpAddr) -> String {
        match ip {
            IpAddr::V4(ip) => format!("4:{:032b}", u32::from(ip)),
            IpAddr::V6(ip) => format!("6:{:0128b}", u128::from(ip)),
        }
    }

    fn bits_of_prefix(cidr: &str) -> String {
        let (base, len) = cidr.split_once('/').expect("CIDR notation");
        let len: usize = len.parse().expect("a length");
        let mut bits = bits_of_address(base.parse().expect("an address"));
        bits.truncate("4:".len() + len);
        bits
    }

    fn address_from_bits(bits: &str) -> IpAddr {
        match bits.split_at(2) {
            ("4:", bits) => Ipv4Addr::from(u32::from_str_radix(bits, 2).expect("bits")).into(),
            (_, bits) => Ipv6Addr::from(u128::from_str_radix(bits, 2).expect("bits")).into(),
        }
    }

    /// Uniform addresses almost never meet a block, so half of these begin with a block's prefix, or with that prefix
    /// and its last bit turned over.
    fn address() -> impl Strategy<Value = IpAddr> {
        let near_a_block = (proptest::sample::select(ORACLE.0.as_slice()), any::<bool>(), any::<u128>())
            .prop_map(|(mut prefix, turn_over, random)| {
                if turn_over {
                    let last = prefix.pop();
                    prefix.push(if last == Some('0') { '1' } else { '0' });
                }
                let width = if prefix.starts_with("4:") { 34 } else { 130 };
                let random = format!("{random:0128b}");
                let missing = width - prefix.len();
                address_from_bits(&format!("{prefix}{}", &random[..missing]))
            });
        prop_oneof![
            2 => near_a_block,
            1 => any::<u32>().prop_map(|bits| Ipv4Addr::from(bits).into()),
            1 => any::<u128>().prop_map(|bits| Ipv6Addr::from(bits).into()),
        ]
    }

    #[test]
    fn edges_of_each_block_agree_with_the_oracle() {
        for prefix in &ORACLE.0 {
            let width = if prefix.starts_with("4:") { 34 } else { 130 };
            for fill in ["0", "1"] {
                let edge = address_from_bits(&format!("{prefix}{}", fill.repeat(width - prefix.len())));
                let neighbours = match edge {
                    IpAddr::V4(ip) => {
                        let bits = u32::from(ip);
                        [bits.wrapping_sub(1), bits, bits.wrapping_add(1)]
                            .map(|bits| Ipv4Addr::from(bits).into())
                    }
                    IpAddr::V6(ip) => {
                        let bits = u128::from(ip);
                        [bits.wrapping_sub(1), bits, bits.wrapping_add(1)]
                            .map(|bits| Ipv6Addr::from(bits).into())
                    }
                };
                for ip in neighbours {
                    assert_eq!(address::classify(ip).is_ok(), ORACLE.allows(ip), "{ip}");
                }
            }
        }
    }

    #[test]
    fn each_reason_names_the_narrowest_published_block() {
        // Parts of a block that the guard knows only as a whole.
        let known_as_a_whole = ["fc00::/8", "4000::/3"].map(bits_of_prefix);
        for (prefix, fill) in ORACLE.0.iter().flat_map(|prefix| [(prefix, "0"), (prefix, "1")]) {
            let width = if prefix.starts_with("4:") { 34 } else { 130 };
            let edge = format!("{prefix}{}", fill.repeat(width - prefix.len()));
            let narrowest = ORACLE
                .0
                .iter()
                .filter(|prefix| edge.starts_with(*prefix) && !known_as_a_whole.contains(prefix))
                .max_by_key(|prefix| prefix.len());
            let denied = address::classify(address_from_bits(&edge)).expect_err("denied");
            if let Some(narrowest) = narrowest {
                assert_eq!(bits_of_prefix(denied.block), *narrowest, "{}", denied.block);
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 16384, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn classification_agrees_with_the_oracle(ip in address()) {
            prop_assert_eq!(address::classify(ip).is_ok(), ORACLE.allows(ip));
        }

        #[test]
        fn canonical_text_of_an_address_is_read_back(ip in address()) {
            prop_assert_eq!(address::parse_ip(&ip.to_string()), Some(ip));
        }
    }
}

mod address_guard {
    use super::*;

    fn reason(text: &str) -> String {
        address::classify(text.parse().expect("an address")).expect_err("denied").to_string()
    }

    #[test]
    fn gives_the_narrowest_block_as_the_reason() {
        assert_eq!(reason("169.254.169.254"), "in 169.254.0.0/16 (link-local, RFC 3927)");
        assert_eq!(reason("192.0.0.170"), "in 192.0.0.170/32 (NAT64 discovery, RFC 7050)");
        assert_eq!(reason("168.63.129.16"), "in 168.63.129.16/32 (Azure platform endpoint)");
        assert_eq!(reason("::1"), "in ::1/128 (loopback, RFC 4291)");
        assert_eq!(reason("::ffff:8.8.8.8"), "in ::ffff:0:0/96 (IPv4-mapped, RFC 4291)");
        assert_eq!(reason("2001:0:1::"), "in 2001::/32 (Teredo, RFC 4380)");
        assert_eq!(reason("6000::1"), "in 4000::/2 (not global unicast, RFC 4291)");
        assert_eq!(reason("64:ff9b:2::1"), "in ::/3 (not global unicast, RFC 4291)");
    }

    #[test]
    fn reads_one_spelling_of_an_address() {
        for text in
            ["0.0.0.0", "1.1.1.1", "255.255.255.255", "::", "::1", "2606:4700::6812:7c0", "::ffff:8.8.8.8"]
        {
            assert_eq!(address::parse_ip(text), text.parse().ok(), "{text}");
        }
        for text in [
            "2606:4700:0:0:0:0:6812:7c0",
            "2606:4700::6812:07c0",
            "2606:4700::6812:7C0",
            "2606:4700::0:6812:7c0",
            "::ffff:808:808",
            "::8.8.8.8",
            "8.8.8",
            "8.8.8.8:443",
            "8.8.8.8/32",
            "8.8.8.8\0",
            "08.8.8.8",
            "8.8.8.8%eth0",
            "[2606:4700::1]",
            "2606:4700::1%25eth0",
            "fe80::1%eth0",
            "\u{0668}.8.8.8",
            "8,8,8,8",
            "0x08080808",
            "-1",
            ":::",
            "1:2:3:4:5:6:7:8:9",
        ] {
            assert_eq!(address::parse_ip(text), None, "{text:?}");
        }
    }

    #[test]
    fn refuses_the_whole_name_for_one_bad_answer_in_any_place() {
        let good: IpAddr = Ipv4Addr::new(104, 18, 7, 192).into();
        let bad: IpAddr = Ipv4Addr::new(10, 0, 0, 1).into();
        for place in 0..address::MAX_ANSWERS {
            let mut answers = vec![good; address::MAX_ANSWERS];
            assert_eq!(address::check_answers(&answers), Ok(()));
            answers[place] = bad;
            assert!(
                matches!(address::check_answers(&answers), Err(AnswersRefused::Denied { address, .. }) if address == bad),
                "in place {place}"
            );
        }
    }

    #[test]
    fn refuses_no_answer_and_too_many() {
        let good: IpAddr = Ipv4Addr::new(104, 18, 7, 192).into();
        assert_eq!(address::check_answers(&[]), Err(AnswersRefused::Empty));
        assert_eq!(address::check_answers(&[good; 33]), Err(AnswersRefused::TooMany(33)));
    }

    #[test]
    fn judges_candidates_that_are_not_text() {
        for candidate in
            [json!(null), json!(16_843_009), json!(true), json!(["1.1.1.1"]), json!({"ip": "1.1.1.1"})]
        {
            assert_eq!(address::judge(&candidate), Err(AddressRefused::NotText), "{candidate}");
        }
    }
}

mod provider_host {
    use super::*;

    #[test]
    fn accepts_names_that_a_provider_has() {
        for name in [
            "api.openai.com",
            "openrouter.ai",
            "api.x.ai",
            "api.mistral.ai",
            "llm.acme.example",
            "llm.example-corp.com",
            "my-res.openai.azure.com",
            "bedrock-runtime.us-east-1.amazonaws.com",
            "us-central1-aiplatform.googleapis.com",
            "acme.github.io",
            "team.hf.space",
            "api.1.example",
            "0x7f.example",
            "7f000001.example",
            "1.2.3.example",
            "a1-2-3.example",
            "300.1.2.3.example",
            "xn--mnchen-3ya.example",
            "xn--bcher-kva.example",
            "api.xn--p1ai",
            "xn--fsqu00a.xn--0zwm56d",
            "xn--e1ajeds9e.example",
            "metadata-api.example",
            "notnip.io",
        ] {
            assert_eq!(ProviderHost::parse(name).map(|host| host.to_string()), Ok(name.to_owned()), "{name}");
        }
        let longest_label = format!("{}.example", "a".repeat(63));
        assert!(ProviderHost::parse(&longest_label).is_ok());
    }

    #[rustfmt::skip] // One case a line.
    const REFUSED: &[(&str, HostRefused)] = &[
        ("", HostRefused::Empty),
        ("m\u{fc}nchen.example", HostRefused::NotAscii),
        ("api.open\u{ad}ai.com", HostRefused::NotAscii),
        ("api\u{3002}openai.com", HostRefused::NotAscii),
        ("API.openai.com", HostRefused::UpperCase),
        ("*.openai.com", HostRefused::Wildcard),
        ("*", HostRefused::Wildcard),
        ("api.*.com", HostRefused::Wildcard),
        ("api.openai.com:443", HostRefused::Character),
        ("https://api.openai.com", HostRefused::Character),
        ("api.openai.com/v1", HostRefused::Character),
        ("api_v1.openai.com", HostRefused::Character),
        ("user@api.openai.com", HostRefused::Character),
        ("api%2eopenai.com", HostRefused::Character),
        ("api.openai.com,api.anthropic.com", HostRefused::Character),
        (" api.openai.com", HostRefused::Character),
        ("api.openai.com\n", HostRefused::Character),
        ("api.openai.com\0", HostRefused::Character),
        ("api\t.openai.com", HostRefused::Character),
        ("api.openai.com.", HostRefused::TrailingDot),
        (".", HostRefused::TrailingDot),
        ("127.0.0.1.", HostRefused::TrailingDot),
        (".openai.com", HostRefused::EmptyLabel),
        ("api..openai.com", HostRefused::EmptyLabel),
        ("-api.openai.com", HostRefused::Hyphen),
        ("api-.openai.com", HostRefused::Hyphen),
        ("ab--cd.example", HostRefused::ReservedLabel),
        ("127.0.0.1", HostRefused::AddressLiteral),
        ("127.1", HostRefused::AddressLiteral),
        ("2130706433", HostRefused::AddressLiteral),
        ("0x7f000001", HostRefused::AddressLiteral),
        ("0x7f.1", HostRefused::AddressLiteral),
        ("0x", HostRefused::AddressLiteral),
        ("api.openai.0x", HostRefused::AddressLiteral),
        ("api.openai.com.0x7f", HostRefused::AddressLiteral),
        ("api.openai.007", HostRefused::AddressLiteral),
        ("::1", HostRefused::AddressLiteral),
        ("::ffff:127.0.0.1", HostRefused::AddressLiteral),
        ("[::1]", HostRefused::AddressLiteral),
        ("[::1%eth0]", HostRefused::AddressLiteral),
        ("10.0.0.1.evil.example", HostRefused::EmbeddedAddress),
        ("www.10-0-0-1.evil.example", HostRefused::EmbeddedAddress),
        ("a.8.8.8.8.1time.example", HostRefused::EmbeddedAddress),
        ("ip-10-0-0-1.example", HostRefused::EmbeddedAddress),
        ("localhost", HostRefused::SpecialUse("localhost")),
        ("llm.localhost", HostRefused::SpecialUse("localhost")),
        ("llm.local", HostRefused::SpecialUse("local")),
        ("llm.internal", HostRefused::SpecialUse("internal")),
        ("llm.test", HostRefused::SpecialUse("test")),
        ("llm.invalid", HostRefused::SpecialUse("invalid")),
        ("llm.onion", HostRefused::SpecialUse("onion")),
        ("llm.alt", HostRefused::SpecialUse("alt")),
        ("llm.home.arpa", HostRefused::SpecialUse("arpa")),
        ("1.0.0.127.in-addr.arpa", HostRefused::SpecialUse("arpa")),
        ("llm.corp", HostRefused::SpecialUse("corp")),
        ("llm.lan", HostRefused::SpecialUse("lan")),
        ("kubernetes.default.svc", HostRefused::SpecialUse("svc")),
        ("intranet-llm", HostRefused::SingleLabel),
        ("com", HostRefused::SingleLabel),
        ("example", HostRefused::SingleLabel),
        ("1e3", HostRefused::SingleLabel),
        ("api.openai.c0m", HostRefused::TopLevel),
        ("api.openai.a", HostRefused::TopLevel),
        ("metadata.goog", HostRefused::Infrastructure("metadata")),
        ("metadata.platformequinix.com", HostRefused::Infrastructure("metadata")),
        ("api.metadata.cloud.ibm.com", HostRefused::Infrastructure("metadata")),
        ("instance-data.example", HostRefused::Infrastructure("instance-data")),
        ("wpad.example.com", HostRefused::Infrastructure("wpad")),
        ("nip.io", HostRefused::WildcardDns("nip.io")),
        ("127.0.0.1.nip.io", HostRefused::WildcardDns("nip.io")),
        ("7f000001.sslip.io", HostRefused::WildcardDns("sslip.io")),
        ("api.openai.com.nip.io", HostRefused::WildcardDns("nip.io")),
        ("foo.lvh.me", HostRefused::WildcardDns("lvh.me")),
        ("localtest.me", HostRefused::WildcardDns("localtest.me")),
        ("7f000001.c0a80001.rbndr.us", HostRefused::WildcardDns("rbndr.us")),
        ("co.uk", HostRefused::PublicSuffix),
        ("github.io", HostRefused::PublicSuffix),
        ("s3.amazonaws.com", HostRefused::PublicSuffix),
        ("anything.ck", HostRefused::PublicSuffix),
    ];

    #[test]
    fn gives_each_refusal_its_own_reason() {
        let long_label = format!("{}.example", "a".repeat(64));
        let one_too_long = "a.".repeat(124) + "abcdef";
        assert_eq!(one_too_long.len(), host::MAX_BYTES + 1);
        let too_long =
            [(long_label.as_str(), HostRefused::LabelTooLong), (one_too_long.as_str(), HostRefused::TooLong)];
        for (name, refused) in REFUSED.iter().copied().chain(too_long) {
            assert_eq!(ProviderHost::parse(name), Err(refused), "{name:?}");
        }
    }

    #[test]
    fn refuses_labels_that_idna_could_not_have_encoded() {
        for label in [
            "xn--a",          // cut before its first code point
            "xn--99999999",   // overflow
            "xn--mnchen-3y",  // cut short
            "xn---nchen-3ya", // a delimiter after nothing
            "xn--nchen-1pa",  // \u{dc}nchen: upper case
            "xn--rwa",        // a capital gamma
            "xn--ls8h",       // a symbol
            "xn--ab-5da",     // a soft hyphen
            "xn--ab-m1t",     // a zero-width joiner
            "xn--ab-8tb",     // a bare combining mark
            "xn--pi-20w",     // a circled letter
            "xn--cher-4g0y",  // a full-width letter
            "xn--n-sy8h",     // a ligature
            "xn----eha",      // a hyphen first
            "xn----dha",      // a hyphen last
            "xn--ab---3ra",   // hyphens in third and fourth place
        ] {
            let name = format!("{label}.example");
            assert_eq!(ProviderHost::parse(&name), Err(HostRefused::InvalidALabel), "{name}");
        }
        // ASCII only (CVE-2024-12224): the delimiter is left over as a hyphen at the end.
        for label in ["xn--", "xn--openai-", "xn--mnchen-3ya-"] {
            let name = format!("{label}.example");
            assert_eq!(ProviderHost::parse(&name), Err(HostRefused::Hyphen), "{name}");
        }
    }

    #[test]
    fn builtin_hosts_are_canonical() {
        for name in host::BUILTIN {
            assert!(HostSet::builtin().contains(&ProviderHost::parse(name).expect("canonical")), "{name}");
        }
        assert_eq!(HostSet::builtin().iter().count(), host::BUILTIN.len());
    }

    #[test]
    fn judges_candidates_that_are_not_text() {
        for candidate in [json!(null), json!(1), json!(true), json!(["api.openai.com"]), json!({})] {
            assert_eq!(host::judge(&candidate), Err(HostRefused::NotText), "{candidate}");
        }
    }
}

mod base_url_rule {
    use super::*;

    fn parse(text: &str) -> Result<String, BaseUrlRefused> {
        BaseUrl::parse(text).map(|base_url| base_url.to_string())
    }

    #[test]
    fn keeps_host_and_path_and_nothing_else() {
        let base_url = BaseUrl::parse("HTTPS://LLM.Acme.Example:443/V1/").expect("canonical");
        assert_eq!(base_url.host().as_str(), "llm.acme.example");
        assert_eq!(base_url.path(), "/V1");
        assert_eq!(base_url.origin(), "https://llm.acme.example");
        assert_eq!(base_url.to_string(), "https://llm.acme.example/V1");
        assert_eq!(BaseUrl::parse("https://llm.acme.example/").expect("canonical").path(), "");
    }

    #[rustfmt::skip] // One case a line.
    const REFUSED: &[(&str, BaseUrlRefused)] = &[
        ("", BaseUrlRefused::Scheme),
        ("http://api.openai.com", BaseUrlRefused::Scheme),
        ("api.openai.com", BaseUrlRefused::Scheme),
        ("//api.openai.com", BaseUrlRefused::Scheme),
        ("https:api.openai.com", BaseUrlRefused::Scheme),
        ("https:/api.openai.com", BaseUrlRefused::Scheme),
        ("xhttps://api.openai.com", BaseUrlRefused::Scheme),
        ("data:text/plain,https://api.openai.com", BaseUrlRefused::Scheme),
        ("https:///api.openai.com", BaseUrlRefused::Host(HostRefused::Empty)),
        ("https://", BaseUrlRefused::Host(HostRefused::Empty)),
        ("https://:443", BaseUrlRefused::Host(HostRefused::Empty)),
        (" https://api.openai.com", BaseUrlRefused::Character),
        ("https://api.openai.com\n", BaseUrlRefused::Character),
        ("ht\ttps://api.openai.com", BaseUrlRefused::Character),
        ("https://api.openai.com/\u{e4}", BaseUrlRefused::Character),
        ("https://api.openai.com/\u{7f}", BaseUrlRefused::Character),
        ("https://api.openai.com\\@evil.example/", BaseUrlRefused::Backslash),
        ("https:\\\\api.openai.com", BaseUrlRefused::Backslash),
        ("https://api.openai.com?", BaseUrlRefused::Query),
        ("https://api.openai.com/v1?key=x", BaseUrlRefused::Query),
        ("https://evil.example?@api.openai.com/", BaseUrlRefused::Query),
        ("https://api.openai.com/#", BaseUrlRefused::Fragment),
        ("https://evil.example#@api.openai.com/", BaseUrlRefused::Fragment),
        ("https://sk-abc@api.openai.com/v1", BaseUrlRefused::UserInfo),
        ("https://@api.openai.com/", BaseUrlRefused::UserInfo),
        ("https://api.openai.com:443@evil.example/", BaseUrlRefused::UserInfo),
        ("https://api.openai.com:", BaseUrlRefused::Port),
        ("https://api.openai.com:0443", BaseUrlRefused::Port),
        ("https://api.openai.com:+443", BaseUrlRefused::Port),
        ("https://api.openai.com:80", BaseUrlRefused::Port),
        ("https://api.openai.com:8443/v1", BaseUrlRefused::Port),
        ("https://api.openai.com:4294967739", BaseUrlRefused::Port),
        ("https://api.openai.com:443:443", BaseUrlRefused::Port),
        ("https://api.openai.com:https", BaseUrlRefused::Port),
        ("https://::1/", BaseUrlRefused::Port),
        ("https://api.openai.com./", BaseUrlRefused::Host(HostRefused::TrailingDot)),
        ("https://%61pi.openai.com/", BaseUrlRefused::Host(HostRefused::Character)),
        ("https://api.openai.com%2eevil.example/", BaseUrlRefused::Host(HostRefused::Character)),
        ("https://api.openai.com;.evil.example/", BaseUrlRefused::Host(HostRefused::Character)),
        ("https://0x7f.1/", BaseUrlRefused::Host(HostRefused::AddressLiteral)),
        ("https://0X7F000001/", BaseUrlRefused::Host(HostRefused::AddressLiteral)),
        ("https://[::1]:443/", BaseUrlRefused::Host(HostRefused::AddressLiteral)),
        ("https://[v1.a]/", BaseUrlRefused::Host(HostRefused::AddressLiteral)),
        ("https://XN--OPENAI-.com/", BaseUrlRefused::Host(HostRefused::Hyphen)),
        ("https://api.openai.com//", BaseUrlRefused::Path(PathRefused::EmptySegment)),
        ("https://api.openai.com/v1//", BaseUrlRefused::Path(PathRefused::EmptySegment)),
        ("https://api.openai.com//evil.example", BaseUrlRefused::Path(PathRefused::EmptySegment)),
        ("https://api.openai.com/.", BaseUrlRefused::Path(PathRefused::DotSegment)),
        ("https://api.openai.com/..", BaseUrlRefused::Path(PathRefused::DotSegment)),
        ("https://api.openai.com/v1/../", BaseUrlRefused::Path(PathRefused::DotSegment)),
        ("https://api.openai.com/v1/%2e%2e", BaseUrlRefused::Path(PathRefused::Escape)),
        ("https://api.openai.com/%76%31", BaseUrlRefused::Path(PathRefused::Escape)),
        ("https://api.openai.com/v1;a=b", BaseUrlRefused::Path(PathRefused::Character)),
        ("https://api.openai.com/v1/..;/admin", BaseUrlRefused::Path(PathRefused::Character)),
        ("https://api.openai.com/@evil.example", BaseUrlRefused::Path(PathRefused::Character)),
        ("https://api.openai.com/{v1}", BaseUrlRefused::Path(PathRefused::Character)),
    ];

    #[test]
    fn gives_each_refusal_its_own_reason() {
        let bytes = |len: usize| {
            format!("https://api.openai.com/{}", "a".repeat(len - "https://api.openai.com/".len()))
        };
        assert!(parse(&bytes(2048)).is_ok());
        assert_eq!(parse(&bytes(2049)), Err(BaseUrlRefused::TooLong));
        for (text, refused) in REFUSED.iter().copied() {
            assert_eq!(parse(text), Err(refused), "{text:?}");
        }
    }

    #[test]
    fn accepts_only_hosts_of_configured_providers() {
        let builtin = HostSet::builtin();
        for text in [
            "https://openai.com/v1",
            "https://evil.api.openai.com/v1",
            "https://api.openai.com.evil.example/v1",
            "https://api.openai.co/v1",
            "https://storage.googleapis.com/v1",
        ] {
            assert_eq!(base_url::judge(&json!(text), &builtin), Err(BaseUrlRefused::NotListed), "{text}");
        }
        let mut configured = builtin.clone();
        configured.insert(ProviderHost::parse("llm.acme.example").expect("canonical"));
        let acme = json!("https://llm.acme.example/v1");
        assert_eq!(base_url::judge(&acme, &builtin), Err(BaseUrlRefused::NotListed));
        assert!(base_url::judge(&acme, &configured).is_ok());
    }

    #[test]
    fn never_repeats_the_input_in_a_refusal() {
        for text in
            ["https://sk-hunter2@api.openai.com/v1", "https://hunter2", "https://api.openai.com/%hunter2"]
        {
            let refused = BaseUrl::parse(text).expect_err("refused");
            assert!(!format!("{refused} {refused:?}").contains("hunter2"), "{refused}");
        }
    }

    /// Text that is near enough to a base URL for a good share of it to be accepted.
    fn near_base_url() -> impl Strategy<Value = String> {
        use proptest::sample::select;
        let scheme = select(
            &["https://", "https://", "https://", "HTTPS://", "hTTps://", "http://", "https:/", ""][..],
        );
        let host = select(
            &[
                "api.openai.com",
                "API.OpenAI.com",
                "llm.acme.example",
                "api.xn--p1ai",
                "xn--fsqu00a.xn--0zwm56d",
                "xn--e1ajeds9e.example",
                "api.openai.com.",
                "127.0.0.1",
                "a@api.openai.com",
                "[::1]",
                "api..com",
                "",
                "com",
                "api%2eopenai.com",
                "api.openai.com.nip.io",
            ][..],
        );
        let port = select(&["", "", "", ":443", ":443", ":", ":80", ":0443", ":443:443"][..]);
        let path = proptest::collection::vec(
            select(
                &[
                    "/",
                    "/",
                    "v1",
                    "V1",
                    "a-b_c.d~e:f",
                    ".",
                    "..",
                    "%2e",
                    "?",
                    "#",
                    "\\",
                    ";",
                    ":443",
                    " ",
                    "\u{e9}",
                ][..],
            ),
            0..6,
        );
        (scheme, host, port, path)
            .prop_map(|(scheme, host, port, path)| format!("{scheme}{host}{port}{}", path.concat()))
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 16384, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn accepted_text_equals_what_is_written_again(text in near_base_url()) {
            if let Ok(base_url) = BaseUrl::parse(&text) {
                let (scheme, rest) = text.split_once("://").expect("a scheme");
                let (authority, path) = rest.find('/').map_or((rest, ""), |slash| rest.split_at(slash));
                let authority = authority.strip_suffix(":443").unwrap_or(authority);
                let path = path.strip_suffix('/').unwrap_or(path);
                let expected = format!("{}://{}{path}", scheme.to_lowercase(), authority.to_lowercase());
                prop_assert_eq!(base_url.to_string(), expected);
            }
        }

        #[test]
        fn what_is_written_is_read_back_as_itself(text in near_base_url()) {
            if let Ok(base_url) = BaseUrl::parse(&text) {
                prop_assert_eq!(BaseUrl::parse(&base_url.to_string()), Ok(base_url));
            }
        }

        #[test]
        fn arbitrary_text_is_judged_without_a_panic(text in "\\PC{0,40}", bytes in any::<Vec<u8>>()) {
            let _ = BaseUrl::parse(&text);
            let _ = BaseUrl::parse(&format!("https://{text}"));
            let _ = ProviderHost::parse(&text);
            let _ = ProviderHost::parse(&format!("xn--{text}.example"));
            let _ = address::parse_ip(&text);
            let _ = target::check(&bytes);
        }

        #[test]
        fn punycode_of_any_length_is_judged_without_a_panic(encoded in "[a-z0-9-]{0,59}") {
            let _ = ProviderHost::parse(&format!("xn--{encoded}.example"));
        }
    }
}

mod request_target {
    use super::*;

    #[test]
    fn accepts_what_the_official_clients_send() {
        for target in [
            "/",
            "/v1/chat/completions",
            "/v1/models/",
            "/v1/models/ft:gpt-4o-mini:org::abc",
            "/v1/models/openai%2Fgpt-4.1",
            "/v1/models/acme%2Fmeta%2Fllama-3:8b",
            "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse",
            "/v1beta/models?pageSize=50&pageToken=Ci5tb2RlbHMvZ2VtaW5p%3D%3D",
            "/v1beta/models?pageToken=a/b+c==",
            "/v1/messages?beta=true",
            "/v1/files?limit=20&after=file-abc&order=asc",
            "/v1/messages/batches?after_id=a&before_id=b",
            "/v1/responses/resp_1?include%5B%5D=x&include%5B%5D=y",
            "/v1/models?x=%C3%A4",
            "/v1/models?",
            "/api/v1/tenants/acme/usage?from=2026-11-01T00:00:00Z&group_by=token,day",
            "/v1/models?max_tokens=1&token_count=2&monkey=3&keyword=4&author=5&idempotency_key=6&secretary=7",
        ] {
            assert_eq!(target::check(target.as_bytes()), Ok(()), "{target}");
        }
    }

    #[rustfmt::skip] // One case a line.
    const REFUSED: &[(&str, TargetRefused)] = &[
        ("", TargetRefused::NotOriginForm),
        ("*", TargetRefused::NotOriginForm),
        ("?a=b", TargetRefused::NotOriginForm),
        ("v1/models", TargetRefused::NotOriginForm),
        ("@evil.example/", TargetRefused::NotOriginForm),
        (":443/", TargetRefused::NotOriginForm),
        (".evil.example/v1", TargetRefused::NotOriginForm),
        ("evil.example:443", TargetRefused::NotOriginForm),
        ("https://evil.example/v1", TargetRefused::NotOriginForm),
        ("/v1/a b", TargetRefused::Character),
        ("/v1/a\tb", TargetRefused::Character),
        ("/v1\r\nHost: evil.example", TargetRefused::Character),
        ("/v1/\u{0}", TargetRefused::Character),
        ("/v1/\u{7f}", TargetRefused::Character),
        ("/v1/\u{e4}", TargetRefused::Character),
        ("/\\evil.example", TargetRefused::Backslash),
        ("/v1/..\\admin", TargetRefused::Backslash),
        ("/v1/models?a=b\\c", TargetRefused::Backslash),
        ("/v1/models#x", TargetRefused::Fragment),
        ("/v1/models?a=b#x", TargetRefused::Fragment),
        ("//", TargetRefused::Path(PathRefused::EmptySegment)),
        ("//evil.example/v1", TargetRefused::Path(PathRefused::EmptySegment)),
        ("/v1//chat", TargetRefused::Path(PathRefused::EmptySegment)),
        ("/v1/chat//", TargetRefused::Path(PathRefused::EmptySegment)),
        ("/..", TargetRefused::Path(PathRefused::DotSegment)),
        ("/v1/.", TargetRefused::Path(PathRefused::DotSegment)),
        ("/v1/../admin?x=1", TargetRefused::Path(PathRefused::DotSegment)),
        ("/v1/%2e%2e/admin", TargetRefused::Path(PathRefused::Escape)),
        ("/v1/.%2E/admin", TargetRefused::Path(PathRefused::Escape)),
        ("/v1/a%2fb", TargetRefused::Path(PathRefused::Escape)),
        ("/v1/a%5cb", TargetRefused::Path(PathRefused::Escape)),
        ("/v1/a%2Fb", TargetRefused::Path(PathRefused::Escape)),
        ("/v1/models%2Fa", TargetRefused::Path(PathRefused::Escape)),
        ("/openai/v1/models/a%2Fb", TargetRefused::Path(PathRefused::Escape)),
        ("/v1/models/a%2fb", TargetRefused::Path(PathRefused::Escape)),
        ("/v1/models/a%252Fb", TargetRefused::Path(PathRefused::Escape)),
        ("/v1/models/a%2Fb%20c", TargetRefused::Path(PathRefused::Escape)),
        ("/v1/models/..%2Fb", TargetRefused::Path(PathRefused::DotSegment)),
        ("/v1/models/a%2F..", TargetRefused::Path(PathRefused::DotSegment)),
        ("/v1/models/a%2F%2Fb", TargetRefused::Path(PathRefused::EmptySegment)),
        ("/v1/models/%2Fb", TargetRefused::Path(PathRefused::EmptySegment)),
        ("/v1/models/a%2F/b", TargetRefused::Path(PathRefused::EmptySegment)),
        ("/v1/a%252fb", TargetRefused::Path(PathRefused::Escape)),
        ("/v1/a%3fkey=x", TargetRefused::Path(PathRefused::Escape)),
        ("/v1/%ef%bc%8e%ef%bc%8e/x", TargetRefused::Path(PathRefused::Escape)),
        ("/v1/%u002e", TargetRefused::Path(PathRefused::Escape)),
        ("/v1/%", TargetRefused::Path(PathRefused::Escape)),
        ("/v1/..;/admin", TargetRefused::Path(PathRefused::Character)),
        ("/v1;a=b/chat", TargetRefused::Path(PathRefused::Character)),
        ("/@evil.example/", TargetRefused::Path(PathRefused::Character)),
        ("/v1/a,b", TargetRefused::Path(PathRefused::Character)),
        ("/v1/models?a=1;key=x", TargetRefused::Query(QueryRefused::Character)),
        ("/v1/models?a=<b>", TargetRefused::Query(QueryRefused::Character)),
        ("/v1/models?a[]=b", TargetRefused::Query(QueryRefused::Character)),
        ("/v1/models?a=%", TargetRefused::Query(QueryRefused::Escape)),
        ("/v1/models?a=%4", TargetRefused::Query(QueryRefused::Escape)),
        ("/v1/models?a=%4&b=1", TargetRefused::Query(QueryRefused::Escape)),
        ("/v1/models?a=%zz", TargetRefused::Query(QueryRefused::Escape)),
        ("/v1/models?a=%+1", TargetRefused::Query(QueryRefused::Escape)),
        ("/v1/models?a=%c0%af", TargetRefused::Query(QueryRefused::Escape)),
        ("/v1/models?a=%ed%a0%80", TargetRefused::Query(QueryRefused::Escape)),
        ("/v1/models?a=%0d%0aX:%20y", TargetRefused::Query(QueryRefused::HiddenCharacter)),
        ("/v1/models?a%00=b", TargetRefused::Query(QueryRefused::HiddenCharacter)),
        ("/v1/models?a=%7f", TargetRefused::Query(QueryRefused::HiddenCharacter)),
        ("/v1/models?a=%c2%85", TargetRefused::Query(QueryRefused::HiddenCharacter)),
        ("/v1/models?a=%e2%80%a8", TargetRefused::Query(QueryRefused::HiddenCharacter)),
        ("/v1/models?a=b%5Cc", TargetRefused::Query(QueryRefused::HiddenCharacter)),
        ("/v1/models?%256bey=b", TargetRefused::Query(QueryRefused::HiddenCharacter)),
    ];

    #[test]
    fn gives_each_refusal_its_own_reason() {
        let bytes = |len: usize| "/".to_owned() + &"a".repeat(len - 1);
        assert_eq!(target::check(bytes(2048).as_bytes()), Ok(()));
        assert_eq!(target::check(bytes(2049).as_bytes()), Err(TargetRefused::TooLong));
        let parameters = |count: usize| format!("/v1/models?{}", vec!["a=1"; count].join("&"));
        assert_eq!(target::check(parameters(32).as_bytes()), Ok(()));
        assert_eq!(
            target::check(parameters(33).as_bytes()),
            Err(TargetRefused::Query(QueryRefused::TooManyParameters))
        );
        for (target, refused) in REFUSED.iter().copied() {
            assert_eq!(target::check(target.as_bytes()), Err(refused), "{target:?}");
        }
        assert_eq!(target::check(b"/v1/\xff"), Err(TargetRefused::Character));
    }

    #[test]
    fn refuses_credentials_in_the_query_however_they_are_spelled() {
        for name in [
            "key",
            "KEY",
            "%6bey",
            "k%65y",
            "key%5B%5D",
            "api_key",
            "apiKey",
            "api-key",
            "api.key",
            "api%5Fkey",
            "api+key",
            "api%2Dkey",
            "apikey",
            "x-api-key",
            "X-Goog-Api-Key",
            "openai_api_key",
            "access_token",
            "token",
            "auth",
            "Authorization",
            "client_secret",
            "secret",
            "password",
            "pwd",
            "sig",
            "signature",
            "X-Amz-Signature",
            "X-Amz-Security-Token",
            "X-Amz-Credential",
            "subscription-key",
            "X-BYOK-Key",
            "X-BYOK-Keys",
            "sealed_key",
            "X-Sealed-Key",
            "X-Encrypted-Key",
            "X-Session-Key",
            "X-Keyferry-Token",
            "bearer",
            "jwt",
            "id_token",
        ] {
            for target in [
                format!("/v1/models?{name}=x"),
                format!("/v1/models?{name}"),
                format!("/v1/models?limit=1&&{name}=&order=asc"),
                format!("/?{name}=x"),
            ] {
                assert_eq!(
                    target::check(target.as_bytes()),
                    Err(TargetRefused::CredentialInQuery),
                    "{target}"
                );
            }
        }
    }

    #[test]
    fn splits_a_query_without_decoding_it() {
        let pairs = |query| target::query_pairs(query).collect::<Vec<_>>();
        assert_eq!(pairs(""), []);
        assert_eq!(pairs("alt=sse"), [("alt", "sse")]);
        assert_eq!(
            pairs("a=b=c&d&&e=&=f&%61=%62"),
            [("a", "b=c"), ("d", ""), ("e", ""), ("", "f"), ("%61", "%62")]
        );
    }
}
