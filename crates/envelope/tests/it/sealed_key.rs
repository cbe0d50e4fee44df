//! A key sealed by a client opens in the gateway for what it was sealed for, and every other text is refused alike.

use keyferry_envelope::{
    ApiKey, Entropy, InvalidSealingKey, Kem, Kid, OpenError, SealError, SealFor, SealPurpose, SealedKey,
    SealingKey, SealingPublicKey, SystemEntropy, seal_key,
};
use proptest::prelude::*;

use crate::fixture::{FixedEntropy, KEY, key};

const FOR: SealFor<'static> =
    SealFor { purpose: SealPurpose::Request, tenant: "tenant-a", provider: "anthropic", ts: 1_800_000_000 };

fn kid() -> Kid {
    Kid::parse("kid_1").expect("a name")
}

fn sealing_key(kem: Kem) -> SealingKey {
    SealingKey::generate(kem, &FixedEntropy::starting_at(0x30))
}

fn seal(kem: Kem, sealed_for: &SealFor<'_>, entropy: &dyn Entropy) -> String {
    seal_key(sealing_key(kem).public(), &kid(), sealed_for, &key(KEY), entropy).expect("seals")
}

fn text(kem: Kem) -> String {
    seal(kem, &FOR, &FixedEntropy::starting_at(0x70))
}

fn open(kem: Kem, text: &[u8]) -> Result<ApiKey, OpenError> {
    SealedKey::parse(text)?.open(&sealing_key(kem), FOR.purpose, FOR.tenant)
}

/// Asserts that `text` is refused, with the one refusal there is.
fn refused(kem: Kem, text: impl AsRef<[u8]>) {
    let refusal = open(kem, text.as_ref()).err();
    let reference = open(kem, b"").err();
    assert!(refusal.is_some() && refusal == reference, "{:?} opens", String::from_utf8_lossy(text.as_ref()));
}

#[test]
fn says_in_the_clear_what_the_caller_must_ask_about() {
    let text = text(Kem::X25519);
    let sealed = SealedKey::parse(text.as_bytes()).expect("parses");
    assert_eq!((sealed.kid(), sealed.provider(), sealed.ts()), ("kid_1", "anthropic", 1_800_000_000));
    assert_eq!(sealed.n(), &std::array::from_fn(|at| 0x70 + at as u8));
    assert!(text.starts_with("v=1;kid=kid_1;provider=anthropic;ts=1800000000;n=cHFyc3R1dnd4eXp7fH1-fw;enc="));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_was_sealed_opens(
        plain in "[!-~]{8,512}",
        name in "[A-Za-z0-9][A-Za-z0-9._-]{0,63}",
        tenant in "(?s).{1,40}",
        ts in 0..1_000_000_000_000_000_u64,
        kem in prop::sample::select(Kem::ALL.to_vec()),
        purpose in prop::sample::select(vec![SealPurpose::Request, SealPurpose::Store]),
    ) {
        let (kid, private) = (Kid::parse(&name).expect("a name"), SealingKey::generate(kem, &SystemEntropy));
        let sealed_for = SealFor { purpose, tenant: &tenant, provider: &name, ts };
        let text = seal_key(private.public(), &kid, &sealed_for, &key(&plain), &SystemEntropy).expect("seals");
        prop_assert!(text.len() < 1200);
        let sealed = SealedKey::parse(text.as_bytes()).expect("parses");
        prop_assert_eq!((sealed.kid(), sealed.provider(), sealed.ts()), (&name[..], &name[..], ts));
        prop_assert!(sealed.open(&private, purpose, &tenant).expect("opens").ct_eq(&key(&plain)));
    }

    #[test]
    fn arbitrary_bytes_do_not_open(bytes in prop::collection::vec(any::<u8>(), 0..200), cut in 0_usize..300) {
        let real = text(Kem::X25519);
        let mixed = [&real.as_bytes()[..cut.min(real.len() - 1)], &bytes].concat();
        prop_assert!(mixed == real.as_bytes() || open(Kem::X25519, &mixed).is_err());
    }
}

#[test]
fn it_opens_for_its_own_purpose_tenant_and_key_only() {
    for kem in Kem::ALL {
        let text = text(kem);
        let sealed = SealedKey::parse(text.as_bytes()).expect("parses");
        let private = sealing_key(kem);
        assert!(
            sealed
                .open(&private, SealPurpose::Request, "tenant-a")
                .is_ok_and(|opened| opened.ct_eq(&key(KEY)))
        );
        assert!(sealed.open(&private, SealPurpose::Store, "tenant-a").is_err());
        for tenant in ["tenant-b", "tenant-", "tenant-a\n", "", "tenant-a\nanthropic"] {
            assert!(sealed.open(&private, SealPurpose::Request, tenant).is_err(), "{tenant:?}");
        }
        for other_kem in Kem::ALL {
            let other = SealingKey::generate(other_kem, &SystemEntropy);
            assert!(sealed.open(&other, SealPurpose::Request, "tenant-a").is_err());
        }
        let [first, second] = Kem::ALL;
        let other_suite = sealing_key(if kem == first { second } else { first });
        assert!(sealed.open(&other_suite, SealPurpose::Request, "tenant-a").is_err());
    }
}

