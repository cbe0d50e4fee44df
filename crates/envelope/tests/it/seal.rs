//! What goes in comes out, and what cannot be bound does not go in.

use keyferry_envelope::{
    ApiKey, Context, KeyContext, KeyPurpose, LocalRoot, SealError, SecretBytes, ServiceSecret, SystemEntropy,
    TenantKek, capabilities, fingerprint,
};
use proptest::prelude::*;

use crate::fixture::{CONTEXT, FixedEntropy, KEY, kek, key, open, sealed};

proptest! {
    #[test]
    fn a_sealed_key_opens_in_its_context(
        text in "[!-~]{8,512}",
        [tenant, provider, origin, credential] in prop::array::uniform4(".{1,40}"),
        version in any::<u32>(),
    ) {
        let context = Context {
            tenant: &tenant, provider: &provider, origin: &origin, credential: &credential, version,
        };
        let (sealer, opener, _) = capabilities();
        let sealed = sealer.seal(&kek(), &context, &key(&text), &SystemEntropy).expect("seals");
        let opened = opener.open(&kek(), &context, &sealed).expect("opens");
        prop_assert!(opened.ct_eq(&key(&text)));
    }
}

#[test]
fn the_same_key_sealed_twice_has_nothing_in_common() {
    let seal = || capabilities().0.seal(&kek(), &CONTEXT, &key(KEY), &SystemEntropy).expect("seals");
    let (first, second) = (seal(), seal());
    assert_ne!(first.envelope, second.envelope);
    assert_ne!(first.wrapped_dek, second.wrapped_dek);
    assert!(open(&kek(), &CONTEXT, &first).is_ok() && open(&kek(), &CONTEXT, &second).is_ok());
}

#[test]
fn nothing_stored_contains_the_key() {
    let sealed = sealed();
    for stored in [&sealed.envelope, &sealed.wrapped_dek] {
        assert!(!stored.windows(8).any(|window| KEY.as_bytes().windows(8).any(|part| part == window)));
    }
}

#[test]
fn keys_of_one_padding_step_have_one_size() {
    let size = |len: usize| {
        let key = key(&"k".repeat(len));
        capabilities().0.seal(&kek(), &CONTEXT, &key, &SystemEntropy).expect("seals").envelope.len()
    };
    assert_eq!(size(8), size(63));
    assert_eq!(size(64), size(127));
    assert_ne!(size(63), size(64));
}

#[test]
fn the_longest_key_and_a_long_context_stay_below_1_kib() {
    let credential = "c".repeat(100_000);
    let context = Context { credential: &credential, ..CONTEXT };
    let sealed =
        capabilities().0.seal(&kek(), &context, &key(&"k".repeat(512)), &SystemEntropy).expect("seals");
    assert!(sealed.envelope.len() < 1024 && sealed.wrapped_dek.len() < 256, "{sealed:?}");
    assert!(open(&kek(), &context, &sealed).is_ok());
}

#[test]
fn an_empty_context_field_is_refused() {
    let (sealer, ..) = capabilities();
    for context in [
        Context { tenant: "", ..CONTEXT },
        Context { provider: "", ..CONTEXT },
        Context { origin: "", ..CONTEXT },
        Context { credential: "", ..CONTEXT },
    ] {
        let refusal = sealer.seal(&kek(), &context, &key(KEY), &SystemEntropy).err();
        assert_eq!(refusal, Some(SealError::IncompleteContext));
        assert!(open(&kek(), &context, &sealed()).is_err());
    }
}

#[test]
fn a_root_survives_the_key_file() {
    let root = LocalRoot::generate(&SystemEntropy);
    let read = LocalRoot::from_hex(root.to_hex_line().expose()).expect("valid");
    assert_eq!(read.id(), root.id());
    let context = KeyContext { purpose: KeyPurpose::TenantKek, owner: CONTEXT.tenant, id: "kek_1" };
    let wrapped = root.wrap(&context, kek().secret(), &SystemEntropy).expect("wraps");
    let secret = read.unwrap(&context, &wrapped).expect("unwraps");
    let kek = TenantKek::from_secret(kek().id().clone(), secret).expect("32 bytes");
    assert_eq!(open(&kek, &CONTEXT, &sealed()), Ok(true));
}

#[test]
fn fingerprints_tell_keys_apart_within_a_tenant_only() {
    let service = ServiceSecret::generate(&FixedEntropy::starting_at(0x60));
    let mac = service.fingerprint_key("tenant-a");
    let print = fingerprint(&mac, &key(KEY));
    assert_eq!(print.len(), 16);
    assert!(print.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')));
    assert_eq!(print, fingerprint(&mac, &key(KEY)));
    assert_ne!(print, fingerprint(&mac, &key("sk-test-not-a-real-key-0123456789abcdee")));
    assert_ne!(print, fingerprint(&service.fingerprint_key("tenant-b"), &key(KEY)));
}

#[test]
fn a_refused_key_is_not_repeated_by_the_error() {
    let refused = ApiKey::parse(SecretBytes::new(b"sk-secret with a space".to_vec())).err().expect("refused");
    assert!(!format!("{refused} {refused:?}").contains("secret with"));
}