#[test]
fn every_field_is_bound() {
    for kem in Kem::ALL {
        let text = text(kem);
        assert!(open(kem, text.as_bytes()).is_ok());
        for (from, to) in [
            ("v=1", "v=2"),
            ("kid=kid_1", "kid=kid_2"),
            ("provider=anthropic", "provider=openai"),
            ("ts=1800000000", "ts=1800000001"),
            ("n=cHFyc3R1dnd4eXp7fH1-fw", "n=cHFyc3R1dnd4eXp7fH1-gA"),
        ] {
            assert!(text.contains(from), "{from}");
            refused(kem, text.replace(from, to));
        }
        // The binary fields, from a second text that is right in itself.
        let foreign = seal(kem, &SealFor { ts: FOR.ts + 1, ..FOR }, &FixedEntropy::starting_at(0x90));
        for name in ["enc", "ct"] {
            let part = |text: &str| text.split(';').find(|field| field.starts_with(name)).map(str::to_owned);
            let (own, other) = (part(&text).expect("a field"), part(&foreign).expect("a field"));
            refused(kem, text.replace(&own, &other));
        }
    }
}

#[test]
fn every_flipped_bit_is_refused() {
    for kem in Kem::ALL {
        let text = text(kem);
        for at in 0..text.len() {
            for bit in 0..8 {
                let mut changed = text.clone().into_bytes();
                changed[at] ^= 1 << bit;
                refused(kem, changed);
            }
        }
    }
}

#[test]
fn every_other_spelling_is_refused() {
    for kem in Kem::ALL {
        let text = text(kem);
        let fields: Vec<&str> = text.split(';').collect();
        for at in 0..fields.len() {
            let without = [&fields[..at], &fields[at + 1..]].concat();
            refused(kem, without.join(";"));
            let twice = [&fields[..=at], &fields[at..]].concat();
            refused(kem, twice.join(";"));
            let mut exchanged = fields.clone();
            exchanged.swap(at, (at + 1) % fields.len());
            refused(kem, exchanged.join(";"));
            let (name, value) = fields[at].split_once('=').expect("a field");
            for field in [
                format!("{}={value}", name.to_uppercase()),
                format!("{name}= {value}"),
                format!("{name}={value} "),
                format!(" {name}={value}"),
                format!("{name}=\"{value}\""),
                format!("{name}={value}="),
                format!("{name}={value}%"),
                format!("{name}={value}\0"),
                format!("{name}:{value}"),
                format!("{name}="),
                name.to_owned(),
                String::new(),
            ] {
                let mut changed = fields.clone();
                changed[at] = &field;
                refused(kem, changed.join(";"));
            }
        }
        for (before, after) in
            [("", ";"), (";", ""), ("", "\n"), ("\u{feff}", ""), ("", ";x=1"), ("v=1;", "")]
        {
            refused(kem, format!("{before}{text}{after}"));
        }
        for (from, to) in
            [("ts=18", "ts=018"), ("ts=18", "ts=+18"), ("ts=18", "ts=-18"), ("ts=1800000000", "ts=18e8")]
        {
            refused(kem, text.replace(from, to));
        }
        refused(kem, text.replace(';', "; "));
        refused(kem, text.replace(';', ","));
        // Standard base64 of the same bytes, and a last digit with stray bits.
        refused(kem, text.replace("fH1-fw", "fH1+fw"));
        refused(kem, text.replace("fH1-fw", "fH1-fx"));
        refused(kem, [text.as_bytes(), &[0xff]].concat());
    }
}

#[test]
fn texts_that_are_too_long_are_refused_unread() {
    let text = text(Kem::X25519);
    for len in [4096, 4097, 1 << 20] {
        refused(Kem::X25519, format!("{text}{}", "A".repeat(len - text.len())));
    }
    for field in ["kid", "provider"] {
        refused(Kem::X25519, text.replace(&format!("{field}="), &format!("{field}={}", "a".repeat(64))));
    }
    refused(Kem::X25519, text.replace("ts=1800000000", "ts=1800000000000000"));
}

#[test]
fn the_same_key_sealed_twice_has_no_text_in_common() {
    for kem in Kem::ALL {
        let [first, second] = [(), ()].map(|()| seal(kem, &FOR, &SystemEntropy));
        let parts = |text: &str| text.split(';').skip(4).map(str::to_owned).collect::<Vec<_>>();
        assert!(parts(&first).iter().zip(&parts(&second)).all(|(left, right)| left != right));
        assert!(
            !first.contains(KEY)
                && open(kem, first.as_bytes()).is_ok()
                && open(kem, second.as_bytes()).is_ok()
        );
    }
}

#[test]
fn nothing_is_sealed_for_nobody() {
    let seal = |sealed_for| {
        seal_key(sealing_key(Kem::P256).public(), &kid(), &sealed_for, &key(KEY), &SystemEntropy).err()
    };
    assert_eq!(seal(FOR), None);
    for unsealable in [
        SealFor { tenant: "", ..FOR },
        SealFor { provider: "", ..FOR },
        SealFor { provider: "a;b", ..FOR },
        SealFor { provider: "a\nb", ..FOR },
        SealFor { ts: u64::MAX, ..FOR },
    ] {
        assert_eq!(seal(unsealable), Some(SealError::Unsealable), "{unsealable:?}");
    }
}

#[test]
fn a_key_of_low_order_is_no_key_to_seal_to() {
    let refused = SealingPublicKey::from_bytes(Kem::X25519, &[0; 32]);
    assert_eq!(refused, Err(InvalidSealingKey::PublicKey));
}
